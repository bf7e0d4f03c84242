"""State against the naive oracle: whatever the log, the stored integers answer as the whole log would (design 4)."""

import itertools
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from behavior import state as states
from behavior.column import Column
from behavior.errors import OpportuneError
from behavior.event import Admitted, Event
from behavior.kinds import Aggregation, count
from behavior.partition import partition_of
from behavior.plan import View, ViewDefinition
from behavior.state import State
from behavior.vector import finalise
from behavior.window import hop_of
from tests import oracle
from tests.oracle import DAY, HOUR, MINUTE, floor
from tests.properties.strategies import (
    FEATURES,
    PARTITIONS,
    RETENTION,
    SELECTED,
    USERS,
    WINDOWED,
    entity_keys,
    instants,
    logs,
    view_definition,
)

ENTITIES = ("user", "user_category", "category", "all")
NASTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
# Without gaps: everything lies so close together that no order of folding can see one.
CLOSE = RETENTION - 49 * HOUR


def of_entity(view: View, log: Iterable[Admitted], key: tuple[str, ...]) -> list[Admitted]:
    """What the entity's state is made of, by the floor's own `belongs`."""
    return [a for a in log if states.belongs(view, a) and oracle.key_of(view.definition, a.event) == key]


def folded(view: View, events: Iterable[Admitted], state: State | None = None) -> State | None:
    """The state after the events in the given order."""
    for admitted in events:
        state = states.fold(view, state, admitted)
    return state


def restarted(view: View, state: State | None) -> State | None:
    """The state as another process finds it."""
    return None if state is None else states.decode(view, states.encode(view, state))


def final_rows(view: View, rows: Sequence[tuple[State | None, int]]) -> list[dict[str, object]]:
    """The final values of the view for (state, instant) pairs, None for missing; all rows are finalised at once."""
    at = [oracle.answers_at(view.definition, t) for _, t in rows]
    raw = [
        [None] * len(view.features) if state is None else states.raw_at(view, state, s)
        for (state, _), s in zip(rows, at, strict=True)
    ]
    columns = {
        feature.name: Column.of([row[i] for row in raw], feature.raw_dtype) for i, feature in enumerate(view.features)
    }
    seen_e = Column.of([None if state is None else state.seen_e for state, _ in rows], "int64")
    finals = finalise(view, columns, seen_e, np.array([t for _, t in rows], dtype=np.int64))
    return [{feature.name: plain(finals[feature.ref], i) for feature in view.features} for i in range(len(rows))]


def plain(column: Column, i: int) -> object:
    """A value as Python has it, None for one that is not there."""
    if not column.valid[i]:
        return None
    found = column.values[i]
    return found.item() if isinstance(found, np.generic) else found


def served(view: View, events: Sequence[Admitted], when: Sequence[int], *, restart: bool) -> list[dict[str, object]]:
    """What the state answers at each instant, folding in the order of admission as the log goes on."""
    rows: list[tuple[State | None, int]] = []
    state: State | None = None
    waiting = list(events)
    for t in when:
        while waiting and waiting[0].k < oracle.answers_at(view.definition, t):
            state = states.fold(view, state, waiting.pop(0))
            state = restarted(view, state) if restart else state
        rows.append((states.decode(view, states.encode(view, state)) if state else None, t))
    return final_rows(view, rows)


def expect_oracle(view: View, log: list[Admitted], when: Sequence[int], *, restart: bool) -> None:
    """Every entity answers as the oracle does, at every instant."""
    for key in entity_keys(view.definition):
        answers = served(view, of_entity(view, log, key), when, restart=restart)
        for t, answer in zip(when, answers, strict=True):
            assert answer == oracle.final_values(view.definition, log, key, t), (key, t)


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("restart", [False, True], ids=["kept", "restarted"])
@NASTY
@given(data=st.data())
def test_state_answers_as_the_whole_log_would(data: st.DataObject, entity: str, restart: bool) -> None:
    """At every instant after its last admission a state gives the oracle's values, restarted at every event or not."""
    definition = view_definition(entity)
    log = data.draw(logs(), "log")
    expect_oracle(View(definition), log, data.draw(instants(definition, log), "instants"), restart=restart)


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_belongs_takes_what_the_oracle_takes(data: st.DataObject, entity: str) -> None:
    """A view takes an event iff it selects its kind, the user consented to personalisation, and its keys are there."""
    definition = view_definition(entity)
    view = View(definition)
    for admitted in data.draw(logs(), "log"):
        assert states.belongs(view, admitted) == oracle.belongs(definition, admitted.event)


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_any_order_of_folding_gives_the_same_bytes(data: st.DataObject, entity: str) -> None:
    """Where no order can see a gap of the retention, the bytes are a function of the set of events alone."""
    view = View(view_definition(entity))
    log = data.draw(logs(max_span=CLOSE), "log")
    for key in entity_keys(view.definition):
        events = of_entity(view, log, key)
        if events:
            shuffled = data.draw(st.permutations(events), f"order of {key}")
            once, again = folded(view, events), folded(view, shuffled)
            assert once
            assert again
            assert states.encode(view, once) == states.encode(view, again)


