"""Whole numbers as bytes: zigzag LEB128, many at once.

A signed number n becomes the unsigned 2n or −2n − 1 (zigzag), written in groups of seven bits, the lowest first, the
eighth bit set on all but the last (LEB128, DWARF 5 section 7.6). Numbers must fit in int64.
"""

from collections.abc import Sequence

import numpy as np

_LIMITS = np.array([1 << 7 * size for size in range(1, 10)], dtype=np.uint64)
_ONE = np.uint64(1)


def encode_numbers(numbers: Sequence[int]) -> tuple[bytes, np.ndarray]:
    """The bytes of all numbers, and where each begins and the last one ends: int64[len + 1].

    >>> encode_numbers([0, -1, 300])[0].hex()
    '0001d804'
    """
    signed = np.fromiter(numbers, dtype=np.int64, count=len(numbers))
    rest = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    sizes = np.searchsorted(_LIMITS, rest, side="right") + 1
    borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    nth = np.arange(borders[-1]) - np.repeat(borders[:-1], sizes)
    out = ((np.repeat(rest, sizes) >> (7 * nth).astype(np.uint64)) & np.uint64(0x7F)).astype(np.uint8)
    out |= np.uint8(0x80)
    out[borders[1:] - 1] &= np.uint8(0x7F)
    return out.tobytes(), borders


def decode_numbers(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The numbers, int64[m], and the place of each one's last byte.

    >>> decode_numbers(bytes.fromhex("0001d804"))[0].tolist()
    [0, -1, 300]
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    starts = np.empty_like(ends)
    if not len(ends):
        return np.zeros(0, np.int64), ends
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    nth = np.arange(len(raw)) - np.repeat(starts, ends - starts + 1)
    groups = (raw & 0x7F).astype(np.uint64) << (7 * nth).astype(np.uint64)
    zigzag = np.add.reduceat(groups, starts)
    return (zigzag >> _ONE).view(np.int64) ^ -(zigzag & _ONE).view(np.int64), ends


def put(number: int) -> bytes:
    """One number's bytes."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def take(data: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and the position behind it."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position
        shift += 7
