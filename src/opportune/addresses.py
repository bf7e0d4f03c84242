"""Where a running `opportune up` listens, so that other commands in the same home find it.

`<run>/up.json` is there while it runs, readable by its owner only, and is written whole or not at all.
"""

import os
from pathlib import Path

import msgspec

from behavior.errors import BadInput
from deployment.settings import Settings


class Addresses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What listens where. Ports are on `host`, which is an address that a client can use."""

    host: str
    ports: dict[str, int]
    metrics_ports: dict[str, int]
    pids: dict[str, int]
    supervisor_pid: int
    redis_url: str | None = None  # None if it holds a password: then the settings must say it
    redis_cluster: bool = False


def address_file(run: Path) -> Path:
    """The file under the run directory."""
    return run / "up.json"


def write_addresses(run: Path, addresses: Addresses) -> None:
    """Publish the addresses in one step."""
    staging = run / "up.json.part"
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(addresses)))
    staging.replace(address_file(run))


def read_addresses(run: Path) -> Addresses | None:
    """The addresses of the `up` that runs now, or None if none does (a file left by a killed one does not count)."""
    try:
        addresses = msgspec.json.decode(address_file(run).read_bytes(), type=Addresses)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        raise BadInput(f"{address_file(run)} is not what `opportune up` writes; delete it") from None
    return addresses if _alive(addresses.supervisor_pid) else None


def attached(settings: Settings) -> Settings:
    """The settings, with Redis and the server of the running `up` where none were chosen; as they are if none runs."""
    addresses = read_addresses(settings.run)
    if addresses is None:
        return settings
    changes: dict[str, object] = {}
    if settings.redis_url is None and addresses.redis_url is not None:
        changes |= {"redis_url": addresses.redis_url, "redis_cluster": addresses.redis_cluster}
    if not settings.chosen("port") and "serve" in addresses.ports:
        changes |= {"host": addresses.host, "port": addresses.ports["serve"]}
    return settings.replaced(**changes)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
