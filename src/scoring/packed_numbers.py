"""Numbers as bytes: little-endian float64, in Redis's hash and in the deltas that scorers follow."""

from collections.abc import Mapping
from functools import cache
from struct import Struct

import msgspec

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, bytes | None])


def packed(values: tuple[float, ...]) -> bytes:
    """The bytes of some float64.

    >>> unpacked(packed((0.1, float("-inf"))))
    (0.1, -inf)
    """
    return _struct(len(values)).pack(*values)


def unpacked(data: bytes) -> tuple[float, ...]:
    """What `packed` packed."""
    return _struct(len(data) // 8).unpack(data)


def encode_delta(changed: Mapping[str, bytes | None]) -> bytes:
    """A delta's bytes: packed numbers by key, None for what was forgotten."""
    return _encoder.encode(changed)


def decode_delta(data: bytes) -> dict[str, tuple[float, ...] | None]:
    """What has changed, by key."""
    return {key: None if values is None else unpacked(values) for key, values in _decoder.decode(data).items()}


@cache
def _struct(n: int) -> Struct:
    return Struct(f"<{n}d")
