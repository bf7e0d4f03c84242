"""`Explain`: an answer by its request id, made again and held against the journal, with the events behind it.

request id ─▶ entry (log, else archive), intact? ─▶ bundle, plan ─▶ retrace ─▶ equal to the last bit?
                                                                      └─▶ the user's events up to the offset
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from behavior.errors import Altered, BadInput, Gone
from behavior.event import Admitted
from behavior.manifest import is_bundle_id
from behavior.plan import Plan
from behavior.served import Served, decode
from deployment.bundles import Bundles
from deployment.generations import Plans
from deployment.kept_plans import kept_plan
from deployment.keys import Keys
from scoring.entry_search import EntrySearch, Found
from scoring.model import Bundle, load_bundle
from scoring.past_events import events_behind
from scoring.retracing import Retraced, retrace

# Events that are told of at most, the newest.
MOST_EVENTS = 100
# Bundles of the past that are held, each some megabytes.
_BUNDLES = 4


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer as it was journalled, and made again.

    found    where its entry is
    events   the newest events of the user that the states knew, newest first; None if they were not asked for
    """

    entry: Served
    found: Found
    target: str
    calibrated: bool
    inputs: tuple[str, ...]
    retraced: Retraced
    events: tuple[Admitted, ...] | None


class Explaining:
    """Explains the answers of a deployment."""

    def __init__(
        self, client: Any, keys: Keys, plans: Plans, bundles: Bundles, search: EntrySearch,
        archive: Path,
    ) -> None:  # fmt: skip
        self._client = client
        self._keys = keys
        self._plans = plans
        self._bundles = bundles
        self._search = search
        self._archive = archive
        self._loaded: dict[tuple[str, str], Bundle] = {}

    async def explain(self, request_id: str, *, events: bool = False) -> Explanation:
        """The answer of a request id.

        Raises BadInput for what is no request id, NotFound for one without an entry, Altered if the entry is not what
        was written, Gone if the bundle or the plan is not there any more, redis.RedisError.
        """
        found = await self._search.find(request_id)
        try:
            entry = decode(found.payload)
        except msgspec.DecodeError as error:
            raise Gone(
                f"the entry of {request_id} was written by another version ({error}); explain it there"
            ) from None
        if entry.request_id != request_id:
            raise Altered(f"the entry at k = {found.k} is that of {entry.request_id}, not of {request_id}")
        plans = await self._plans_of(entry)
        bundle = await asyncio.to_thread(self._bundle, entry, next(iter(plans.values()), None))
        retraced = await asyncio.to_thread(retrace, entry, bundle, plans)
        behind = None
        if events:
            behind = await events_behind(self._client, self._keys, self._archive, entry, plans, MOST_EVENTS)
        calibrated = bundle.calibration is not None
        return Explanation(entry, found, bundle.target, calibrated, bundle.inputs, retraced, behind)

    async def _plans_of(self, entry: Served) -> dict[str, Plan]:
        """The plans that an entry names, its states' first."""
        if entry.basis is None:
            return {}
        named = dict.fromkeys(name for name in (entry.basis.plan, entry.basis.snapshot_plan) if name)
        return {name: await self._plan(name) for name in named}

    async def _plan(self, fingerprint: str) -> Plan:
        generation = await self._client.hget(self._keys.deployment(), "generation")
        if generation is not None:
            plan = await self._plans.of_async(self._client, int(generation))
            if plan.fingerprint == fingerprint:
                return plan
        kept = await asyncio.to_thread(kept_plan, self._archive, fingerprint)
        if kept is None:
            raise Gone(
                f"the answer was made under the plan {fingerprint}, which serves no more and is not in "
                f"{self._archive / 'plans'}; set `archive` to the directory that the archiver wrote then"
            )
        return kept

    def _bundle(self, entry: Served, plan: Plan | None) -> Bundle:
        place = (entry.bundle_id, plan.fingerprint if plan else "")
        held = self._loaded.get(place)
        if held is not None:
            return held
        if plan is None or not is_bundle_id(entry.bundle_id):
            raise Gone(f"the entry names no bundle and plan that it can be made again with ({entry.bundle_id!r})")
        try:
            bundle = load_bundle(self._bundles, entry.bundle_id, plan)
        except BadInput as error:
            raise Gone(f"the bundle {entry.bundle_id} that gave the answer cannot be loaded: {error}") from None
        while len(self._loaded) >= _BUNDLES:
            del self._loaded[next(iter(self._loaded))]
        self._loaded[place] = bundle
        return bundle