@NASTY
@given(data=st.data())
def test_events_of_one_instant_fold_in_any_order_even_at_a_gap(data: st.DataObject) -> None:
    """Only k tells the order between instants: what entered at one instant may be folded in any order, gaps or not."""
    view = View(view_definition("all"))
    log = data.draw(logs(), "log")
    events = of_entity(view, log, ("all",))
    assume(events)
    shuffled = [
        admitted
        for _, together in itertools.groupby(events, key=lambda a: a.k)
        for admitted in data.draw(st.permutations(list(together)))
    ]
    once, again = folded(view, events), folded(view, shuffled)
    assert once
    assert again
    assert states.encode(view, once) == states.encode(view, again)


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_any_split_merges_to_what_was_folded_together(data: st.DataObject, entity: str) -> None:
    """Without gaps, two disjoint sets of events merge to the bytes of folding both, either way round."""
    view = View(view_definition(entity))
    log = data.draw(logs(max_span=CLOSE), "log")
    for key in entity_keys(view.definition):
        events = of_entity(view, log, key)
        sides = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)), f"sides of {key}")
        assert_merges(view, events, sides)


@pytest.mark.parametrize("entity", ["category", "all"])
@NASTY
@given(data=st.data())
def test_partials_of_partitions_answer_as_the_whole_log_would(data: st.DataObject, entity: str) -> None:
    """Without gaps, the partial states of all partitions merge to the oracle's values at every whole interval."""
    definition = view_definition(entity)
    view = View(definition)
    log = data.draw(logs(max_span=CLOSE), "log")
    when = data.draw(instants(definition, log, at_most=12), "instants")
    for key in entity_keys(definition):
        events = of_entity(view, log, key)
        rows = [(merged_partials(view, events, oracle.answers_at(definition, t)), t) for t in when]
        expected = [oracle.final_values(definition, log, key, t) for t in when]
        assert final_rows(view, rows) == expected


def merged_partials(view: View, events: list[Admitted], s: int) -> State | None:
    """The state of the snapshot at s: each partition folded by itself, stored, and all merged."""
    merged: State | None = None
    for partition in range(PARTITIONS):
        own = [a for a in events if a.k < s and partition_of(a.event.user_id, PARTITIONS) == partition]
        partial = restarted(view, folded(view, own))
        if partial is not None:
            merged = partial if merged is None else states.merge(view, merged, partial)
    return merged


def assert_merges(view: View, events: list[Admitted], sides: list[bool]) -> None:
    """Both sides, merged either way round, are the bytes of the whole."""

    def half(side: bool) -> State | None:
        return folded(view, [a for a, s in zip(events, sides, strict=True) if s is side])

    if not half(True) or not half(False):
        return
    whole = folded(view, events)
    assert whole
    for first, second in ((True, False), (False, True)):
        left, right = half(first), half(second)
        assert left
        assert right
        assert states.encode(view, states.merge(view, left, right)) == states.encode(view, whole)


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_what_is_decoded_is_what_was_encoded(data: st.DataObject, entity: str) -> None:
    """Decode gives back the state that encode pruned, and encoding it again gives the same bytes."""
    view = View(view_definition(entity))
    log = data.draw(logs(), "log")
    for key in entity_keys(view.definition):
        state = folded(view, of_entity(view, log, key))
        if state:
            stored = states.encode(view, state)
            found = states.decode(view, stored)
            assert found.seen_e == state.seen_e
            assert states.encode(view, found) == stored
            assert states.decode(view, states.encode(view, found)) == found


