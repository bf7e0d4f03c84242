"""The name of an answer, which says where its entry is: 32 hexadecimal digits.

    3 of the partition | 13 of as_of (µs, until the year 2112) | 16 at random

An entry is appended at or after its as_of, so whoever reads its partition from there on finds it.
"""

import re
from os import urandom
from typing import NamedTuple

from behavior.errors import BadInput

_FORM = re.compile(r"[0-9a-f]{32}")
_PARTITION, _INSTANT = 3, 16


class Located(NamedTuple):
    """What a request id says: the partition of its entry, and the instant (µs UTC) that the answer was for."""

    partition: int
    as_of: int


def request_id_of(partition: int, as_of: int) -> str:
    """A new name for the answer to a user of the partition at as_of."""
    return f"{partition:03x}{as_of:013x}{urandom(8).hex()}"


def located(request_id: str, partitions: int) -> Located:
    """Where to look for an answer.

    Raises BadInput if it is no request id, or not one of a deployment with so many partitions.

    >>> located("03f" + f"{1_508_040_000_000_000:013x}" + 16 * "0", 64)
    Located(partition=63, as_of=1508040000000000)
    """
    if _FORM.fullmatch(request_id) is None:
        raise BadInput("a request id has 32 hexadecimal digits in lower case; give the one that Score answered")
    found = Located(int(request_id[:_PARTITION], 16), int(request_id[_PARTITION:_INSTANT], 16))
    if found.partition >= partitions:
        raise BadInput(
            f"this request id is of partition {found.partition}, and the deployment has {partitions}; "
            "ask the deployment that answered it"
        )
    return found
