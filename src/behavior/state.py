"""What is stored per entity and view: integers from which every feature value from now on follows.

Fold an event in with `fold`, take two disjoint states together with `merge`, read the raw values at an instant with
`raw_at`. `encode` and `decode` are the bytes in Redis, format 1:

    u8 format | varint length of the numbers | numbers, zigzag LEB128 | texts, a MessagePack array

where the numbers are `seen_e` followed by what each slot of the view packs, in the view's order. The bytes are a
function of the set of events alone, not of their order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from behavior.errors import OpportuneError
from behavior.event import PERSONALIZATION, Admitted
from behavior.plan import View

FORMAT = 1


@dataclass(slots=True)
class State:
    """One entity's state in one view: the latest event time and a value per slot."""

    seen_e: int
    values: list[Any]


def belongs(view: View, event: Admitted) -> bool:
    """Whether the view takes the event: one of its kinds, with consent, and with every key that the view needs."""
    return (
        event.event.kind in view.selects
        and event.event.purposes & PERSONALIZATION != 0
        and not ("category" in view.join_keys and event.event.category is None)
    )


def fold(view: View, state: State | None, event: Admitted) -> State:
    """The state with one more event; afresh if the entity had gone missing before the event was admitted.

    The event must belong to the view. The given state is changed in place.
    """
    if state is None or event.k - state.seen_e >= view.retention_us:
        state = State(event.e, [slot.empty() for slot in view.slots])
    elif event.e > state.seen_e:
        state.seen_e = event.e
    for index, slot in view.slots_of_kind(event.event.kind):
        slot.update(state.values, index, event)
    return state


def merge(view: View, left: State, right: State) -> State:
    """The state of both sets of events, which must be disjoint."""
    values = [
        slot.merge(left_value, right_value)
        for slot, left_value, right_value in zip(view.slots, left.values, right.values, strict=True)
    ]
    return State(max(left.seen_e, right.seen_e), values)


def raw_at(view: View, state: State, t: int) -> list[int | str | None]:
    """The raw value of each feature of the view at instant t, which must lie after every folded admission."""
    return [feature.read(state.values[index], t) for feature, index in view.feature_slots]


def encode(view: View, state: State) -> bytes:
    """The state's bytes; it is pruned, in place too, of what no window can reach any more."""
    texts: list[str] = []
    numbers = bytearray()
    _put(numbers, state.seen_e)
    for place, slot in enumerate(view.slots):
        kept: Any = slot.prune(state.values[place], state.seen_e)
        state.values[place] = kept
        for number in slot.pack(kept, state.seen_e, texts):
            _put(numbers, number)
    head = bytearray([FORMAT])
    _put(head, len(numbers))
    return bytes(head + numbers) + (msgspec.msgpack.encode(texts) if texts else b"")


def decode(view: View, data: bytes) -> State:
    """The state that `encode` wrote for the same view.

    Raises OpportuneError if the format is unknown.
    """
    if data[0] != FORMAT:
        raise OpportuneError(f"view {view.name}: a state of format {data[0]} was found, this version reads {FORMAT}")
    length, start = _take(data, 1)
    numbers = _numbers(data, start, start + length)
    texts = iter(msgspec.msgpack.decode(data[start + length :], type=list[str]) if len(data) > start + length else [])
    seen_e = next(numbers)
    return State(seen_e, [slot.unpack(numbers, seen_e, texts) for slot in view.slots])


def _put(buffer: bytearray, number: int) -> None:
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    while rest > 0x7F:
        buffer.append(rest & 0x7F | 0x80)
        rest >>= 7
    buffer.append(rest)


def _take(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position
        shift += 7


def _numbers(data: bytes, position: int, end: int) -> Iterator[int]:
    while position < end:
        number, position = _take(data, position)
        yield number
