"""Many stored states at once: the same raw values as one by one, and the instants at which windows change.

Whatever is read here is read twice, compiled and in numpy, and must be the same; see `read`.
"""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from behavior import readout as readout_room
from behavior import state as states
from behavior.aggregation import Aggregation
from behavior.errors import OpportuneError
from behavior.event import Admitted
from behavior.plan import View, ViewDefinition
from behavior.ragged import NEVER
from behavior.readout import Readout, in_numpy, readout
from tests import oracle
from tests.golden import format_1
from tests.oracle import DAY, field_of, floor, hop_of, matching, span_of
from tests.properties.answers import finals, folded, of_entity, plain, stored
from tests.properties.strategies import ENTITIES, entity_keys, features_of, instants, logs, view_definition

NASTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# One state alone, fewer than are worth an array, as many as are, and what a request or a publisher asks.
SIZES = (1, 3, 4, 100)
# What format 1 could store.
OLD_KINDS = ("count", "total", "ever", "last", "age")

Asked = list[tuple[bytes | None, int]]


@st.composite
def asked(draw: st.DrawFn, view: View, log: list[Admitted], size: int, *, mixed: bool = False) -> Asked:
    """So many (stored state or None, instant after its last admission), of any entities; `mixed` with format 1."""
    when = [oracle.answers_at(view.definition, t) for t in draw(instants(view.definition, log, at_most=12))]
    chance = draw(st.randoms(use_true_random=False))
    rows: Asked = []
    known: dict[tuple[object, ...], bytes | None] = {}
    for _ in range(size):
        key, t = chance.choice(entity_keys(view.definition)), chance.choice(when)
        is_old = mixed and chance.random() < 0.5
        if (key, t, is_old) not in known:
            events = [a for a in of_entity(view, log, key) if a.k < t]
            state = folded(view, events)
            known[key, t, is_old] = format_1.encode(view, state) if state and is_old else stored(view, events)
        rows.append((known[key, t, is_old], t))
    return rows


def read(view: View, rows: Asked) -> Readout:
    """The readout of the rows, which is the same in numpy."""
    stored_states, t = [data for data, _ in rows], np.array([t for _, t in rows], dtype=np.int64)
    found, expected = readout(view, stored_states, t), in_numpy(view, stored_states, t)
    assert found.matrix.tolist() == expected.matrix.tolist()
    assert found.leave.tolist() == expected.leave.tolist()
    assert set(found.texts) == set(expected.texts)
    for name, column in expected.texts.items():
        assert [plain(found.texts[name], row) for row in range(len(rows))] == [
            plain(column, row) for row in range(len(rows))
        ]
    return found


def assert_as_one_by_one(view: View, rows: Asked) -> None:
    """Every raw value is that of `raw_at` of the decoded state, of the same type; nothing where nothing is stored."""
    found = read(view, rows)
    assert list(found.raw) == [raw.name for raw in view.raws]
    for row, (data, t) in enumerate(rows):
        state = None if data is None else states.decode(view, data)
        expected = [None] * len(view.raws) if state is None else states.raw_at(view, state, t)
        assert [plain(column, row) for column in found.raw.values()] == expected, (row, t)
        assert plain(found.seen_e, row) == (None if state is None else state.seen_e)
    assert all(len(column) == len(rows) for column in (*found.raw.values(), found.seen_e))
    dtypes = {raw.name: np.int64 if raw.dtype == "int64" else object for raw in view.raws}
    assert {name: column.values.dtype for name, column in found.raw.items()} == dtypes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("entity", ENTITIES)
