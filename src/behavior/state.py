"""What is stored per entity and view: integers from which every feature value from now on follows.

Fold an event in with `fold`, take two disjoint states together with `merge`, read the raw values at an instant with
`raw_at` (many states at once: `readout`). `encode` and `decode` are the bytes in Redis:

    u8 format | length of the numbers in bytes | numbers, zigzag LEB128 | texts, a MessagePack array

where the numbers are `seen_e` followed by what each slot of the view packs, in the view's order. The bytes are a
function of the set of events alone, not of their order.

format 1    every message id that decides between equal times is kept
format 2    a user's states keep none: within a partition, an event that is folded after a state was stored has a later
            admission instant than all in it, so no stored id is ever asked again. Snapshot views keep theirs, since
            events of two partitions can share both times. The high half of the byte says what times are counted in (0:
            µs, 1: ms, 2: s), where no time that the view stores is finer; its highest bit that there are no texts, and
            no length either. What most runs begin with is left out, and so are zeros at the end,
            as many as there are slots at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import msgspec
import numpy as np

from behavior.codec import decode_numbers, encode_numbers, put, take
from behavior.errors import OpportuneError
from behavior.event import MILLISECOND_US, PERSONALIZATION, SECOND_US, Admitted
from behavior.plan import View
from behavior.slot import Form

FORMAT = 2
_OLD = 1
_UNITS = (1, MILLISECOND_US, SECOND_US)
_NO_TEXTS = 0x80
# By whether the view is of a snapshot, and by the first byte.
_FORMS = {
    is_snapshot: {_OLD: Form(True, 1, True)}
    | {
        FORMAT | place << 4 | texts: Form(is_snapshot, unit)
        for place, unit in enumerate(_UNITS)
        for texts in (0, _NO_TEXTS)
    }
    for is_snapshot in (False, True)
}


@dataclass(slots=True)
class State:
    """One entity's state in one view: the latest event time and a value per slot."""

    seen_e: int
    values: list[Any]


def belongs(view: View, event: Admitted) -> bool:
    """Whether the view takes the event: one of its kinds, with consent, and with every key that the view needs."""
    said = event.event
    return (
        said.kind in view.selects
        and said.purposes & PERSONALIZATION != 0
        and (view.needs is None or getattr(said, view.needs) is not None)
    )


def fold(view: View, state: State | None, event: Admitted) -> State:
    """The state with one more event; afresh if the entity had gone missing before the event was admitted.

    The event must belong to the view. The given state is changed in place.
    """
    if state is None or event.k - state.seen_e >= view.retention_us:
        state = State(event.e, [slot.empty() for slot in view.slots])
    elif event.e > state.seen_e:
        state.seen_e = event.e
    values = state.values
    for update, place in view.updates(event.event.kind):
        update(values, place, event)
    return state


def merge(view: View, left: State, right: State) -> State:
    """The state of both sets of events, which must be disjoint; neither of the two is changed."""
    values = [
        slot.merge(left_value, right_value)
        for slot, left_value, right_value in zip(view.slots, left.values, right.values, strict=True)
    ]
    return State(max(left.seen_e, right.seen_e), values)


def raw_at(view: View, state: State, t: int) -> list[Any]:
    """The raw value of each column of the view at instant t, which must lie after every folded admission."""
    values = state.values
    return [raw.slot.read(values[raw.place], raw.asked, t) for raw in view.raws]


def encode(view: View, state: State) -> bytes:
    """The state's bytes; it is pruned, in place too, of what no window can reach any more."""
    return encode_all([(view, state)])[0]


