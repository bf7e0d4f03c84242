"""What only the holder of a key can read: authenticated encryption for what must lie about for a while.

AES-256-GCM (NIST SP 800-38D). Every message gets a key of its own, HMAC-SHA256 of 24 random bytes under the secret, so
that however many there are no key ever meets two of them, and the nonce can stand still:

    <key id>:  24 random bytes  ciphertext  16 bytes of tag

What is stored beside a sealed message and must not be swapped, is given as `beside`: it is authenticated, not hidden.
"""

import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from behavior.errors import BadInput
from deployment.key_file import read_key, write_key

_SALT_BYTES = 24
# The key differs each time, so that the nonce need not.
_NONCE = bytes(12)
_CONTEXT = b"opportune sealing 1\0"


class Sealing:
    """Seals and opens with one secret key of 32 bytes."""

    def __init__(self, key_id: str, key: bytes) -> None:
        if len(key) != 32:
            raise BadInput("the sealing key does not have 32 bytes; make one with `opportune key`")
        self.key_id = key_id
        self._front = f"{key_id}:".encode()
        self._key = key

    @classmethod
    def load(cls, path: Path) -> "Sealing":
        """Read the key file. Raises BadInput if it is missing, readable by others, or no key of 32 bytes."""
        return cls(*read_key(path, "sealing"))

    def derived(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for another purpose, from which this one cannot be found out (HMAC-SHA256)."""
        return hmac.digest(self._key, b"opportune " + purpose + b"\0", "sha256")

    def seal(self, message: bytes, beside: bytes) -> bytes:
        """The message, readable only with the key; never the same bytes twice."""
        salt = os.urandom(_SALT_BYTES)
        return self._front + salt + self._cipher(salt).encrypt(_NONCE, message, beside)

    def open(self, sealed: bytes, beside: bytes) -> bytes:
        """The message that was sealed with the same `beside`.

        Raises BadInput if it was sealed with another key, or if a single bit of it or of `beside` has changed.
        """
        rest = sealed.removeprefix(self._front)
        if len(rest) == len(sealed):
            raise BadInput(f"this was not sealed with the key {self.key_id}; set the key file that it was sealed with")
        try:
            return self._cipher(rest[:_SALT_BYTES]).decrypt(_NONCE, rest[_SALT_BYTES:], beside)
        except (InvalidTag, ValueError):
            raise BadInput(f"this was sealed with another key {self.key_id}, or has been changed since") from None

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._key, _CONTEXT + salt, "sha256"))


def make_sealing_key(path: Path, key_id: str = "s1") -> None:
    """Write a new random key that only its owner can read; an existing file is left alone with BadInput."""
    write_key(path, key_id, "a new key could not open what was sealed with it")
