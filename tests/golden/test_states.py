"""Golden states: what older versions stored is read, what this one stores does not change by accident."""

import random

import msgspec
import numpy as np
import pytest

from behavior import state as states
from behavior.errors import OpportuneError
from behavior.plan import FeatureDefinition, View, ViewDefinition
from behavior.readout import readout
from tests.golden import format_1
from tests.golden.log import LOG
from tests.golden.states import FORMAT_1, FORMAT_2, Stored
from tests.properties.answers import folded, of_entity, plain

OLD = pytest.mark.parametrize("golden", FORMAT_1, ids=lambda golden: f"{golden.entity}-{len(golden.log)}")
NEW = pytest.mark.parametrize("golden", FORMAT_2.values(), ids=FORMAT_2)


def view_of(golden: Stored) -> View:
    """The view that the state belongs to."""
    features = tuple(FeatureDefinition(spec.name, spec) for spec in golden.features)
    return View(ViewDefinition("v", golden.entity, ("item_view", "purchase", "refund"), features))


def said_by_many(view: View, golden: Stored) -> list[object]:
    """The raw values, read out among others."""
    found = readout(view, [golden.data] * 5, np.full(5, golden.at))
    return [plain(column, 2) for column in found.raw.values()]


@OLD
def test_states_of_format_1_say_what_they_said(golden: Stored) -> None:
    """Every value, of every slot kind and entity that there was, is what the version that wrote them answered."""
    view = view_of(golden)
    assert states.raw_at(view, states.decode(view, golden.data), golden.at) == golden.raw
    assert said_by_many(view, golden) == golden.raw


@OLD
def test_states_of_format_1_go_on(golden: Stored) -> None:
    """What comes is folded into them, and the values are those of a state that never was of format 1."""
    view = view_of(golden)
    later = [a for a in of_entity(view, LOG, golden.key) if a not in golden.log]
    gone_on = states.decode(view, states.encode(view, states.decode(view, golden.data)))
    for event in later:
        gone_on = states.fold(view, gone_on, event)
    fresh = folded(view, of_entity(view, LOG, golden.key))
    assert fresh
    for t in (LOG[-1].k + 1, golden.at + 10**12):
        assert states.raw_at(view, gone_on, t) == states.raw_at(view, fresh, t)


@OLD
def test_the_writer_of_format_1_in_these_tests_writes_format_1(golden: Stored) -> None:
    """The states that other tests mix in are those of then, byte for byte."""
    view = view_of(golden)
    state = folded(view, of_entity(view, golden.log, golden.key))
    assert state
    assert format_1.encode(view, state) == golden.data


@NEW
def test_states_are_stored_as_they_were(golden: Stored) -> None:
    """The bytes are a function of the set of events, whatever their order, and the same in every release."""
    view = view_of(golden)
    events = of_entity(view, golden.log, golden.key)
    for seed in range(10):
        state = folded(view, random.Random(seed).sample(events, len(events)))
        assert state
        assert states.encode(view, state).hex() == golden.data.hex()


@NEW
def test_stored_states_say_what_they_say(golden: Stored) -> None:
    """One by one and many at once; and they are stored again as the same bytes."""
    view = view_of(golden)
    state = states.decode(view, golden.data)
    assert states.raw_at(view, state, golden.at) == golden.raw
    assert said_by_many(view, golden) == golden.raw
    assert states.encode(view, state) == golden.data


def test_every_slot_kind_is_here() -> None:
    """A new slot kind needs a row."""
    kinds = {type(slot).__name__ for golden in FORMAT_2.values() for slot in view_of(golden).slots}
    assert kinds == {"Buckets", "Sum", "ExtremeTime", "ExtremeValue", "Distinct", "Recent"}
    assert {golden.entity for golden in FORMAT_2.values()} == {"user", "user_category", "item", "category", "all"}
    assert {golden.data[0] for golden in FORMAT_2.values()} == {0x02, 0x22, 0x82, 0x92, 0xA2}


@NEW
def test_texts_are_behind_the_numbers(golden: Stored) -> None:
    """The length of the numbers leads to a MessagePack array; without texts there is neither."""
    if golden.data[0] & 0x80:
        assert golden.data[-1] < 0x80
        return
    end = 2 + golden.data[1] // 2  # zigzag: twice the length
    assert golden.data[1] < 0x80
    assert golden.data[end - 1] < 0x80
    assert msgspec.msgpack.decode(golden.data[end:], type=list[str])


@pytest.mark.parametrize("head", [0x00, 0x03, 0x0F, 0x11, 0x81, 0x32, 0x42, 0x72, 0xB2, 0xFF])
@pytest.mark.parametrize("number", [1, 5])
def test_states_of_another_version_are_refused(head: int, number: int) -> None:
    """A format, or a unit of time, that is not known is an error that names it, never a wrong value."""
    golden = FORMAT_2["one event in the newest hop"]
    view, data = view_of(golden), bytes([head]) + golden.data[1:]
    with pytest.raises(OpportuneError, match=f"view v: a state of format {head:#04x}"):
        states.decode(view, data)
    with pytest.raises(OpportuneError, match=f"view v: a state of format {head:#04x}"):
        readout(view, [golden.data] * (number - 1) + [data], np.full(number, golden.at))
