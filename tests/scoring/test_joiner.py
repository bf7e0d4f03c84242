"""The joiner: each served category is labelled once, by event time, and a restart changes nothing."""

import random
from itertools import count

import msgspec
import pytest

from behavior.calibration import Calibration
from behavior.event import DAY_US, HOUR_US, Admitted, Event, admit
from behavior.served import Served, Shown
from scoring.example import Example
from scoring.joiner import PartitionJoin, Pending, Place

WINDOW = 7 * DAY_US
HORIZON = 2 * DAY_US
T = 1_508_040_000_000_000
_ids = count()


def served(request_id: str, as_of: int = T, user: str = "u", categories: str = "AB") -> Served:
    shown = tuple(Shown("category", each, -1.0 - place, 0.0, 0.0, b"") for place, each in enumerate(categories))
    return Served(request_id, user, as_of, 0, T, "b", 0, shown)


def bought(category: str | None, t: int, k: int | None = None, user: str = "u", **fields: object) -> Admitted:
    said = {"kind": "purchase", "purposes": 1} | fields
    return admit(Event(f"m{next(_ids)}", user_id=user, client_time=t, category=category, **said), k or t)  # type: ignore[arg-type]


def told(examples: list[Example]) -> list[tuple[str, str, float, bool | None]]:
    return [(each.request_id, each.category, each.margin, each.label) for each in examples]


def joined() -> PartitionJoin:
    return PartitionJoin(WINDOW, HORIZON)


def test_a_purchase_of_what_was_shown_is_positive_at_once_and_once() -> None:
    """The first purchase of a shown category in the window gives one positive with the served margin."""
    join = joined()
    assert join.take_served(served("r"), T + 1) == []
    assert told(join.take_event(bought("B", T + 5))) == [("r", "B", -2.0, True)]
    assert join.take_event(bought("B", T + 6)) == []
    assert told(join.wait(T + WINDOW)) == [("r", "A", -1.0, False)]


def test_what_a_calibration_made_of_the_margin_is_learned_on() -> None:
    """The learner corrects what was believed: the calibrated margin, not the raw one that stands beside it."""
    join = joined()
    join.take_served(msgspec.structs.replace(served("r"), calibration=Calibration(0.5, -1.0)), T + 1)
    assert told(join.take_event(bought("B", T + 5))) == [("r", "B", -2.0, True)]
    assert told(join.wait(T + WINDOW)) == [("r", "A", -1.5, False)]


@pytest.mark.parametrize(("t", "hits"), [(T - 1, False), (T, True), (T + WINDOW - 1, True), (T + WINDOW, False)])
def test_the_window_is_half_open_in_event_time(t: int, hits: bool) -> None:
    """An outcome has as_of <= e < as_of + window; when it was admitted does not matter while the window is open."""
    join = joined()
    join.take_served(served("r"), T + 1)
    positives = [each for each in join.take_event(bought("A", t, k=max(t, T + 2))) if each.label]
    assert bool(positives) == hits


@pytest.mark.parametrize(
    "event",
    [
        bought("A", T + 5, user="somebody else"),
        bought("A", T + 5, kind="item_view"),
        bought("A", T + 5, purposes=2),
        bought("A", T + 5, purposes=0),
        bought(None, T + 5),
        bought("C", T + 5),
    ],
)
def test_only_purchases_of_that_user_that_may_be_learned_from_count(event: Admitted) -> None:
    """Somebody else, another kind, no consent to personalization, no or another category: no outcome."""
    join = joined()
    join.take_served(served("r"), T + 1)
    assert join.take_event(event) == []


def test_negatives_come_when_the_watermark_reaches_the_end() -> None:
    """Not a microsecond before, once, oldest served entry first; an entry or the clock may bring the watermark."""
    join = joined()
    join.take_served(served("later", T + 10), T + 11)
    join.take_served(served("first", T), T + 12)
    assert join.wait(T + WINDOW - 1) == []
    assert [each.request_id for each in join.take_event(bought("Z", T + WINDOW))] == ["first", "first"]
    assert [each.request_id for each in join.wait(T + WINDOW + 10)] == ["later", "later"]
    assert join.wait(T + WINDOW + 99) == []


