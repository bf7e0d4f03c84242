"""Which partition a user belongs to: the unit of order and atomicity of the log."""

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=1024)  # a request asks several times
def partition_of(user_id: str, partitions: int) -> int:
    """The partition of a pseudonym: a stable 64-bit hash modulo the number of partitions.

    Stable across processes, machines and Python versions, so that files and keys agree for ever.

    >>> partition_of("k1-00", 64) == partition_of("k1-00", 64)
    True
    """
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest(), "little") % partitions
