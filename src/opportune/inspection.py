"""What is known of one user: the stored states, and every feature as it is served and as the events say.

    Redis: states ─▶ values at as_of ──┐
                                       ├─▶ side by side, marked where they differ in a bit
    archive + log ─▶ values at as_of ──┘

At an instant of the past only the events tell: states answer from now on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior.column import Column
from behavior.errors import BadInput
from behavior.plan import ALL_ID, Plan, View
from behavior.state import decode
from deployment.cold_reading import Moved, UserRead, ask_rows, ask_user, rows_read, user_read
from deployment.generations import Plans, agree, generation_of, serving
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.pseudonym import Pseudonyms, is_pseudonym
from deployment.settings import Settings
from deployment.user_state import UserState
from opportune.difference import plain
from opportune.history import EVENTS, History, history
from opportune.replay import DeploymentClock, replay_clock
from opportune.slot_words import slot_words

if TYPE_CHECKING:
    from training.as_of import Questions

# Categories that are shown of a user if none is named: the latest.
SHOWN_CATEGORIES = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored state: its size in bytes, the latest event time (µs), and per slot the raw columns and what is in it.

    category   None for a state of the user
    """

    view: str
    category: str | None
    size: int
    seen_e: int
    slots: dict[str, str]


@dataclass(frozen=True, slots=True)
class Value:
    """One feature: as it is served and as the events say; None is missing.

    entity   a category, `all`, or None for the user
    """

    feature: str
    entity: str | None
    online: Any
    offline: Any
    differs: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """One user at one instant; instants in µs UTC.

    as_of           the instant of the user's values; `s` that of the snapshot's, None if there is none
    generation      of the states, and `offset` how far they are folded; None if only the events were asked
    archived_until  the last event of the user's partition that is archived
    from_log        events of the deployment that are not archived yet and were taken from the log
    fields, bytes   what is stored of the user in all
    """

    user_id: str
    known: bool
    partition: int
    as_of: int
    s: int | None
    generation: int | None
    offset: int | None
    archived_until: int
    from_log: int
    fields: int
    bytes: int
    states: tuple[Stored, ...]
    values: tuple[Value, ...]

    @property
    def differing(self) -> int:
        """How many values differ."""
        return sum(each.differs for each in self.values)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is asked of one view: which entities, at which instant, knowing events with k < before; what is served."""

    view: View
    entities: tuple[tuple[str, ...], ...]
    t: int
    before: int
    online: dict[str, Column] | None = None

    @property
    def questions(self) -> "Questions":
        """The same for the events."""
        from training.as_of import Questions

        return Questions.of([(entity, self.t, self.before) for entity in self.entities])


def pseudonym_of(user: str, settings: Settings, *, anonymous: bool = False) -> str:
    """The pseudonym of a raw id; of a pseudonym itself. Raises BadInput without a key."""
    if is_pseudonym(user):
        return user
    pseudonyms = Pseudonyms.load(settings.key_file)
    return pseudonyms.anonymous(user) if anonymous else pseudonyms.user(user)


def inspect(settings: Settings, user_id: str, categories: Sequence[str] = ()) -> Inspection:
    """A user now, online and by the events; `user_id` is a pseudonym, the latest categories are taken if none is named.

    Raises BadInput if there are no states, Unavailable if Redis does not answer.
    """
    with replay_clock(settings) as clock:
        return _Online(settings, clock).inspect(user_id, categories)


def inspect_past(settings: Settings, user_id: str, at: int, categories: Sequence[str] = ()) -> Inspection:
    """A user at an instant (µs) of the past by the events alone; with a Redis also those that are not archived yet."""
    if settings.redis_url is None:
        with history(settings) as known:
            return _past(settings, known, load_plan(settings.plan), user_id, at, categories)
    with replay_clock(settings) as clock:
        plan = load_plan(settings.plan)
        generation = serving(clock.client, clock.keys)
        if generation is not None:
            plan = Plans(clock.keys).of(clock.client, generation)
        with history(settings, clock.client, clock.keys) as known:
            return _past(settings, known, plan, user_id, at, categories)


def _past(
    settings: Settings, known: History, plan: Plan, user_id: str, at: int, categories: Sequence[str]
) -> Inspection:
    theirs = known.of_users([user_id])
    chosen = tuple(categories) or _latest_categories(known, theirs, at)
    readings = []
    for view in plan.views:
        entities = _entities(view, user_id, chosen)
        if entities:
            readings.append(_Reading(view, entities, at, at))
    partition = Keys(settings.redis_prefix, settings.partitions).partition_of(user_id)
    (events,) = known.connection.execute(f"SELECT count(*) FROM {theirs} WHERE k < {at}").fetchone() or (0,)
    return Inspection(
        user_id, events > 0, partition, at, at - at % plan.interval_us, None, None, known.archived[partition],
        known.from_log, 0, 0, (), _values(known, readings, theirs) if events else (),
    )  # fmt: skip


class _Online:
    """Reads what is served; each question belongs to one generation, and is asked again where that has changed."""

    def __init__(self, settings: Settings, clock: DeploymentClock) -> None:
        self._settings = settings
        self._clock = clock
        self._client, self._keys = clock.client, clock.keys
        self._plans = Plans(clock.keys)

    def inspect(self, user_id: str, categories: Sequence[str]) -> Inspection:
        """The user now."""
        if serving(self._client, self._keys) is None:
            raise BadInput("Redis holds no states; run `opportune rebuild`, or start `opportune fold`")
        agree(self._client, self._keys, lambda: load_plan(self._settings.plan))
        partition = self._keys.partition_of(user_id)
        generation, read = self._user(partition, user_id)
        plan = self._plans.of(self._client, generation)
        fields = dict(zip(read.fields[::2], read.fields[1::2], strict=True))
        state = UserState(plan, fields)
        as_of = max(self._clock.now(), read.offset + 1)
        chosen = tuple(categories) or _latest_stored(state)
        asked = [_of_user(view, state, user_id, chosen, as_of, read.offset) for view in plan.user_views]
        asked += self._snapshot(user_id, chosen)
        with history(self._settings, self._client, self._keys) as known:
            theirs = known.of_users([user_id])
            (events,) = known.connection.execute(f"SELECT count(*) FROM {theirs}").fetchone() or (0,)
            is_known = bool(fields or events)
            return Inspection(
                user_id, is_known, partition, as_of, next((each.t for each in asked if each.view.is_snapshot), None),
                generation, read.offset, known.archived[partition], known.from_log, len(fields),
                sum(map(len, fields.values())), tuple(_stored(state, chosen)),
                _values(known, asked, theirs) if is_known else (),
            )  # fmt: skip

    def _user(self, partition: int, user_id: str) -> tuple[int, UserRead]:
        generation = generation_of(self._client, self._keys, partition)
        while True:
            try:
                return generation, user_read(ask_user(self._client, self._keys, generation, user_id), generation)
            except Moved as moved:
                generation = moved.generation

    def _snapshot(self, user_id: str, categories: Sequence[str]) -> list[_Reading]:
        """The snapshot's rows for the categories and for all; none before the first snapshot."""
        generation = serving(self._client, self._keys) or 0
        readings = []
        for view in self._plans.of(self._client, generation).snapshot_views:
            entities = _entities(view, user_id, categories)
            if not entities:
                continue
            ids = [entity[0] for entity in entities]
            try:
                rows = rows_read(view, ask_rows(self._client, self._keys, generation, view, ids), generation)
            except Moved:
                return self._snapshot(user_id, categories)
            if rows is not None:
                readings.append(_Reading(view, entities, rows.s, rows.s, rows.finals))
        return readings


