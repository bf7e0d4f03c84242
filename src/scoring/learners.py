"""What all learners share: their state is numbers by key, and numbers have one hash."""

import hashlib
import struct
from collections.abc import Mapping

Numbers = Mapping[str, tuple[float, ...]]
Changed = Mapping[str, tuple[float, ...] | None]


def key_of(*parts: str) -> str:
    """One key of several parts, whatever characters they have.

    >>> key_of("rates", "a|b", "TEA")
    'rates|a~pb|TEA'
    """
    return "|".join(part.replace("~", "~~").replace("|", "~p") for part in parts)


def canonical_hash(numbers: Numbers) -> str:
    """SHA-256 over the keys in order and their numbers as little-endian float64."""
    digest = hashlib.sha256()
    for key in sorted(numbers):
        name, values = key.encode(), numbers[key]
        digest.update(struct.pack(f"<II{len(values)}d", len(name), len(values), *values) + name)
    return digest.hexdigest()
