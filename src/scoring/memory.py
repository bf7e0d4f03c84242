"""What a scorer holds in memory: the current bundle, the newest snapshot and its plan, the learner's residuals.

A poll replaces each whole when it changes; a request takes all of them once, at its start, so that no answer is mixed.

    one question to Redis, one look at files in a thread ── nothing is new ──▶ done
                                                         └─ what is new is read and made ready in a thread ──▶ `Held`

Requests are answered meanwhile, by the same interpreter: what the thread does is numpy's where it is about all items.
Only the residuals change in place, between requests' steps: each answer looks them up once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from behavior.errors import BundleRefused, OpportuneError
from behavior.manifest import check_features
from behavior.personas import Personas
from behavior.plan import Plan
from deployment.bundles import DEFAULT_TARGET, Bundles
from deployment.connections import ask_each
from deployment.generations import GENERATION, PARTITIONS, Plans
from deployment.keys import Keys
from deployment.snapshot import Snapshot
from deployment.snapshot_reading import ask_whole, brought_up, whole
from scoring.feed import Feed
from scoring.held_personas import HeldPersonas
from scoring.held_placements import HeldPlacements
from scoring.model import Bundle, load_bundle
from scoring.placements import Placements
from scoring.residuals import Residuals
from scoring.standing import Standing, standing_of

if TYPE_CHECKING:
    import redis.asyncio

_log = logging.getLogger("opportune.memory")
REFUSED_FOR_S = 30.0


class NotReady(OpportuneError):
    """There is nothing to score with yet; the message says what to run."""


@dataclass(frozen=True, slots=True)
class Held:
    """Everything that one answer is made with."""

    bundle: Bundle
    snapshot: Snapshot
    residuals: Residuals
    standing: Standing
    personas: Personas | None = None
    placements: Placements = field(default_factory=Placements)


@dataclass(frozen=True, slots=True)
class _Parts:
    generation: int = 0
    bundle: Bundle | None = None
    snapshot: Snapshot | None = None
    standing: Standing = field(default_factory=Standing)
    personas: Personas | None = None
    placements: Placements = field(default_factory=Placements)

    def held(self, residuals: Residuals) -> Held | None:
        """What an answer is made with, if everything is there."""
        if self.bundle is None or self.snapshot is None:
            return None
        return Held(self.bundle, self.snapshot, residuals, self.standing, self.personas, self.placements)


class Memory:
    """Keeps what is held up to date.

    feed      what the learner has learned
    load      how a bundle is loaded
    refused   called with the id of each bundle that could not be taken
    target    whose current bundle is held
    placements   what keeps the file of placements up to date
    asking       asks what each poll asks, as `converse` gives it; the client if there is none
    """

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        keys: Keys,
        plans: Plans,
        bundles: Bundles,
        feed: Feed,
        load: Callable[[Bundles, str, Plan], Bundle] = load_bundle,
        refused: Callable[[str], None] = lambda bundle_id: None,
        target: str = DEFAULT_TARGET,
        placements: HeldPlacements | None = None,
        asking: Any = None,
    ) -> None:
        self._client = client
        self._asking = asking or client
        self._keys = keys
        self._plans = plans
        self._bundles = bundles
        self._personas = HeldPersonas(bundles.store)
        self._placements = placements or HeldPlacements()
        self._target = target
        self._feed = feed
        self._load = load
        self._refused = refused
        self._refused_id: str | None = None
        self._refused_until = 0.0
        self._pointer_told: str | None = None
        self._parts = _Parts()
        self._held: Held | None = None
        self._moved_to = 0

    def held(self) -> Held:
        """What an answer is made with now; the same object for as long as nothing of it changes.

        Raises NotReady if there is no bundle or no snapshot yet.
        """
        held = self._held
        if held is None:
            raise NotReady(self._lacks())
        if held.residuals is not self._feed.residuals:  # which were read anew between two polls
            held = self._held = replace(held, residuals=self._feed.residuals)
        return held

    def _lacks(self) -> str:
        if self._moved_to:
            return f"the deployment has {self._moved_to} partitions now; set `partitions` to that and start anew"
        if self._parts.bundle is None:
            return (
                f"there is no model of {self._target} in {self._bundles.store} yet; run `opportune train`, "
                "the server picks it up"
            )
        return "there is no snapshot yet; run `opportune fold` (or `opportune rebuild`)"

    async def refresh(self) -> None:
        """Take over what has changed since the last time.

        A bundle or a file of placements that is refused leaves the one before in place. Raises redis.RedisError if
        Redis does not answer.
        """
        deployed, version = await ask_each(self._asking, [
            ("HMGET", self._keys.deployment(), GENERATION, PARTITIONS),
            ("HGET", self._keys.snapshot(self._parts.generation), "s"),
        ])  # fmt: skip
        generation, partitions = _told(deployed)
        if partitions is not None and int(partitions) != self._keys.partitions:
            self._parts, self._moved_to = _Parts(), int(partitions)
            self._take()
        elif generation is not None:
            plan = await self._plan(int(generation))
            await self._refresh_files(plan)
            if int(generation) != self._parts.generation:
                (version,) = await ask_each(self._asking, [("HGET", self._keys.snapshot(int(generation)), "s")])
            await self._refresh_snapshot(int(generation), plan, _told(version))
        else:
            self._plans.forget()
        await self._feed.refresh()

    def _take(self, **changed: Any) -> None:
        """Let parts be other ones, for all requests from now on."""
        self._parts = replace(self._parts, **changed)
        self._held = None if self._moved_to else self._parts.held(self._feed.residuals)

    async def _plan(self, generation: int) -> Plan:
        """The plan of a generation; what was served under the one before must fit it too, or is not served any more."""
        plan = await self._plans.of_async(self._client, generation)
        serving = self._parts.bundle
        if generation != self._parts.generation and serving is not None:
            try:
                check_features(serving.manifest, plan.fingerprints)
            except BundleRefused as error:
                _log.error("generation %d: %s", generation, error)
                self._take(bundle=None)
        return plan

    async def _refresh_files(self, plan: Plan) -> None:
        # In a thread: what is looked at may lie on the other side of a network.
        wanted, personas = await asyncio.to_thread(self._look, plan)
        if personas is not self._parts.personas or self._placements.held is not self._parts.placements:
            self._take(personas=personas, placements=self._placements.held)
        if isinstance(wanted, OpportuneError):
            self._tell_pointer(str(wanted))
            return
        self._pointer_told = None
        await self._refresh_bundle(plan, wanted)

    def _look(self, plan: Plan) -> tuple[str | OpportuneError | None, Personas | None]:
        """The bundle that is current now, or why nobody can tell, and the personas; placements are brought up."""
        self._placements.bring_up(plan)
        personas = self._personas.brought_up(plan)
        try:
            return self._bundles.current_id(self._target), personas
        except OpportuneError as error:
            return error, personas

    async def _refresh_bundle(self, plan: Plan, wanted: str | None) -> None:
        serving = self._parts.bundle
        if wanted is None or (serving is not None and wanted == serving.bundle_id):
            return
        if wanted == self._refused_id and time.monotonic() < self._refused_until:
            return
        try:
            # Hashing and loading take a while; requests go on meanwhile.
            bundle = await asyncio.to_thread(self._load, self._bundles, wanted, plan)
        except Exception as error:  # whatever it is, the snapshot and the weights must go on being refreshed
            # Remembered, so that a bad bundle is not reported at every poll; tried again, since it may be restored.
            self._refused_id, self._refused_until = wanted, time.monotonic() + REFUSED_FOR_S
            self._refused(wanted)
            keeps = "none" if serving is None else serving.bundle_id
            _log.error("bundle %s is refused, %s keeps serving: %s", wanted, keeps, error)
            return
        self._refused_id = None
        self._take(bundle=bundle)
        _log.info("bundle %s (%s) serves", bundle.bundle_id, bundle.target)

    def _tell_pointer(self, what: str) -> None:
        """Say once, not at every poll, that the pointer cannot be followed; what serves goes on serving."""
        if what != self._pointer_told:
            self._pointer_told = what
            self._refused("")
            _log.error("%s", what)

    async def _refresh_snapshot(self, generation: int, plan: Plan, version: bytes | None) -> None:
        parts = self._parts
        serving = parts.snapshot if generation == parts.generation else None
        if version is None or (serving is not None and int(version) == serving.s):
            return
        made = None
        if serving is not None:
            changed = self._client.xrange(self._keys.changes(generation), f"({serving.s}-0", f"{int(version)}-0")
            made = await asyncio.to_thread(_next, serving, parts.standing, await _answer(changed))
        if made is None:
            async with self._client.pipeline(transaction=False) as together:
                ask_whole(together, self._keys, generation, plan)
                made = await asyncio.to_thread(_anew, plan, await together.execute())
        if made is not None:
            snapshot, standing = made
            self._take(generation=generation, snapshot=snapshot, standing=standing)


def _next(serving: Snapshot, standing: Standing, entries: Any) -> tuple[Snapshot, Standing] | None:
    """The snapshot that changes make of one, and how everything stands then; None if all must be read."""
    snapshot = brought_up(serving, entries)
    if snapshot is None:
        return None
    snapshot.prepare(serving)
    return snapshot, standing_of(snapshot, standing)


def _anew(plan: Plan, answers: Sequence[Any]) -> tuple[Snapshot, Standing] | None:
    """The snapshot that was read whole; None if it must be asked for again."""
    snapshot = whole(plan, answers)
    if snapshot is None:
        return None
    snapshot.prepare()
    return snapshot, standing_of(snapshot)


def _told(answer: Any) -> Any:
    """What Redis has answered to one of several questions. Raises redis.ResponseError if it has refused that one."""
    if isinstance(answer, Exception):
        raise answer
    return answer


async def _answer(asked: Any) -> Any:
    """redis-py types every answer as maybe awaitable."""
    return await asked
