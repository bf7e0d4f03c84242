"""Certificates and their keys as files, checked before gRPC sees them: gRPC would only say that a handshake failed."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from behavior.errors import BadInput


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its secret key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    expires: datetime


def read_pair(certificate: Path, key: Path) -> Pair:
    """A certificate and its key. Raises BadInput if one is missing or damaged, or they do not match."""
    chain, secret = read_certificates(certificate), read_secret(key)
    try:
        public = load_pem_private_key(secret, None).public_key()
    except (ValueError, TypeError):  # damaged, or it has a passphrase
        raise BadInput(f"{key} is no PEM key without a passphrase") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    leaf = x509.load_pem_x509_certificate(chain)
    if public.public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise BadInput(f"{key} is not the key of the certificate {certificate}; they must be renewed together")
    return Pair(chain, secret, leaf.not_valid_after_utc)


def read_certificates(path: Path) -> bytes:
    """The bytes of a file of certificates. Raises BadInput if there is none in it."""
    data = _read(path)
    try:
        x509.load_pem_x509_certificates(data)
    except ValueError:
        raise BadInput(f"{path} holds no PEM certificate") from None
    return data


def name_in(certificate: bytes) -> str | None:
    """The first DNS name of a PEM certificate, else its common name, else None."""
    leaf = x509.load_pem_x509_certificate(certificate)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return found[0] if found else None


def read_secret(path: Path) -> bytes:
    """The bytes of a secret file. Raises BadInput if it is missing or others can read it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise BadInput(f"the secret {path} can be read by others; run `chmod 600` on it")
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
