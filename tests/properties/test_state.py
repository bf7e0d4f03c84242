"""State against the naive oracle: whatever the log, the stored integers answer as the whole log would (design 4)."""

import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from behavior import state as states
from behavior.aggregation import Aggregation
from behavior.event import Admitted
from behavior.plan import View
from behavior.state import State
from tests import oracle
from tests.oracle import HOUR, SNAPSHOT_ENTITIES, floor, hop_of, span_of
from tests.properties.answers import final_rows, folded, of_entity, pieces, restarted
from tests.properties.strategies import (
    ENTITIES,
    FEATURES,
    RETENTION,
    SELECTED,
    allowed,
    entity_keys,
    instants,
    logs,
    view_definition,
)

NASTY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
# Without gaps: everything lies so close together that no order of folding can see one.
CLOSE = RETENTION - 49 * HOUR
WINDOWED = tuple(spec for spec in FEATURES if spec.over)


def served(view: View, events: list[Admitted], when: Sequence[int], *, restart: bool) -> list[dict[str, object]]:
    """What the state answers at each instant, folding in the order of admission as the log goes on."""
    rows: list[tuple[State | None, int]] = []
    state: State | None = None
    waiting = pieces(view, events)
    for t in when:
        while waiting and waiting[0][0].k < oracle.answers_at(view.definition, t):
            state = folded(view, waiting.pop(0), state)
            state = restarted(view, state) if restart else state
        rows.append((restarted(view, state), t))
    return final_rows(view, rows)


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("restart", [False, True], ids=["kept", "restarted"])
@NASTY
@given(data=st.data())
def test_state_answers_as_the_whole_log_would(data: st.DataObject, entity: str, restart: bool) -> None:
    """At every instant after its last admission a state gives the oracle's values, stored wherever it may be or not."""
    definition = view_definition(entity)
    log = data.draw(logs(), "log")
    when = data.draw(instants(definition, log, at_most=24), "instants")
    view = View(definition)
    for key in entity_keys(definition):
        answers = served(view, of_entity(view, log, key), when, restart=restart)
        for t, answer in zip(when, answers, strict=True):
            assert answer == oracle.final_values(definition, log, key, t), (key, t)


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
            assert_same_bytes(view, folded(view, events), folded(view, shuffled))


def assert_same_bytes(view: View, *made: State | None) -> None:
    """The states are stored in the same bytes."""
    present = [state for state in made if state is not None]
    assert len(present) == len(made)
    assert len({states.encode(view, state) for state in present}) == 1


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_events_of_one_instant_fold_in_any_order_even_at_a_gap(data: st.DataObject, entity: str) -> None:
    """Only k tells the order between instants: what entered at one instant may be folded in any order, gaps or not."""
    view = View(view_definition(entity))
    log = data.draw(logs(), "log")
    for key in entity_keys(view.definition):
        events = of_entity(view, log, key)
        if events:
            together = [list(group) for _, group in itertools.groupby(events, key=lambda a: a.k)]
            shuffled = [each for group in together for each in data.draw(st.permutations(group))]
            assert_same_bytes(view, folded(view, events), folded(view, shuffled))


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


def assert_merges(view: View, events: list[Admitted], sides: list[bool]) -> None:
    """Both sides, merged either way round, are the bytes of the whole; and merging changes neither of them."""

    def half(side: bool) -> State | None:
        return folded(view, [a for a, s in zip(events, sides, strict=True) if s is side])

    for one, other in ((True, False), (False, True)):
        left, right = half(one), half(other)
        if left is None or right is None:
            return
        assert_same_bytes(view, states.merge(view, left, right), folded(view, events))
        assert (left, right) == (half(one), half(other))


@pytest.mark.parametrize("entity", SNAPSHOT_ENTITIES)
@NASTY
@given(data=st.data())
def test_stored_halves_merge_too(data: st.DataObject, entity: str) -> None:
    """Bytes of snapshot views keep all that decides between equal times, so what was stored merges to the whole."""
    view = View(view_definition(entity))
    log = data.draw(logs(max_span=CLOSE), "log")
    for key in entity_keys(view.definition):
        events = of_entity(view, log, key)
        sides = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)), f"sides of {key}")
        halves = [
            restarted(view, folded(view, [a for a, s in zip(events, sides, strict=True) if s is side]))
            for side in (True, False)
        ]
        if None not in halves:
            left, right = halves
            assert left
            assert right
            assert_same_bytes(view, states.merge(view, left, right), folded(view, events))


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
def test_many_are_stored_and_read_as_one_by_one(data: st.DataObject) -> None:
    """Encode_all and decode_all of states of several views, in any order, are encode and decode of each."""
    views = [View(view_definition(entity)) for entity in ENTITIES]
    log = data.draw(logs(), "log")
    made = [
        (view, state)
        for view in views
        for key in entity_keys(view.definition)
        if (state := folded(view, of_entity(view, log, key)))
    ]
    some = data.draw(st.permutations(made))
    stored = states.encode_all(some)
    assert stored == [states.encode(view, state) for view, state in some]
    found = states.decode_all([(view, data) for (view, _), data in zip(some, stored, strict=True)])
    assert found == [states.decode(view, data) for (view, _), data in zip(some, stored, strict=True)]


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_a_restart_leaves_no_trace(data: st.DataObject, entity: str) -> None:
    """Storing the state wherever it may be, and pruning it thereby, changes neither values nor later bytes."""
    view = View(view_definition(entity))
    log = data.draw(logs(), "log")
    when = data.draw(instants(view.definition, log), "instants")
    for key in entity_keys(view.definition):
        events = of_entity(view, log, key)
        state: State | None = None
        for piece in pieces(view, events):
            state = folded(view, piece, state)
            state = restarted(view, state) if data.draw(st.booleans()) else state
        kept = folded(view, events)
        if state and kept:
            for t in (t for t in when if t > events[-1].k):
                assert states.raw_at(view, state, t) == states.raw_at(view, kept, t)
            assert_same_bytes(view, state, kept)


@pytest.mark.parametrize("spec", WINDOWED, ids=lambda spec: spec.name)
@settings(NASTY, max_examples=25)
@given(data=st.data())
def test_what_no_window_can_reach_is_not_stored(data: st.DataObject, spec: Aggregation) -> None:
    """A windowed feature's bytes are those of the events still in its window at the greatest event time, no more."""
    view = View(view_definition(allowed(spec)[-1], (spec,)))
    log = data.draw(logs(max_span=CLOSE), "log")
    key = data.draw(st.sampled_from(entity_keys(view.definition)))
    events = of_entity(view, log, key)
    assume(events)
    seen_e = max(a.e for a in events)
    window = span_of(spec.over or "")
    hop = hop_of(window)
    reachable = [a for a in events if floor(a.e, hop) > floor(seen_e, hop) - window]
    assert_same_bytes(view, folded(view, events), folded(view, reachable))


def test_the_log_of_these_tests_is_nasty() -> None:
    """The strategies do produce what they promise; otherwise these properties would prove little."""
    found = SimpleNamespace(
        **dict.fromkeys(["tie", "late", "gap", "mute", "kind", "bare", "itemless", "negative", "mixed"], False)
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
        found.itemless |= any(a.event.item is None for a in log)
        found.negative |= any((a.event.value or 0) < 0 for a in log)
        found.mixed |= len({type(a.event.properties.get("stars")) for a in log}) > 2

    look()
    assert all(vars(found).values()), found
