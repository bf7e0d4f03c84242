"""Deltas of partitions against the whole log: however the events were spread, merged they are what was folded."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior import state as states
from behavior.event import PERSONALIZATION, Admitted, Event
from behavior.plan import FeatureDefinition, Plan, View, ViewDefinition
from behavior.snapshot_rows import unpack_rows
from behavior.state import State
from behavior.words import count
from scoring.deltas import Delta, decode_deltas, encode_deltas, merged
from scoring.partition_states import PartitionStates
from scoring.publishing import Wholes
from tests import oracle
from tests.oracle import DAY, HOUR, MINUTE, SNAPSHOT_ENTITIES
from tests.properties.answers import finals, folded, of_entity, restarted
from tests.properties.strategies import (
    LATENESS,
    SELECTED,
    entity_keys,
    features_of,
    instants,
    jitter,
    logs,
    view_definition,
)

NASTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PARTITIONS = 3
T0 = 17_440 * DAY


def spread(log: Sequence[Admitted], homes: Sequence[int]) -> list[list[Admitted]]:
    """The log by partition, as it stands in each: in the order of admission."""
    return [[a for a, home in zip(log, homes, strict=True) if home == number] for number in range(PARTITIONS)]


def closed(plan: Plan, partition: Sequence[Admitted]) -> dict[bytes, bytes]:
    """The deltas that a partition leaves of its events, as the fields of its hash."""
    made = PartitionStates(plan)
    for event in partition:
        made.add(event)
    return made.encoded_deltas()


def homes_of(log: Sequence[Admitted]) -> st.SearchStrategy[list[int]]:
    """A partition for each event; stored states ask for no more than that every event has one."""
    return st.lists(st.integers(0, PARTITIONS - 1), min_size=len(log), max_size=len(log))


def by_interval(plan: Plan, partitions: Sequence[Sequence[Admitted]]) -> dict[tuple[int, bytes], list[Delta]]:
    """The deltas of all partitions, as they were stored, by interval and field."""
    found: dict[tuple[int, bytes], list[Delta]] = {}
    for partition in partitions:
        for place, delta in decode_deltas(plan, closed(plan, partition)).items():
            found.setdefault(place, []).append(delta)
    return found


@pytest.mark.parametrize("entity", SNAPSHOT_ENTITIES)
@NASTY
@given(data=st.data())
def test_deltas_merge_to_what_was_folded_together(data: st.DataObject, entity: str) -> None:
    """Interval after interval, gaps of the retention included, the bytes are those of folding the log in its order."""
    definition = view_definition(entity)
    plan = Plan([definition])
    (view,) = plan.views
    log = data.draw(logs(), "log")
    deltas = by_interval(plan, spread(log, data.draw(homes_of(log), "homes")))
    wholes: dict[bytes, State | None] = {}
    for end, field in sorted(deltas):
        some = data.draw(st.permutations(deltas[end, field]))
        wholes[field] = restarted(view, merged(view, restarted(view, wholes.get(field)), some))
        key = (field.removeprefix(view.letter).decode(),)
        expected = folded(view, [a for a in of_entity(view, log, key) if a.k < end])
        assert wholes[field] == restarted(view, expected)


@st.composite
def _shortest(draw: st.DrawFn, entity: str) -> ViewDefinition:
    """A view whose retention is the shortest that there may be, a microsecond beyond lateness and interval."""
    minutes = draw(st.sampled_from((1, 5, 60)))
    specs = tuple(spec for spec in features_of(entity) if (spec.over_us or 0) <= LATENESS)
    features = tuple(FeatureDefinition(spec.name, spec) for spec in specs)
    interval = minutes * MINUTE
    return ViewDefinition("v", entity, SELECTED, features, retention_us=LATENESS + interval + 1, interval_us=interval)


@st.composite
def _with_gaps(draw: st.DrawFn, view: ViewDefinition) -> list[Admitted]:
    """Events with gaps of about the retention from the greatest event time to the next admission."""
    log: list[Admitted] = []
    k = T0
    for number in range(draw(st.integers(1, 8))):
        edge = max((a.e for a in log), default=k) + view.retention_us + draw(jitter())
        k = max(k + 1, draw(st.sampled_from((k + 1, k + MINUTE, edge, edge - view.interval_us))))
        e = k - draw(st.sampled_from((0, 1, HOUR, LATENESS)))
        said = Event(f"m{number}", "purchase", "k1-ada", e, item="i-1", category="dairy", value=number, purposes=1)
        log.append(Admitted(said, e, k))
    return log


@pytest.mark.parametrize("entity", SNAPSHOT_ENTITIES)
@settings(NASTY, max_examples=100)
@given(data=st.data())
def test_the_shortest_retention_is_long_enough(data: st.DataObject, entity: str) -> None:
    """Longer than lateness and interval together is all that is asked: then no gap falls within an interval."""
    definition = data.draw(_shortest(entity), "view")
    plan = Plan([definition])
    (view,) = plan.views
    log = data.draw(_with_gaps(definition), "log")
    deltas = by_interval(plan, spread(log, data.draw(homes_of(log), "homes")))
    whole: State | None = None
    for place in sorted(deltas):
        whole = merged(view, whole, deltas[place])
        assert restarted(view, whole) == restarted(view, folded(view, [a for a in log if a.k < place[0]]))


def test_a_shorter_retention_would_not_do() -> None:
    """Control: a late event and the next one, an interval apart, with the retention between them, are told wrongly."""
    features = (FeatureDefinition("n", count("purchase")),)
    view = View(ViewDefinition("v", "all", ("purchase",), features, retention_us=LATENESS, interval_us=MINUTE))

    def bought(number: int, e: int, k: int) -> Admitted:
        return Admitted(Event(f"m{number}", "purchase", "k1-ada", e, purposes=PERSONALIZATION), e, k)

    log = [bought(1, T0 - LATENESS + 1, T0), bought(2, T0 + 1, T0 + 1)]
    together = folded(view, log)
    apart = merged(view, None, [Delta(a.k, states.fold(view, None, a)) for a in log])
    assert together is not None
    assert states.raw_at(view, together, T0 + MINUTE) == [1]
    assert states.raw_at(view, apart, T0 + MINUTE) == [2]


@NASTY
@given(data=st.data())
def test_deltas_are_stored_as_they_are(data: st.DataObject) -> None:
    """What is decoded encodes to the same bytes, names its interval and entity, and remembers its first admission."""
    plan = Plan([view_definition(entity) for entity in SNAPSHOT_ENTITIES])
    log = data.draw(logs(), "log")
    fields = closed(plan, log)
    found = decode_deltas(plan, fields)
    assert encode_deltas(plan, found) == fields
    for (end, field), delta in found.items():
        view = plan.lettered(field)
        key = (field.removeprefix(view.letter).decode(),)
        mine = [a.k for a in of_entity(view, log, key) if end - view.interval_us <= a.k < end]
        assert delta.first_k == min(mine)
    taken = {(a.k, view.name) for view in plan.views for a in log if states.belongs(view, a)}
    assert len({(end, plan.lettered(field).name) for end, field in found}) == len(
        {(k // plan.interval_us, name) for k, name in taken}
    )


@settings(NASTY, max_examples=60)
@given(data=st.data())
def test_rows_that_nothing_touched_are_still_right(data: st.DataObject) -> None:
    """Snapshot after snapshot, reading only what was touched or is due, every row is the oracle's at its instant."""
    plan = Plan([view_definition(entity) for entity in SNAPSHOT_ENTITIES])
    log = data.draw(logs(), "log")
    deltas = by_interval(plan, spread(log, data.draw(homes_of(log), "homes")))
    points = sorted({t for view in plan.views for t in data.draw(instants(view.definition, log, at_most=12))})
    wholes, rows = Wholes(plan), dict[bytes, bytes]()
    for before, s in itertools.pairwise([0, *sorted({t - t % plan.interval_us for t in points})]):
        touched = wholes.merge({place: some for place, some in deltas.items() if before < place[0] <= s})
        rows |= wholes.rows_at(s, sorted({*touched, *wholes.due(s)}))
        for view in plan.views:
            keys = entity_keys(view.definition)
            raw, seen_e = unpack_rows(view, [rows.get(view.letter + key[0].encode()) for key in keys])
            expected = [oracle.final_values(view.definition, log, key, s) for key in keys]
            assert finals(view, raw, seen_e, [s] * len(keys)) == expected, (view.name, s)
