"""The server's side of TLS: its certificate, what it asks of callers' certificates, and who may be let near it.

Certificates are looked at at every handshake: one that was renewed is in use at once, without a restart.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from behavior.errors import BadInput
from deployment.access_settings import is_loopback
from deployment.settings import Settings
from scoring.pem import read_certificates, read_pair
from scoring.watched import Watched

_log = logging.getLogger("opportune.tls")


def refuse_exposed(settings: Settings) -> None:
    """Raises BadInput if the server would listen beyond this machine in the clear, or to people whom it cannot know."""
    if is_loopback(settings.host) or settings.insecure:
        return
    lacking = []
    if settings.tls_certificate_file is None:
        lacking.append("TLS (set tls_certificate_file and tls_key_file)")
    if settings.access_file is None and settings.tls_client_ca_file is None:
        lacking.append("callers that it knows (set access_file or tls_client_ca_file)")
    if lacking:
        raise BadInput(
            f"the server would listen on {settings.host}, beyond this machine, without {' and '.join(lacking)}; "
            "or set insecure = true where the network is closed or a proxy does it"
        )


def server_credentials(settings: Settings, expires: Callable[[float], None] = lambda at: None) -> Any:
    """What the server shows and asks for, as gRPC takes it; None without TLS.

    `expires` is called with the instant (seconds since 1970) at which the certificate in use ends. Raises BadInput for
    files that are missing, do not belong together, or (a key) can be read by others.
    """
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    certificates = _Certificates(
        settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file, expires
    )
    asks = settings.tls_client_ca_file is not None
    return grpc.dynamic_ssl_server_credentials(
        certificates.read(), certificates.renewed, require_client_authentication=asks
    )


class _Certificates:
    def __init__(self, certificate: Path, key: Path, client_ca: Path | None, expires: Callable[[float], None]) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._expires = expires
        self._watched = Watched(*(path for path in (certificate, key, client_ca) if path is not None))
        self._watched.changed()

    def renewed(self) -> Any:
        """The new configuration if a file has changed and all is well with it, else None: the one before goes on."""
        if not self._watched.changed():
            return None
        try:
            made = self.read()
        except BadInput as error:
            _log.error("a new certificate is refused, the one before goes on: %s", error)
            return None
        _log.info("the certificate %s is taken over", self._certificate)
        return made

    def read(self) -> Any:
        pair = read_pair(self._certificate, self._key)
        roots = None if self._client_ca is None else read_certificates(self._client_ca)
        made = grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], root_certificates=roots)
        self._expires(pair.expires.timestamp())
        return made
