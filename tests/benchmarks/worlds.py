"""Worlds to compare features in: what users did before the log began, what they will do, and when it is asked about.

    bought      Complete Journey: households, their purchases with views and carts put before some of them
    generated   a few users, items and categories, every kind of feature on every entity, long silences

Everything follows from a seed. What is offered to the log comes late, in ties, in another order, twice, without
consent, too late; instants lie on edges of minutes, hours and days, on ends of windows, and a microsecond beside them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from behavior.aggregation import Aggregation
from behavior.event import DAY_US, HOUR_US, MINUTE_US, PERSONALIZATION, SECOND_US, Admitted, Event
from behavior.words import properties_of
from deployment.archive import EVENTS, Archive, to_events
from deployment.database import connected
from tests.properties.strategies import CATEGORIES, DEVICES, ITEMS, PROPERTIES, features_of

HORIZON = 48 * HOUR_US
# A repetition is recognised by a key that lives in real time; the replay's clock stands still meanwhile.
RECOGNISED = 40 * HOUR_US
HOPS = (MINUTE_US, 5 * MINUTE_US, HOUR_US, DAY_US)
# Windows whose ends are looked at; the last is the retention of the generated world.
SPANS = (HOUR_US, 150 * MINUTE_US, DAY_US, 7 * DAY_US, 30 * DAY_US, 40 * DAY_US)
BESIDE = (-1, 0, 1)
# How a fold may end in the middle of a stage.
ENDINGS = ("between commits", "while publishing", "rebuilt", "asleep")
# So many that some are read one by one, and others many at once.
THINGS = (*ITEMS[:-1], *(f"i-{number}" for number in range(10, 18)))
GROUPS = (*CATEGORIES[:-1], "tea", "bread", "a|b", "fruit")
# A deployment declares what a property is: none of these is a number here and a text there.
TYPES: dict[str, type] = {"stars": int, "colour": str}


@dataclass(frozen=True, slots=True)
class Stage:
    """Events that are offered at one instant, and the instants up to the next stage at which everybody is asked.

    offers    in order; one event may be offered twice
    ending    how the fold ends while it folds them, of ENDINGS, or None
    """

    at: int
    offers: Sequence[Event]
    asked: Sequence[int]
    ending: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """What happens in one deployment.

    imported   history in the order of admission, k = e
    stages     what comes through the log
    users, pairs, others   how many are asked about at each instant: users, categories of each, items and categories
    """

    name: str
    partitions: int
    began: int
    imported: Sequence[Admitted]
    stages: Sequence[Stage]
    users: int
    pairs: int
    others: int


def smaller(world: World, asked: int) -> World:
    """The same world, asked about less often; each way in which a fold may end happens once."""
    kept = [replace(stage, asked=stage.asked[:: -(-len(stage.asked) // asked)]) for stage in world.stages]
    endings = {len(kept) // 5 * (place + 1): ending for place, ending in enumerate(ENDINGS)}
    return replace(world, stages=[replace(stage, ending=endings.get(at)) for at, stage in enumerate(kept)])


# --------------------------------------------------------------------------------------------------- the two worlds


def bought(archive: Archive, began: int, days: int, households: int, stages: int, seed: int = 7) -> World:
    """Some households of the year: imported up to `began`, through the log for so many days."""
    draw = np.random.default_rng(seed)
    columns = ", ".join(EVENTS.names)
    with connected(memory_limit="1GB") as connection:
        archive.create_view(connection)
        rows = connection.execute(
            f"""SELECT {columns} FROM events WHERE k < {began + days * DAY_US} AND user_id IN (
                SELECT user_id FROM events GROUP BY user_id ORDER BY hash(user_id) LIMIT {households})
            ORDER BY k, message_id"""
        )
        lines = list(to_events(rows.to_arrow_table()))
    all_ = sorted((each for line in lines for each in _before_buying(draw, line)), key=lambda each: each.e)
    imported = [each for each in all_ if each.k < began]
    coming = [each.event for each in all_ if each.k >= began]
    times = _stage_times(draw, began, began + days * DAY_US, stages)
    return World("bought", 16, began, imported, _stages(draw, imported, coming, times, asked=8), 10, 6, 12)


def generated(stages: int, users: int = 24, seed: int = 11) -> World:
    """Forty days of history and sixty of the log; half of the users are silent for longer than the retention."""
    draw = np.random.default_rng(seed)
    began, days = 17_440 * DAY_US, 60
    events = [each for user in range(users) for each in _life(draw, f"k1-{user:03d}", user % 2 == 0, began, days)]
    events.sort(key=lambda each: each.client_time)
    imported = [Admitted(each, each.client_time, each.client_time) for each in events if each.client_time < began]
    coming = [each for each in events if each.client_time >= began]
    times = _stage_times(draw, began, began + days * DAY_US, stages)
    return World("generated", 4, began, imported, _stages(draw, imported, coming, times, asked=7), 6, 5, 6)


def generated_features(entity: str) -> tuple[Aggregation, ...]:
    """Every kind of feature that the entity may have, with and without windows and predicates."""
    return tuple(spec for spec in features_of(entity) if properties_of(spec).items() <= TYPES.items())


def _before_buying(draw: np.random.Generator, line: Admitted) -> Iterator[Admitted]:
    """The purchase, and what may have come before it."""
    yield line
    for kind, share, longest in (("item_view", 0.5, 2 * HOUR_US), ("add_to_cart", 0.2, 20 * MINUTE_US)):
        if draw.random() < share:
            when = line.k - int(draw.integers(0, longest))
            message_id = f"{line.event.message_id}-{kind}"
            event = msgspec.structs.replace(line.event, message_id=message_id, kind=kind, client_time=when, value=None)
            yield Admitted(event, when, when)


def _life(draw: np.random.Generator, user: str, is_silent: bool, began: int, days: int) -> Iterator[Event]:
    """What a user does from forty days before the log began."""
    first, last = began - 40 * DAY_US, began + days * DAY_US
    silence = (began - int(draw.integers(0, 5 * DAY_US)), began + int(draw.integers(40, 50)) * DAY_US)
    instants = np.sort(draw.integers(first, last, int(draw.integers(60, 160))))
    # A few things happen at the very same instant, and at the start of an hour or a day.
    instants[1::7] = instants[::7][: len(instants[1::7])]
    instants[3::11] -= instants[3::11] % HOUR_US
    for number, instant in enumerate(np.sort(instants).tolist()):
        if not (is_silent and silence[0] <= instant < silence[1]):
            yield _event(draw, f"{'mMéx'[number % 4]}-{user}-{number}", user, instant)


def _event(draw: np.random.Generator, message_id: str, user: str, instant: int) -> Event:
    def one(values: Sequence[Any]) -> Any:
        return values[int(draw.integers(0, len(values)))]

    return Event(
        message_id, one(("purchase", "purchase", "item_view", "refund", "scroll")), user, instant,
        item=one((*THINGS, *THINGS, None)), category=one((*GROUPS, *GROUPS, None)),
        value=one((1, 199, 199, -250, 10**11, 0, None)), quantity=one((None, 0, 1, 3)),
        order_id=one((None, "o-1", "o-2", "o-3")), device=one((None, *DEVICES)), page=one((None, "", "/", "/käse")),
        properties={name: what for name, what in one(PROPERTIES).items() if type(what) is TYPES[name]},
        utc_offset_s=one((None, 0, -18_000, 20_700)), purposes=one((PERSONALIZATION, 3, 3, 7, 7, 2)),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- when, and in which order


def _stage_times(draw: np.random.Generator, began: int, ended: int, number: int) -> list[int]:
    """Instants of stages, half of them on an edge or a microsecond beside it."""
    gaps = draw.lognormal(0, 1.2, number)
    gaps = (gaps / gaps.sum() * (ended - began)).astype(np.int64)
    times, now = [], began
    for gap in gaps.tolist():
        now += max(gap, 2 * MINUTE_US)
        if draw.random() < 0.5:
            hop = int(draw.choice(HOPS))
            now = max(now - now % hop + int(draw.choice(BESIDE)), (times[-1] if times else began) + MINUTE_US)
        times.append(now)
    return times


def _stages(
    draw: np.random.Generator, imported: Sequence[Admitted], coming: Sequence[Event], times: Sequence[int], asked: int
) -> list[Stage]:
    waiting, taken = list(coming), 0
    happened = [each.e for each in imported][-400:]
    offered: list[Event] = []
    stages = []
    for number, (at, until) in enumerate(zip(times, [*times[1:], times[-1] + 41 * DAY_US], strict=True)):
        ready = []
        while taken < len(waiting) and waiting[taken].client_time <= at:
            ready.append(waiting[taken])
            taken += 1
        offers = [_disturbed(draw, each, at, offered) for each in ready]
        offers += _repeated(draw, [*offered[-50:], *offers], at)
        if draw.random() < 0.4:
            offers = [offers[place] for place in draw.permutation(len(offers))]
        offered += offers
        happened = [*happened, *(each.client_time for each in offers)][-400:]
        ending = ENDINGS[number % len(ENDINGS)] if number % 5 == 3 else None
        # A whole rebuild takes seconds: only sometimes.
        ending = None if ending == "rebuilt" and number % 40 > 20 else ending
        stages.append(Stage(at, offers, _asked(draw, happened, at, until, asked), ending))
    return stages


def _disturbed(draw: np.random.Generator, event: Event, at: int, before: Sequence[Event]) -> Event:
    """The event with the time that its client states when it is sent at last."""
    times = [
        event.client_time, event.client_time, event.client_time,
        at - int(draw.choice((0, 1, SECOND_US, MINUTE_US))),
        at - int(draw.integers(0, 47 * HOUR_US)),
        before[-1].client_time if before else at,
        at + int(draw.integers(0, 47 * HOUR_US)),
    ]  # fmt: skip
    when = times[int(draw.integers(0, len(times)))]
    if at - when > 47 * HOUR_US:
        when = at - int(draw.integers(0, 47 * HOUR_US))
    if draw.random() < 0.02:
        when = at - HORIZON + int(draw.choice((-HOUR_US, -1, 0)))
    return msgspec.structs.replace(event, client_time=when)


def _repeated(draw: np.random.Generator, events: Sequence[Event], at: int) -> list[Event]:
    """Some events once more, as from a client that had no answer."""
    return [each for each in events if at - each.client_time < RECOGNISED and draw.random() < 0.05]


def _asked(draw: np.random.Generator, happened: Sequence[int], at: int, until: int, number: int) -> list[int]:
    """Instants from `at` up to `until`, on edges and ends of windows and beside them."""
    found = {at, at + int(draw.choice((1, 2, 5))), until - 1, until}
    for hop in HOPS:
        edge = at - at % hop + hop * int(draw.integers(1, 4))
        found |= {edge + beside for beside in BESIDE}
    for e in [happened[place] for place in draw.integers(0, len(happened), 12)] if happened else []:
        span, hop = int(draw.choice(SPANS)), int(draw.choice(HOPS))
        found |= {e - e % hop + span + beside for beside in BESIDE}
        found.add(e + SPANS[-1] + int(draw.choice(BESIDE)))
    found.add(int(draw.integers(at, until)))
    possible = sorted(instant for instant in found if at <= instant <= until)
    chosen = draw.choice(len(possible), min(number, len(possible)), replace=False)
    return [possible[place] for place in sorted(chosen.tolist())]