def _of_user(
    view: View, state: UserState, user_id: str, categories: Sequence[str], as_of: int, offset: int
) -> _Reading:
    online = state.columns(view, categories, as_of)
    return _Reading(view, _entities(view, user_id, categories), as_of, offset + 1, online)


def _entities(view: View, user_id: str, categories: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The entities of a view that a user's inspection shows; items are nobody's."""
    return {
        "user": ((user_id,),),
        "user_category": tuple((user_id, category) for category in categories),
        "category": tuple((category,) for category in categories),
        "all": ((ALL_ID,),),
    }.get(view.entity, ())


def _values(known: History, readings: Sequence[_Reading], theirs: str) -> tuple[Value, ...]:
    from training.as_of import as_of

    found: list[Value] = []
    for each in readings:
        events = EVENTS if each.view.is_snapshot else theirs
        offline = as_of(known.connection, each.view, each.questions, events=events)
        for row, entity in enumerate(each.entities):
            name = None if each.view.entity == "user" else entity[-1]
            for ref, column in offline.items():
                online = None if each.online is None else each.online[ref]
                found.append(_value(ref, name, online, column, row))
    return tuple(found)


def _value(ref: str, entity: str | None, online: Column | None, offline: Column, row: int) -> Value:
    if online is None:
        return Value(ref, entity, None, plain(offline, row), False)
    return Value(ref, entity, plain(online, row), plain(offline, row), not _same(online, offline, row))


def _same(left: Column, right: Column, row: int) -> bool:
    """Whether both say the same in this row, to the last bit."""
    if not (left.valid[row] and right.valid[row]):
        return bool(left.valid[row] == right.valid[row])
    one, other = left.values[row], right.values[row]
    if isinstance(one, np.generic) and isinstance(other, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return bool(one == other)


def _stored(state: UserState, categories: Sequence[str]) -> list[Stored]:
    found = []
    for view in state.plan.user_views:
        names = (None,) if view.entity == "user" else tuple(categories)
        for category in names:
            data = state.fields.get(view.letter + (category or "").encode())
            if data is not None:
                decoded = decode(view, data)
                slots = {
                    ", ".join(raw.name for raw in view.raws if raw.place == place): slot_words(slot, value)
                    for place, (slot, value) in enumerate(zip(view.slots, decoded.values, strict=True))
                }
                found.append(Stored(view.name, category, len(data), decoded.seen_e, slots))
    return found


def _latest_stored(state: UserState) -> tuple[str, ...]:
    """The categories in which the user did something last, by the states."""
    seen: dict[str, int] = {}
    for field, data in state.fields.items():
        view = state.plan.lettered(field)
        if view.entity == "user_category":
            category = field[1:].decode()
            seen[category] = max(seen.get(category, 0), decode(view, data).seen_e)
    return tuple(sorted(seen, key=lambda category: (-seen[category], category))[:SHOWN_CATEGORIES])


def _latest_categories(known: History, theirs: str, at: int) -> tuple[str, ...]:
    """The same by the events before an instant."""
    found = known.connection.execute(
        f"SELECT category FROM {theirs} WHERE category IS NOT NULL AND k < {at} "
        f"GROUP BY category ORDER BY max(e) DESC, category LIMIT {SHOWN_CATEGORIES}"
    )
    return tuple(category for (category,) in found.fetchall())
