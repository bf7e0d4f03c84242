"""The settings of who may reach a server, and of what our own clients show to it: a part of `Settings`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, model_validator


class AccessSettings(BaseModel):
    """Certificates, tokens and callers; secrets themselves stand in files only."""

    insecure: bool = Field(
        False,
        description="Let the server listen beyond this machine without TLS or without knowing its callers: in a "
        "network that is closed, or behind a proxy that does both.",
    )
    reflection: bool = Field(True, description="Whether the server describes its methods to tools such as grpcurl.")
    access_file: Path | None = Field(
        None, description="Callers of the server and what each may do (docs/deployment.md). Without one all may all."
    )
    tls_certificate_file: Path | None = Field(
        None, description="The server's certificate and its chain, PEM. If set, the server speaks TLS only."
    )
    tls_key_file: Path | None = Field(
        None, description="Secret key of the server's certificate, PEM, readable by its owner only."
    )
    tls_client_ca_file: Path | None = Field(
        None, description="Authorities of callers' certificates, PEM. If set, who has none of theirs cannot connect."
    )
    client_ca_file: Path | None = Field(
        None,
        description="Authorities that `score` and `track` trust a server by, PEM. Unless set, the certificate of "
        "`tls_certificate_file` itself; without that, no TLS.",
    )
    client_server_name: str | None = Field(
        None, description="Name that the server's certificate must bear, where it is not the host that is called."
    )
    client_certificate_file: Path | None = Field(
        None, description="Certificate that our own clients and health checks show, PEM."
    )
    client_key_file: Path | None = Field(
        None, description="Secret key of the clients' certificate, PEM, readable by its owner only."
    )
    client_token_file: Path | None = Field(
        None, description="Token that `score` and `track` show, readable by its owner only."
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for name in ("tls", "client"):
            certificate, key = f"{name}_certificate_file", f"{name}_key_file"
            if (getattr(self, certificate) is None) != (getattr(self, key) is None):
                raise ValueError(f"{certificate} and {key} belong together; set both or neither")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file takes TLS: set tls_certificate_file and tls_key_file too")
        return self


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "scorer.internal")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
