"""Format 1 of states as it was described, written anew: `u8 1 | length | numbers | texts`, zigzag LEB128, MessagePack.

    slot                     numbers                                              texts
    sums per hop             how many, then per hop distance back and sum; a sum of 0 is left out
    sum                      the sum
    greatest event time      0 for never, else 1 + distance back
    latest value             0 for none, else 1 + distance back, k - e, number    message id, text

Nothing writes this format any more. Here it makes states for the tests that read it; that they are the bytes of then is
held against golden ones.
"""

from typing import Any

import msgspec

from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.plan import View
from behavior.state import State
from behavior.sums import Buckets, Sum


def encode(view: View, state: State) -> bytes:
    """The state's bytes in format 1; its slots must be of the four kinds that there were."""
    numbers, texts = [state.seen_e], list[str]()
    for slot, value in zip(view.slots, state.values, strict=True):
        numbers += _packed(slot, value, state.seen_e, texts)
    packed = b"".join(_leb128(number) for number in numbers)
    return b"\x01" + _leb128(len(packed)) + packed + (msgspec.msgpack.encode(texts) if texts else b"")


def _packed(slot: Any, value: Any, seen_e: int, texts: list[str]) -> list[int]:
    if isinstance(slot, Buckets):
        return _hops(slot, value, seen_e)
    if isinstance(slot, Sum):
        return [value]
    if isinstance(slot, ExtremeTime):
        return [0 if value is None else 1 + seen_e - value]
    assert isinstance(slot, ExtremeValue)
    if value is None:
        return [0]
    e, k, message_id, said = value
    texts.append(message_id)
    if slot.is_text:
        texts.append(said)
    return [1 + seen_e - e, k - e, *([] if slot.is_text else [said])]


def _hops(slot: Buckets, value: list[int], seen_e: int) -> list[int]:
    """A flat list, newest first: `[hop, sum, hops back to the next, its sum, ...]`."""
    newest = seen_e // slot.hop_us
    hop, found = newest, list[tuple[int, int]]()
    for place in range(0, len(value), 2):
        hop = value[0] if place == 0 else hop - value[place]
        if value[place + 1] != 0 and hop > newest - slot.keep_us // slot.hop_us:
            found.append((hop, value[place + 1]))
    packed, last = [len(found)], newest
    for hop, summed in found:
        packed += (last - hop, summed)
        last = hop
    return packed


def _leb128(number: int) -> bytes:
    rest = 2 * number if number >= 0 else -2 * number - 1
    groups = [rest >> 7 * place & 0x7F for place in range(max(1, -(-rest.bit_length() // 7)))]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
