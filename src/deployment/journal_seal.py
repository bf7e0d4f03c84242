"""The seal of served entries: whoever changes one without the key is found out.

BLAKE2b (RFC 7693) keyed with a key that is derived from the deployment's sealing key, over all bytes of the entry that
stand before the seal; the entry says which key it was. An entry stays readable by who has no key.
"""

from hashlib import blake2b
from hmac import compare_digest

from deployment.sealing import Sealing

_PURPOSE = b"journal 1"
SEAL_BYTES = 16
# What an entry ends with until it is sealed.
BLANK = bytes(SEAL_BYTES)


class JournalSeal:
    """Seals served entries and tells whether they are as they were sealed."""

    def __init__(self, sealing: Sealing) -> None:
        self.key_id = sealing.key_id
        # The key is a block of its own, before any other: taken in once.
        self._begun = blake2b(digest_size=SEAL_BYTES, key=sealing.derived(_PURPOSE))

    def sealed(self, data: bytes) -> bytes:
        """The entry's bytes in the log, of those of an entry that names this key and ends with BLANK."""
        unsealed = memoryview(data)[:-SEAL_BYTES]
        return b"".join((unsealed, self._seal(unsealed)))

    def is_intact(self, data: bytes) -> bool:
        """Whether not a bit of the entry has changed since it was sealed with this key."""
        return compare_digest(data[-SEAL_BYTES:], self._seal(data[:-SEAL_BYTES]))

    def _seal(self, data: bytes | memoryview) -> bytes:
        seal = self._begun.copy()
        seal.update(data)
        return seal.digest()
