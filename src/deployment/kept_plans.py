"""Plans that answers were made under, kept beside the journal: an entry names its plan by fingerprint.

    <archive>/plans/<fingerprint>.json

Redis holds the plans of living generations only, and the plan file of `apply` is the newest.
"""

import uuid
from pathlib import Path
from typing import Any

from behavior.errors import BadInput
from behavior.plan import Plan
from deployment.durable import flush
from deployment.generations import serving
from deployment.keys import Keys


class PlanKeeper:
    """Keeps the plan of the generation that serves, whenever there is a new one."""

    def __init__(self, client: Any, keys: Keys, archive: Path) -> None:
        self._client = client
        self._keys = keys
        self._archive = archive
        self._kept: int | None = None

    def keep(self) -> None:
        """Write the plan if it is not there; durable when this returns. Raises redis.RedisError."""
        generation = serving(self._client, self._keys)
        data = None if generation in (None, self._kept) else self._client.get(self._keys.plan(int(generation or 0)))
        if data is not None:
            keep_plan(self._archive, Plan.decode(data))
            self._kept = generation


def keep_plan(archive: Path, plan: Plan) -> Path:
    """Write a plan under its fingerprint, whole or not at all."""
    target = _place(archive, plan.fingerprint)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            staging.write_bytes(plan.encode())
            flush(staging)
            staging.rename(target)
        finally:
            staging.unlink(missing_ok=True)
        flush(target.parent)
    return target


def kept_plan(archive: Path, fingerprint: str) -> Plan | None:
    """The plan of a fingerprint, None if it is not there, or was made by another version."""
    try:
        plan = Plan.decode(_place(archive, fingerprint).read_bytes())
    except (FileNotFoundError, BadInput):
        return None
    return plan if plan.fingerprint == fingerprint else None


def _place(archive: Path, fingerprint: str) -> Path:
    return archive / "plans" / f"{fingerprint}.json"