@settings(NASTY, max_examples=20)
@given(data=st.data())
def test_a_readout_is_every_state_read_by_itself(data: st.DataObject, entity: str, size: int) -> None:
    """One state, a few or a hundred, each at an instant of its own, with unknown entities between them."""
    view = View(view_definition(entity))
    log = data.draw(logs(), "log")
    assert_as_one_by_one(view, data.draw(asked(view, log, size)))


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_a_readout_takes_every_slot_by_itself(data: st.DataObject, entity: str) -> None:
    """Any choice of features in any order: no slot relies on what stands before or behind it."""
    some = data.draw(st.lists(st.sampled_from(features_of(entity)), min_size=1, max_size=4, unique=True))
    view = View(view_definition(entity, tuple(some)))
    assert_as_one_by_one(view, data.draw(asked(view, data.draw(logs()), 8)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("entity", ENTITIES)
@settings(NASTY, max_examples=10)
@given(data=st.data())
def test_states_of_format_1_are_read_among_the_others(data: st.DataObject, entity: str, size: int) -> None:
    """A deployment that was not rebuilt holds both for a while; also when windows change is told of both."""
    specs = tuple(spec for spec in features_of(entity) if spec.kind in OLD_KINDS)
    view = View(view_definition(entity, specs))
    log = data.draw(logs(), "log")
    rows = data.draw(asked(view, log, size, mixed=True))
    assert_as_one_by_one(view, rows)
    assert_told_when_windows_change(view, rows)


def test_no_state_at_all() -> None:
    """Nothing asked gives nothing, and unknown entities alone give rows without values."""
    view = View(view_definition("user"))
    for size in (0, 1, 5):
        found = read(view, [(None, 0)] * size)
        assert all(column.valid.tolist() == [False] * size for column in (*found.raw.values(), found.seen_e))
        assert found.leave.tolist() == [NEVER] * size


def assert_told_when_windows_change(view: View, rows: Asked) -> None:
    """Raw values stay as they are from t to just before `leave`."""
    for (data, t), leave in zip(rows, read(view, rows).leave.tolist(), strict=True):
        assert leave > t
        if data is None:
            assert leave == NEVER
        else:
            until = min(leave - 1, t + 400 * DAY)
            state = states.decode(view, data)
            assert states.raw_at(view, state, until) == states.raw_at(view, state, t)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("entity", ENTITIES)
@settings(NASTY, max_examples=10)
@given(data=st.data())
def test_nothing_but_ages_changes_until_something_leaves(data: st.DataObject, entity: str, size: int) -> None:
    """Stored and in truth: without another event every value is at `leave` - 1 us what it was at t."""
    timeless = tuple(spec for spec in features_of(entity) if spec.kind != "age")
    definition = view_definition(entity, timeless)
    view = View(definition)
    log = data.draw(logs(), "log")
    rows = data.draw(asked(view, log, size))
    assert_told_when_windows_change(view, rows)
    found = read(view, rows)
    for row, (values, leave) in enumerate(zip(finals_of(view, found, rows), found.leave.tolist(), strict=True)):
        data, t = rows[row]
        goes_missing = (plain(found.seen_e, row) or 0) + definition.retention_us
        until = min(leave, max(t + 1, goes_missing)) - 1
        later = read(view, [(data, oracle.answers_at(definition, until))])
        assert finals(view, later.raw, later.seen_e, [until]) == [values], row


def finals_of(view: View, found: Readout, rows: Asked) -> list[dict[str, object]]:
    return finals(view, found.raw, found.seen_e, [t for _, t in rows])


@pytest.mark.parametrize("entity", ENTITIES)
@settings(NASTY, max_examples=60)
@given(data=st.data())
def test_windows_change_exactly_when_the_next_event_leaves(data: st.DataObject, entity: str) -> None:
    """`leave` is the first instant after t at which an event leaves a window of a feature that counts it."""
    definition = view_definition(entity)
    view = View(definition)
    log = data.draw(logs(), "log")
    when = data.draw(instants(definition, log, at_most=12), "instants")
    asked_at = [(key, oracle.answers_at(definition, t)) for key in entity_keys(definition) for t in when]
    histories = [[a for a in of_entity(view, log, key) if a.k < t] for key, t in asked_at]
    rows = [(stored(view, events), t) for events, (_, t) in zip(histories, asked_at, strict=True)]
    expected = [next_exit(definition, events, t) for events, (_, t) in zip(histories, asked_at, strict=True)]
    assert read(view, rows).leave.tolist() == expected


def next_exit(definition: ViewDefinition, known: list[Admitted], t: int) -> int:
    """The first exit after t that the view must notice; NEVER if there is none."""
    events = oracle.since_it_began_afresh(definition, known) if known else []
    later = [exit for each in definition.features for exit in exits(each.aggregation, events) if exit > t]
    return min(later, default=NEVER)


def exits(spec: Aggregation, events: list[Admitted]) -> list[int]:
    """When the events of a windowed feature leave; of distinct texts the last of each, and only as many as are told."""
    if spec.over is None:
        return []
    window = span_of(spec.over)
    left = {id(a): floor(a.e, hop_of(window)) + window for a in events}
    chosen = matching(spec.event, spec.where, events)
    if spec.kind == "affinity":
        terms = [term.partition(" where ") for term, _ in spec.weights]
        chosen = [a for kind, _, where in terms for a in matching(kind, where or None, events)]
    elif spec.kind == "rate":
        chosen += matching(spec.per or "", None, events)
    elif spec.kind in ("total", "mean"):
        chosen = [a for a in chosen if isinstance(field_of(spec, a), int)]
    elif spec.kind == "distinct":
        return _last_exits(spec, chosen, left)
    return [left[id(a)] for a in chosen]


def _last_exits(spec: Aggregation, chosen: list[Admitted], left: dict[int, int]) -> list[int]:
    by_text: dict[str, int] = {}
    for a in chosen:
        text = field_of(spec, a)
        if isinstance(text, str):
            by_text[text] = max(left[id(a)], by_text.get(text, 0))
    return sorted(by_text.values(), reverse=True)[: spec.cap]


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.skipif(readout_room.read_states is None, reason="nothing is compiled here")
@settings(NASTY, max_examples=100)
@given(data=st.data())
def test_damaged_states_are_refused(data: st.DataObject, entity: str) -> None:
    """Cut off, or with other bytes: an error of ours, or the values of some state; never a crash."""
    view = View(view_definition(entity))
    rows = data.draw(asked(view, data.draw(logs(), "log"), 3))
    some = [damaged(data.draw, stored_state) for stored_state, _ in rows]
    assume(all(each is None or each[:1] != b"\x01" for each in some))  # format 1 is read in numpy
    with suppress(OpportuneError):
        found = readout(view, some, np.array([t for _, t in rows], dtype=np.int64))
        assert all(len(column) == len(rows) for column in (*found.raw.values(), found.seen_e))


def damaged(draw: st.DrawFn, data: bytes | None) -> bytes | None:
    """The bytes with a piece of them replaced, or all of them."""
    if data is None:
        return None
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    numbers = st.lists(st.sampled_from((0, 1, 2, 3, 0x7F, 0x80, 0xFF)), max_size=12).map(bytes)
    return data[:start] + draw(numbers | st.binary(max_size=12)) + data[end:]
