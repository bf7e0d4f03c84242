"""What a client shows to a server, and by what it trusts it: the other side of `tls.py` and `access.py`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from behavior.errors import BadInput
from deployment.access_settings import is_loopback
from deployment.settings import Settings
from scoring.pem import name_in, read_certificates, read_pair, read_secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files, read when a channel is made; without any, calls go in the clear and show nothing.

    ca_file            authorities of the server's certificate, or that certificate itself; TLS iff it is given
    server_name        the name that the certificate must bear, where it is not the host of the address
    certificate_file   the client's own certificate, with
    key_file           its key
    token_file         the client's token
    insecure           let the token go in the clear beyond this machine
    """

    ca_file: Path | None = None
    server_name: str | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None
    insecure: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Credentials":
        """What `score` and `track` use. Raises BadInput."""
        own = cls.of_probe(settings)
        ca_file, name = settings.client_ca_file, settings.client_server_name
        if ca_file is None:
            ca_file, name = own.ca_file, name or own.server_name
        token_file, insecure = settings.client_token_file, settings.insecure
        return cls(ca_file, name, own.certificate_file, own.key_file, token_file, insecure)

    @classmethod
    def of_probe(cls, settings: Settings) -> "Credentials":
        """What a health check beside the server uses: it trusts the very certificate that the server shows.

        Raises BadInput if the server asks for a certificate and the check has none.
        """
        served = settings.tls_certificate_file
        if settings.tls_client_ca_file is not None and settings.client_certificate_file is None:
            raise BadInput(
                "the server asks every caller for a certificate (tls_client_ca_file), its health check too: "
                "set client_certificate_file and client_key_file"
            )
        name = None if served is None else name_in(read_certificates(served))
        return cls(served, name, settings.client_certificate_file, settings.client_key_file)

    def channel(self, address: str, options: Iterable[tuple[str, Any]], api: Any = grpc) -> Any:
        """A channel to the address, made by `api`: `grpc`, or `grpc.aio`. Raises BadInput for files that are wrong."""
        if self.ca_file is None:
            return api.insecure_channel(address, options=list(options))
        pair: tuple[bytes, bytes] | tuple[None, None] = (None, None)
        if self.certificate_file is not None and self.key_file is not None:
            read = read_pair(self.certificate_file, self.key_file)
            pair = (read.key, read.certificate)
        named = () if self.server_name is None else (("grpc.ssl_target_name_override", self.server_name),)
        shown = grpc.ssl_channel_credentials(read_certificates(self.ca_file), *pair)
        return api.secure_channel(address, shown, options=[*options, *named])

    def metadata(self, *addresses: str) -> tuple[tuple[str, str], ...]:
        """What every call to the addresses carries.

        Raises BadInput for a token that others can read, or that would cross a network in the clear.
        """
        if self.token_file is None:
            return ()
        exposed = [each for each in addresses if not is_loopback(_host(each))]
        if self.ca_file is None and not self.insecure and exposed:
            raise BadInput(
                f"the token would go to {exposed[0]} in the clear; set client_ca_file (then it goes by TLS), "
                "or insecure = true where the network is closed"
            )
        token = read_secret(self.token_file).decode(errors="replace").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise BadInput(f"{self.token_file} holds no token: one line of printable ASCII")
        return (("authorization", f"Bearer {token}"),)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