def encode_all(states: Sequence[tuple[View, State]]) -> list[bytes]:
    """The bytes of many states, as `encode` makes them one by one."""
    numbers: list[int] = []
    first: list[int] = [0]
    rest: list[tuple[int, list[str]]] = []
    for view, state in states:
        texts: list[str] = []
        seen_e = state.seen_e
        head = FORMAT | _coarsest(view, state) << 4
        form = _FORMS[view.is_snapshot][head]
        numbers.append(seen_e // form.unit)
        for slot, value in zip(view.slots, state.values, strict=True):
            if value or type(value) is int:
                slot.pack(value, seen_e, numbers, texts, form)
            else:  # nothing, of whatever slot
                numbers.append(0)
        least = max(first[-1] + 1, len(numbers) - len(view.slots))
        while len(numbers) > least and numbers[-1] == 0:
            numbers.pop()
        first.append(len(numbers))
        rest.append((head, texts))
    data, borders = encode_numbers(numbers)
    cuts = borders[first].tolist()
    pieces = []
    for row, (head, texts) in enumerate(rest):
        start, end = cuts[row], cuts[row + 1]
        if texts:
            pieces.append(bytes([head]) + put(end - start) + data[start:end] + msgspec.msgpack.encode(texts))
        else:
            pieces.append(bytes([head | _NO_TEXTS]) + data[start:end])
    return pieces


def _coarsest(view: View, state: State) -> int:
    """Which of the units all times of the state are whole in."""
    if view.times is None or state.seen_e % MILLISECOND_US:
        return 0
    whole = gcd(state.seen_e, *(state.values[place] or 0 for place in view.times))
    return 2 if whole % SECOND_US == 0 else 1 if whole % MILLISECOND_US == 0 else 0


def decode(view: View, data: bytes) -> State:
    """The state that `encode` wrote for the same view, in this format or an older one.

    Raises OpportuneError if the format is unknown.
    """
    return decode_all([(view, data)])[0]


def decode_all(stored: Sequence[tuple[View, bytes]]) -> list[State]:
    """The states of many bytes, as `decode` makes them one by one."""
    parts = [split(view, data) for view, data in stored]
    numbers, starts = numbers_of(
        [packed for _, packed, _ in parts], max((len(view.slots) for view, _ in stored), default=0)
    )
    flat = numbers.tolist()
    states = []
    for (view, _), (form, _, packed), at in zip(stored, parts, starts.tolist(), strict=True):
        texts = iter(msgspec.msgpack.decode(packed, type=list[str]) if packed else ())
        seen_e = flat[at] * form.unit
        at += 1
        values = []
        for slot in view.slots:
            if flat[at]:
                value, at = slot.unpack(flat, at, seen_e, texts, form)
            else:
                value, at = slot.empty(), at + 1
            values.append(value)
        states.append(State(seen_e, values))
    return states


def split(view: View, data: bytes) -> tuple[Form, bytes, bytes]:
    """How the bytes are written, their numbers, and their texts.

    Raises OpportuneError if the format is unknown.
    """
    head = data[0]
    form = _FORMS[view.is_snapshot].get(head)
    if form is None:
        raise OpportuneError(f"view {view.name}: a state of format {head:#04x} was found, this version reads {FORMAT}")
    if head & _NO_TEXTS:
        return form, data[1:], b""
    length, start = take(data, 1)
    return form, data[start : start + length], data[start + length :]


def split_all(view: View, stored: Sequence[bytes]) -> tuple[np.ndarray, list[bytes], list[bytes]] | None:
    """What times are counted in (µs, int64[n]), the numbers and the texts of each; None if one is of an old format.

    Raises OpportuneError if a format is unknown.
    """
    forms = _FORMS[view.is_snapshot]
    heads = [data[0] for data in stored]
    if all(head & _NO_TEXTS and head in forms for head in set(heads)):
        unit = np.array([forms[head].unit for head in heads], dtype=np.int64)
        return unit, [data[1:] for data in stored], [b""] * len(stored)
    parts = [split(view, data) for data in stored]
    if any(form.is_old for form, _, _ in parts):
        return None
    unit = np.array([form.unit for form, _, _ in parts], dtype=np.int64)
    return unit, [packed for _, packed, _ in parts], [texts for _, _, texts in parts]


def numbers_of(packed: Sequence[bytes], slots: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of many states in one array, and where each state's begin; zeros that were left out are there."""
    zeros = bytes(slots)
    lengths = np.array([len(each) + slots for each in packed], dtype=np.int64)
    numbers, ends = decode_numbers(zeros.join(packed) + zeros)
    return numbers, np.searchsorted(ends, np.cumsum(lengths) - lengths)
