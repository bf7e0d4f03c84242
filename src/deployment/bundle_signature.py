"""Who made a bundle: an Ed25519 signature (RFC 8032) of its manifest, which holds the hash of every other byte.

The secret key is a file that only its owner can read; public keys stand in a file of their own, one a line.
"""

from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from behavior.errors import BadInput, BundleRefused
from behavior.manifest import SIGNATURE_FILE
from deployment.key_file import read_key, write_key

# What is signed begins with this, so that a signature made for something else is none here.
_CONTEXT = b"opportune bundle 2\0"
_PUBLIC_BYTES = 32


def make_signing_key(secret: Path, public: Path, key_id: str = "b1") -> None:
    """Write a new secret key that only its owner can read, and add its public key to the other file.

    Raises BadInput if there is a secret key already.
    """
    write_key(secret, key_id, "bundles are signed with it")
    key = _secret(secret).public_key().public_bytes_raw().hex()
    public.parent.mkdir(parents=True, exist_ok=True)
    with public.open("a", encoding="ascii") as file:
        file.write(f"{key_id}:{key}\n")


def sign(manifest: bytes, secret: Path) -> bytes:
    """The signature, 64 bytes, of a manifest file. Raises BadInput if the secret key cannot be read."""
    return _secret(secret).sign(_CONTEXT + manifest)


def public_keys(file: Path) -> tuple[bytes, ...]:
    """The public keys of a file: lines `<key id>:<64 hexadecimal digits>`. Raises BadInput if it holds none."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="ascii").splitlines() if line.strip()]
        keys = tuple(bytes.fromhex(line.partition(":")[2]) for line in lines)
    except (OSError, ValueError) as error:
        raise BadInput(f"the public keys {file} cannot be read ({type(error).__name__})") from None
    if not keys or any(len(key) != _PUBLIC_BYTES for key in keys):
        raise BadInput(f"{file} holds no public keys; make a pair with `opportune bundles key`")
    return keys


def check_signature(where: str, manifest: bytes, signature: bytes | None, keys: Sequence[bytes]) -> None:
    """Raise BundleRefused unless one of the keys has signed the manifest."""
    if signature is None:
        raise BundleRefused(f"{where} is not signed ({SIGNATURE_FILE} is missing), and this process asks for it")
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, _CONTEXT + manifest)
        except InvalidSignature:
            continue
        return
    raise BundleRefused(f"{where}: {SIGNATURE_FILE} is by none of the keys that are trusted here, or was changed")


def _secret(path: Path) -> Ed25519PrivateKey:
    key = read_key(path, "signing")[1]
    if len(key) != _PUBLIC_BYTES:
        raise BadInput(
            f"the signing key {path} does not have {_PUBLIC_BYTES} bytes; make one with `opportune bundles key`"
        )
    return Ed25519PrivateKey.from_private_bytes(key)