@NASTY
@given(data=st.data())
def test_a_restart_between_any_two_events_leaves_no_trace(data: st.DataObject) -> None:
    """Storing the state after any of the events, and pruning it thereby, changes neither values nor later bytes."""
    view = View(view_definition("all"))
    log = data.draw(logs(), "log")
    events = of_entity(view, log, ("all",))
    assume(events)
    state: State | None = None
    for admitted in events:
        state = states.fold(view, state, admitted)
        state = restarted(view, state) if data.draw(st.booleans()) else state
    kept = folded(view, events)
    assert state
    assert kept
    assert states.encode(view, state) == states.encode(view, kept)
    for t in data.draw(instants(view.definition, log), "instants"):
        if t > events[-1].k:
            assert states.raw_at(view, state, t) == states.raw_at(view, kept, t)


@pytest.mark.parametrize("spec", WINDOWED, ids=lambda spec: spec.name)
@settings(NASTY, max_examples=40)
@given(data=st.data())
def test_what_no_window_can_reach_is_not_stored(data: st.DataObject, spec: Aggregation) -> None:
    """A windowed feature's bytes are those of the events still in its window at the greatest event time, no more."""
    view = View(view_definition("all", (spec,)))
    events = of_entity(view, data.draw(logs(max_span=CLOSE), "log"), ("all",))
    assume(events)
    seen_e = max(a.e for a in events)
    hop, window = hop_of(spec.over_us or 0), spec.over_us or 0
    reachable = [a for a in events if floor(a.e, hop) > floor(seen_e, hop) - window]
    whole, needed = folded(view, events), folded(view, reachable)
    assert whole
    assert needed
    assert states.encode(view, whole) == states.encode(view, needed)


def purchase(number: int, e: int, k: int | None = None, **parts: object) -> Admitted:
    """A purchase of one user with consent."""
    said = {"user_id": USERS[0], "category": "dairy", "purposes": 1, **parts}
    event = Event(message_id=f"m{number}", kind="purchase", client_time=e, **said)  # type: ignore[arg-type]
    return Admitted(event, e, e if k is None else k)


def user_view(*specs: object, retention: int = RETENTION) -> View:
    definition = view_definition("user", tuple(specs) or FEATURES)  # type: ignore[arg-type]
    return View(ViewDefinition(definition.name, "user", SELECTED, definition.features, retention_us=retention))


def at(view: View, events: list[Admitted], t: int) -> dict[str, object]:
    return final_rows(view, [(folded(view, events), t)])[0]


T0 = 17_440 * DAY


def test_an_event_leaves_its_window_with_its_hop() -> None:
    """An event leaves a window W at floor(e, hop) + W and not a microsecond before, however late in the hop it came."""
    view = user_view()
    for over, window, hop in (("24h", 24 * HOUR, HOUR), ("30d", 30 * DAY, DAY)):
        came = T0 + hop - 1
        name = f"purchase_count_{over}"
        assert at(view, [purchase(1, came)], T0 + window - 1)[name] == 1
        assert at(view, [purchase(1, came)], T0 + window)[name] == 0


def test_pruning_waits_until_no_instant_can_reach() -> None:
    """What is stored 2 us before an event leaves its window still counts both a microsecond before, and not after."""
    view = user_view(count("purchase", over="24h"), count("purchase", over="30d"))
    for i, window in enumerate((24 * HOUR, 30 * DAY)):
        leaves = T0 + window
        state = restarted(view, folded(view, [purchase(1, T0), purchase(2, leaves - 2)]))
        assert state
        assert [states.raw_at(view, state, t)[i] for t in (leaves - 1, leaves)] == [2, 1]


def test_an_entity_goes_missing_at_its_retention() -> None:
    """Every value is there until max e + R - 1 us and missing from max e + R on, an unwindowed count included."""
    view = user_view()
    assert at(view, [purchase(1, T0)], T0 + RETENTION - 1)["purchase_count"] == 1
    assert set(at(view, [purchase(1, T0)], T0 + RETENTION).values()) == {None}


def test_a_gap_is_measured_from_event_time_to_admission() -> None:
    """A late event starts afresh if it was *admitted* R after the greatest event time, though it happened before."""
    view = user_view()
    late = purchase(2, T0 + RETENTION - HOUR, T0 + RETENTION)
    in_time = purchase(2, T0 + RETENTION - HOUR, T0 + RETENTION - 1)
    assert at(view, [purchase(1, T0), late], T0 + RETENTION + 1)["purchase_count"] == 1
    assert at(view, [purchase(1, T0), in_time], T0 + RETENTION + 1)["purchase_count"] == 2


