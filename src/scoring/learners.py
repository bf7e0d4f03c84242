"""What a learner is, and the numbers that are all there is of it: their keys and their hash.

A learner's state is plain floats by key. They are committed with the place in the log that they belong to, and a
learner that is made from them continues bit for bit. Knows no River: scorers read the same keys.
"""

import struct
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import ClassVar, Protocol

from scoring.example import Example

# All state there is: nothing else survives a restart.
Numbers = Mapping[str, tuple[float, ...]]

# The names of learners, the first part of their keys in a shard.
RATES = "rates"
CROSSES = "crosses"
# And of what stands beside them.
GUARD = "guard"
CAPS = "caps"
# The first part of the keys of the crosses' marks, by persona; no cross is called like that.
MARKS = "marks"
# The first part of the guard's keys of who rests after harm, by persona.
REST = "rest"

_SEPARATOR, _ESCAPE = "|", "%"


class Stateful(Protocol):
    """What has a state that is committed."""

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""


class Learner(Stateful, Protocol):
    """Learns from examples in the order of the log; each is one entry of `LEARNERS` in `shard`."""

    name: ClassVar[str]

    def learn(self, example: Example, weight: float) -> None:
        """Learn one example, which counts for `weight` of one, 0 to 1."""


def key_of(first: str, *others: str) -> str:
    """The key of one or more parts, whatever characters they hold: other parts, another key.

    >>> key_of("daypart", "evening", "loyal", "TEA")
    'daypart|evening|loyal|TEA'
    >>> key_of("a|b", "50%")
    'a%7Cb|50%25'
    """
    key = _SEPARATOR.join((first, *others))
    if _ESCAPE not in key and key.count(_SEPARATOR) == len(others):
        return key
    return _SEPARATOR.join([_escaped(part) for part in (first, *others)])


def parts_of(key: str) -> Sequence[str]:
    """The parts that `key_of` made the key of.

    >>> parts_of("a%7Cb|50%25")
    ['a|b', '50%']
    """
    parts = key.split(_SEPARATOR)
    return parts if _ESCAPE not in key else [part.replace("%7C", "|").replace("%25", "%") for part in parts]


def joined(*keys: str) -> str:
    """The key of all parts of these keys, one after the other.

    >>> joined(key_of("rates"), key_of("category", "loyal")) == key_of("rates", "category", "loyal")
    True
    """
    return _SEPARATOR.join(keys)


def apart(numbers: Numbers) -> dict[str, dict[str, tuple[float, ...]]]:
    """Numbers by the first part of their keys, and there by the key of the others.

    >>> apart({"rates|category|loyal": (1.0,)})
    {'rates': {'category|loyal': (1.0,)}}
    """
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for key, values in numbers.items():
        name, _, rest = key.partition(_SEPARATOR)
        found.setdefault(parts_of(name)[0], {})[rest] = values
    return found


def canonical_hash(numbers: Numbers) -> str:
    """The same for the same numbers, whatever order they come in: sha256 over sorted keys and little-endian float64.

    Each key stands with its length, in bytes of UTF-8, and its numbers with theirs, so that no two states are written
    alike.

    >>> canonical_hash({"a": (1.0,), "b": (0.5,)}) == canonical_hash({"b": (0.5,), "a": (1.0,)})
    True
    """
    digest = sha256()
    for key in sorted(numbers):
        name, values = key.encode(), numbers[key]
        digest.update(struct.pack("<QQ", len(name), len(values)) + name + struct.pack(f"<{len(values)}d", *values))
    return digest.hexdigest()


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("|", "%7C")
