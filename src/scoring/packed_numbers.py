"""Numbers as bytes: little-endian float64, in Redis's hash and in the deltas that scorers follow."""

import struct
from collections.abc import Mapping

import msgspec

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, bytes | None])


def packed(values: tuple[float, ...]) -> bytes:
    """The bytes of some float64.

    >>> unpacked(packed((0.1, float("-inf"))))
    (0.1, -inf)
    """
    return struct.pack(f"<{len(values)}d", *values)


def unpacked(data: bytes) -> tuple[float, ...]:
    """What `packed` packed."""
    return struct.unpack(f"<{len(data) // 8}d", data)


def encode_delta(changed: Mapping[str, bytes | None]) -> bytes:
    """A delta's bytes: packed numbers by key, None for what was forgotten."""
    return _encoder.encode(changed)


def decode_delta(data: bytes) -> dict[str, tuple[float, ...] | None]:
    """What has changed, by key."""
    return {key: None if values is None else unpacked(values) for key, values in _decoder.decode(data).items()}
