"""Packed rows of the snapshot: what is packed comes back, a hundred at once, with unknown entities between them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.column import Column
from behavior.plan import View
from behavior.readout import readout
from behavior.snapshot_rows import pack_rows, unpack_rows
from behavior.words import count, last
from tests import oracle
from tests.oracle import SNAPSHOT_ENTITIES
from tests.properties.answers import finals, of_entity, plain, stored
from tests.properties.strategies import entity_keys, instants, logs, view_definition

NASTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)


@pytest.mark.parametrize("entity", SNAPSHOT_ENTITIES)
@NASTY
@given(data=st.data())
def test_packed_rows_say_what_the_states_said(data: st.DataObject, entity: str) -> None:
    """Through the rows every value at s is the oracle's, in whatever order and number they are asked for."""
    definition = view_definition(entity)
    view = View(definition)
    log = data.draw(logs(), "log")
    s = oracle.answers_at(definition, data.draw(st.sampled_from(data.draw(instants(definition, log)))))
    events = {key: [a for a in of_entity(view, log, key) if a.k < s] for key in entity_keys(definition)}
    known = {key: state for key, mine in events.items() if (state := stored(view, mine)) is not None}
    found = readout(view, list(known.values()), np.full(len(known), s))
    rows = dict(zip(known, pack_rows(view, found.raw, found.seen_e), strict=True))
    keys = data.draw(st.lists(st.sampled_from(entity_keys(definition)), max_size=8))
    raw, seen_e = unpack_rows(view, [rows.get(key) for key in keys])
    expected = [oracle.final_values(definition, log, key, s) for key in keys]
    assert finals(view, raw, seen_e, [s] * len(keys)) == expected


@given(st.lists(st.tuples(INT64 | st.none(), INT64 | st.none(), st.none() | st.text(max_size=5)), max_size=8))
def test_any_values_come_back(said: list[tuple[int | None, int | None, str | None]]) -> None:
    """Both ends of int64 but for the number that stands for nothing, empty texts, and nothing at all."""
    view = View(view_definition("category", (count("purchase"), last("purchase.category"))))
    seen_e = Column.of([each[0] for each in said], "int64")
    raw = {
        "purchase_count": Column.of([each[1] for each in said], "int64"),
        "purchase_category_last": Column.of([each[2] for each in said], "string"),
    }
    packed: list[bytes | None] = [*pack_rows(view, raw, seen_e)]
    columns, seen = unpack_rows(view, [*packed, None])
    found = [tuple(plain(each, row) for each in (seen, *columns.values())) for row in range(len(said) + 1)]
    assert found == [*said, (None, None, None)]
    assert list(columns) == [each.name for each in view.raws]


def test_rows_do_not_depend_on_what_is_absent() -> None:
    """The arbitrary value behind an absence is no part of the bytes, so equal rows are equal bytes."""
    view = View(view_definition("all", (count("purchase"), last("*.device"))))
    packed = {
        bytes(pack_rows(view, {"purchase_count": number, "any_device_last": text}, number)[0])
        for number, text in (
            (Column(np.array([number]), np.array([False])), Column(np.array([text], dtype=object), np.array([False])))
            for number, text in ((0, "a"), (7, None), (-(2**63), "b"))
        )
    }
    assert len(packed) == 1


@pytest.mark.parametrize("entity", SNAPSHOT_ENTITIES)
def test_rows_of_a_view_are_equally_long_but_for_their_texts(entity: str) -> None:
    """So many of them are one array, read without a loop."""
    view = View(view_definition(entity, (count("purchase"), count("*", over="7d"))))
    raw = {each.name: Column.of([1, None, 2**62], "int64") for each in view.raws}
    rows = pack_rows(view, raw, Column.of([5, 6, 7], "int64"))
    assert {len(row) for row in rows} == {8 * 3}
