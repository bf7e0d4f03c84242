"""A certificate authority of the tests: real certificates, made when they are needed."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of one certificate."""

    certificate_file: Path
    key_file: Path


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str = "an authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.file = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._signed(self._name, self._key, authority=True)
        self.file.write_bytes(own.public_bytes(Encoding.PEM))

    def issue(self, common_name: str, *dns: str) -> Issued:
        """A certificate for these names; the files are replaced if they are there."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._signed(name, key, dns)
        issued = Issued(self.directory / f"{common_name}.pem", self.directory / f"{common_name}.key")
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for file, data in (
            (issued.key_file, secret),
            (issued.certificate_file, certificate.public_bytes(Encoding.PEM)),
        ):
            staging = file.with_suffix(".part")
            with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writing:
                writing.write(data)
            staging.replace(file)
        return issued

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, dns: tuple[str, ...] = (), *, authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        if dns:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in dns]), False)
        return builder.sign(self._key, hashes.SHA256())