def test_a_purchase_that_overtook_the_served_entry_counts() -> None:
    """A served entry is appended after its answer: a purchase in between stands before it in the log."""
    join = joined()
    assert join.take_event(bought("A", T + 3)) == []
    assert told(join.take_served(served("r"), T + 9)) == [("r", "A", -1.0, True)]


def test_late_outcomes_are_counted_and_not_learned() -> None:
    """A purchase in the window that is admitted after the negative makes no second example."""
    join = joined()
    join.take_served(served("r"), T + 1)
    assert len(join.wait(T + WINDOW)) == 2
    assert join.take_event(bought("A", T + 5, k=T + WINDOW + HOUR_US)) == []
    assert join.late == 1
    assert join.take_event(bought("A", T + 6, k=T + WINDOW + HOUR_US + 1)) == []
    assert join.late == 1


def test_nothing_is_kept_longer_than_an_outcome_could_come() -> None:
    """After window and lateness horizon a served entry is forgotten, and so are purchases after a while."""
    join = joined()
    join.take_served(served("r"), T + 1)
    join.take_event(bought("A", T + 2))
    join.wait(T + WINDOW + HORIZON - 1)
    assert join.pending
    join.wait(T + WINDOW + HORIZON)
    assert (join.pending, join._of_user, join._due, join.place.recent) == ({}, {}, [], [])


def test_items_are_not_labelled() -> None:
    """What was shown beside categories is left alone."""
    join = joined()
    shown = (Shown("item", "A", 0.0, 0.0, 0.0, b""),)
    join.take_served(msgspec.structs.replace(served("r"), shown=shown), T + 1)
    assert join.take_event(bought("A", T + 5)) == []
    assert not join.pending


def stream(rng: random.Random, length: int) -> list[Served | Admitted]:
    """Served entries and purchases of a few users, over several windows, in an order of admission."""
    k, made = T, list[Served | Admitted]()
    for number in range(length):
        k += rng.choice([1, 1000, HOUR_US, 6 * HOUR_US])
        user = rng.choice("uvwxyz")
        if rng.random() < 0.4:
            made.append(served(f"r{number}", k - rng.randrange(3), user, "".join(rng.sample("ABCDEFGH", 3))))
        else:
            made.append(bought(rng.choice("ABCDEFGHIJ"), k - rng.choice([0, 0, 1, DAY_US]), k, user))
    return made


def take(join: PartitionJoin, entry: Served | Admitted) -> list[Example]:
    return join.take_event(entry) if isinstance(entry, Admitted) else join.take_served(entry, entry.as_of + 3)


def stored(join: PartitionJoin, kept: dict[str, bytes]) -> bytes:
    """What a commit writes: changed entries into `kept`, and the place."""
    for request_id in join.changed:
        pending = join.pending.get(request_id)
        if pending is None:
            kept.pop(request_id, None)
        else:
            kept[request_id] = msgspec.msgpack.encode(pending)
    join.changed.clear()
    return msgspec.msgpack.encode(join.place)


@pytest.mark.parametrize("seed", range(5))
def test_a_restart_after_any_entry_changes_nothing(seed: int) -> None:
    """Stored and restored after every entry, in any order, the joiner gives the examples of an uninterrupted run."""
    rng = random.Random(seed)
    entries = stream(rng, 400)
    uninterrupted = joined()
    expected = [example for entry in entries for example in take(uninterrupted, entry)]
    assert len({(each.request_id, each.category) for each in expected}) == len(expected), "each labelled once"
    assert 20 < sum(each.label for each in expected) < len(expected)
    found: list[Example] = []
    kept: dict[str, bytes] = {}
    join = joined()
    for entry in entries:
        found += take(join, entry)
        place = msgspec.msgpack.decode(stored(join, kept), type=Place)
        join = PartitionJoin(WINDOW, HORIZON, place)
        for data in rng.sample(list(kept.values()), len(kept)):
            join.restore(msgspec.msgpack.decode(data, type=Pending))
    assert found == expected
