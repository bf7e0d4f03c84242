"""Who a user is behind admission: a keyed pseudonym, never the raw id.

HMAC-SHA256 (RFC 2104) over a name space and the raw id, cut to 128 bits, with the key's id in front: `k1-` and 32
hexadecimal digits. The key is read from a file; without it nothing starts.
"""

import hmac
import re
from functools import lru_cache
from pathlib import Path

from behavior.errors import BadInput
from deployment.key_file import read_key, write_key

_PSEUDONYM = re.compile(r"[a-z0-9]{1,8}-[0-9a-f]{32}")


class Pseudonyms:
    """Turns raw ids into pseudonyms with one secret key."""

    def __init__(self, key_id: str, key: bytes) -> None:
        if len(key) < 32:
            raise BadInput("the pseudonym key has fewer than 32 bytes; make one with `opportune key`")
        self.key_id = key_id
        self._key = key
        self._cached = lru_cache(maxsize=65_536)(self._pseudonym)

    @classmethod
    def load(cls, path: Path) -> "Pseudonyms":
        """Read the key file. Raises BadInput if it is missing, readable by others, or no key of 32 bytes or more."""
        return cls(*read_key(path, "pseudonym"))

    def user(self, raw_id: str) -> str:
        """The pseudonym of a user id."""
        return self._cached("user", raw_id)

    def anonymous(self, raw_id: str) -> str:
        """The pseudonym of an anonymous id (a cookie, a device); never equal to a user's."""
        return self._cached("anonymous", raw_id)

    def _pseudonym(self, space: str, raw_id: str) -> str:
        digest = hmac.digest(self._key, f"{space}\0{raw_id}".encode(), "sha256")
        return f"{self.key_id}-{digest[:16].hex()}"


def is_pseudonym(text: str) -> bool:
    """Whether the text has the form of a pseudonym."""
    return _PSEUDONYM.fullmatch(text) is not None


def make_key(path: Path, key_id: str = "k1") -> None:
    """Write a new random key that only its owner can read; an existing file is left alone with BadInput."""
    if re.fullmatch("[a-z0-9]{1,8}", key_id) is None:
        raise BadInput(f"{key_id!r} is no key id; it has 1 to 8 lower-case letters and digits")
    write_key(path, key_id, "a new key would orphan every pseudonym made with it")