def test_there_is_no_zero_by_accident() -> None:
    """Nothing at all is missing; with another kind alone counts are 0, and last and age are missing."""
    view = user_view()
    refund = Admitted(Event("m1", "refund", USERS[0], T0, purposes=1), T0, T0)
    found = at(view, [refund], T0 + 1)
    assert (found["purchase_count"], found["purchase_value_total"], found["purchase_count_30d"]) == (0, 0, 0)
    assert (found["purchase_age_s"], found["purchase_category_last"], found["purchase_value_last"]) == (
        None,
        None,
        None,
    )
    assert found["refund_ever"] == 1
    assert set(final_rows(view, [(None, T0)])[0].values()) == {None}


def test_an_age_is_the_nearest_float32() -> None:
    """An age is one difference in int64, one division in float64 and one cast to float32."""
    view = user_view()
    for elapsed in (1, 999_999, 16_777_217_000_000 % RETENTION, RETENTION - 1, 33 * DAY + 123_457):
        found = at(view, [purchase(1, T0)], T0 + elapsed)["purchase_age_s"]
        assert found == float(np.float32(np.float64(elapsed) / np.float64(1_000_000)))


def test_the_greatest_message_id_decides_between_equal_times() -> None:
    """`last` takes the greatest (e, k, message id): event time before admission, and ids by code points."""
    view = user_view()
    name = "purchase_category_last"
    by_e = [purchase(9, T0, T0 + HOUR, category="late"), purchase(1, T0 + 1, category="newest")]
    by_k = [purchase(9, T0, T0 + 1, category="first"), purchase(1, T0, T0 + 2, category="second")]
    by_id = [
        Admitted(Event(mark, "purchase", USERS[0], T0, category=mark, purposes=1), T0, T0)
        for mark in ("\uffee", "\U0001f600")
    ]
    for events, expected in ((by_e, "newest"), (by_k, "second"), (by_id, "\U0001f600")):
        for order in itertools.permutations(events):
            assert at(view, list(order), T0 + 2 * HOUR)[name] == expected


def test_sums_stay_exact_at_the_limits_of_admission() -> None:
    """Totals are integers: a thousand events at the greatest value sum exactly, where float64 and int32 would not."""
    view = user_view()
    events = [purchase(i, T0 + i, value=10**11 - (i % 2)) for i in range(1000)]
    state = restarted(view, folded(view, events))
    found = final_rows(view, [(state, T0 + MINUTE)])[0]
    assert found["purchase_value_total"] == 1000 * 10**11 - 500


def test_format_1_is_as_it_is_described() -> None:
    """u8 1 | length in bytes | numbers, the greatest event time first; all zigzag LEB128 | texts in MessagePack."""
    view = user_view()
    state = folded(view, [purchase(1, T0), purchase(2, T0 + HOUR, category="käse")])
    assert state
    stored = states.encode(view, state)
    assert stored[0] == 1
    length, start = leb128(stored, 1)
    end = start + zigzag(length)
    assert zigzag(leb128(stored, start)[0]) == T0 + HOUR
    assert stored[end - 1] < 0x80
    texts = msgspec.msgpack.decode(stored[end:])
    assert "käse" in texts
    assert "dairy" not in texts


def leb128(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned LEB128 number (DWARF 5, 7.6) and where it ends."""
    size = next(i for i in range(position, len(data)) if data[i] < 0x80) + 1 - position
    return sum((data[position + i] & 0x7F) << 7 * i for i in range(size)), position + size


def zigzag(number: int) -> int:
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def test_bytes_of_another_format_are_refused() -> None:
    """A state of an unknown format is an error that names it, never a wrong value."""
    view = user_view()
    state = folded(view, [purchase(1, T0)])
    assert state
    stored = states.encode(view, state)
    with pytest.raises(OpportuneError):
        states.decode(view, bytes([stored[0] + 1]) + stored[1:])


def test_the_log_of_these_tests_is_nasty() -> None:
    """The strategies do produce what they promise; otherwise these properties would prove little."""
    found: SimpleNamespace = SimpleNamespace(
        **dict.fromkeys(["tie", "late", "gap", "mute", "kind", "bare", "negative"], False)
    )

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(logs())
    def look(log: list[Admitted]) -> None:
        found.tie |= len({(a.e, a.k) for a in log}) < len(log)
        found.late |= any(a.e < a.k for a in log)
        found.gap |= any(b.k - a.e == RETENTION for a, b in itertools.pairwise(log))
        found.mute |= any(a.event.purposes & 1 == 0 for a in log)
        found.kind |= any(a.event.kind not in SELECTED for a in log)
        found.bare |= any(a.event.category is None for a in log)
        found.negative |= any((a.event.value or 0) < 0 for a in log)

    look()
    assert all(vars(found).values()), found
