"""What a scorer holds in memory: the current bundle, the newest snapshot, the learner's residuals.

A poll replaces each whole when it changes; a request takes all of them once, at its start, so that no answer is mixed.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior.errors import BadInput, OpportuneError
from behavior.plan import Plan
from deployment import snapshot as snapshots
from deployment.keys import Keys
from deployment.snapshot import Snapshot
from scoring import learner
from scoring.candidates import popular
from scoring.learner import Residuals
from scoring.model import Bundle, current_id, load_bundle

if TYPE_CHECKING:
    import redis.asyncio

_log = logging.getLogger("opportune.memory")
REFUSED_FOR_S = 30.0


class NotReady(OpportuneError):
    """There is nothing to score with yet; the message says what to run."""


@dataclass(frozen=True, slots=True)
class Held:
    """Everything that one answer is made with; `popular` is empty if nothing says what is."""

    bundle: Bundle
    snapshot: Snapshot
    residuals: Residuals
    popular: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Parts:
    bundle: Bundle | None = None
    snapshot: Snapshot | None = None
    residuals: Residuals = field(default_factory=Residuals)
    popular: tuple[str, ...] = ()


class Memory:
    """Keeps what is held up to date.

    load      how a bundle is loaded
    refused   called with the id of each bundle that could not be taken
    """

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        keys: Keys,
        plan: Plan,
        bundles: Path,
        residual_bound: float,
        load: Callable[[Path, Plan], Bundle] = load_bundle,
        refused: Callable[[str], None] = lambda bundle_id: None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._plan = plan
        self._bundles = bundles
        self._bound = residual_bound
        self._load = load
        self._refused = refused
        self._refused_id: str | None = None
        self._refused_until = 0.0
        self._parts = _Parts()
        self._weights: bytes | None = None

    def held(self) -> Held:
        """What an answer is made with now.

        Raises NotReady if there is no bundle or no snapshot yet.
        """
        parts = self._parts
        if parts.bundle is None:
            raise NotReady(f"there is no model in {self._bundles} yet; run `opportune train`, the server picks it up")
        if parts.snapshot is None:
            raise NotReady("there is no snapshot yet; run `opportune fold` (or `opportune rebuild`)")
        return Held(parts.bundle, parts.snapshot, parts.residuals, parts.popular)

    async def refresh(self) -> None:
        """Take over what has changed since the last time.

        A bundle that is refused leaves the one before in place. Raises redis.RedisError if Redis does not answer.
        """
        await self._refresh_bundle()
        await self._refresh_snapshot()
        await self._refresh_residuals()

    async def _refresh_bundle(self) -> None:
        serving = self._parts.bundle
        try:
            wanted = current_id(self._bundles)
        except BadInput as error:
            _log.error("%s", error)
            return
        if wanted is None or (serving is not None and wanted == serving.bundle_id):
            return
        if wanted == self._refused_id and time.monotonic() < self._refused_until:
            return
        try:
            # Hashing and loading take a while; requests go on meanwhile.
            bundle = await asyncio.to_thread(self._load, self._bundles / wanted, self._plan)
        except Exception as error:  # whatever it is, the snapshot and the weights must go on being refreshed
            # Remembered, so that a bad bundle is not reported at every poll; tried again, since it may be restored.
            self._refused_id, self._refused_until = wanted, time.monotonic() + REFUSED_FOR_S
            self._refused(wanted)
            keeps = "none" if serving is None else serving.bundle_id
            _log.error("bundle %s is refused, %s keeps serving: %s", wanted, keeps, error)
            return
        self._refused_id = None
        self._parts = replace(self._parts, bundle=bundle)
        _log.info("bundle %s (%s) serves", bundle.bundle_id, bundle.target)

    async def _refresh_snapshot(self) -> None:
        serving = self._parts.snapshot
        version = await _answer(self._client.get(self._keys.snapshot_version()))
        if version is None or (serving is not None and int(version) == serving.s):
            return
        data = await _answer(self._client.get(self._keys.snapshot()))
        if data is not None:
            snapshot = snapshots.decode(data)
            self._parts = replace(self._parts, snapshot=snapshot, popular=popular(self._plan, snapshot))

    async def _refresh_residuals(self) -> None:
        data = await _answer(self._client.get(self._keys.learner("weights")))
        if data != self._weights:
            self._weights = data
            self._parts = replace(self._parts, residuals=Residuals.of(learner.decode(data), self._bound))


async def _answer(asked: Any) -> Any:
    """redis-py types every answer as maybe awaitable."""
    return await asked
