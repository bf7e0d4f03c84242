"""What scorers hold of the learner, kept up to date by its deltas.

    deltas of each shard ──▶ in place, as they come: a scorer has one event loop, and looks up without a pause
    version and epoch, at every poll ──▶ catch up; read everything anew on a gap, another epoch or number of shards

Deltas have the versions as ids, one after the other: what follows on what is held is applied, what is held is skipped,
and a gap shows. So following and polling need not know of each other.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import Counter

from deployment.connections import UNANSWERED, ask_each, is_cluster
from deployment.generations import SHARDS
from deployment.keys import Keys, ShardKeys
from scoring.packed_numbers import decode_delta, unpacked
from scoring.process import is_cancelled
from scoring.residuals import Residuals

_log = logging.getLogger("opportune.feed")
# So long one question waits for a delta; less than a conversation waits for an answer.
_WAIT_MS = 400
# Deltas that are taken of a shard at once.
_AT_ONCE = 1_000
# How long (s) until a follower of a cluster, where nobody can wait on two nodes at once, asks again; and one that Redis
# did not answer, or to whom nobody has told of shards yet.
_POLL_S = 0.01
_RETRY_S = 0.2
# A shard of one instant.
_WHOLE = "return {redis.call('HMGET', KEYS[1], 'epoch', 'version'), redis.call('HGETALL', KEYS[2])}"

RELOADS = Counter("opportune_learner_reloads", "Times that all numbers of the learner were read anew.")


class At(NamedTuple):
    """Where a shard stands: the epoch of who commits it, and the version of its numbers."""

    epoch: int
    version: int


class Feed:
    """Follows the learner.

    asking      asks what the polls ask, as `converse` gives it
    following   a connection of its own, on which deltas are waited for
    residuals   what is held; its version is the sum of the shards' versions
    """

    def __init__(self, asking: Any, keys: Keys, bound: float, following: Any = None) -> None:
        self._asking = asking
        self._following = following
        self._keys = keys
        self._bound = bound
        self._shards = ShardKeys(keys.prefix, 0)
        self._held: list[At] = []
        self._confirmed = time.monotonic()
        self.residuals = Residuals(bound)

    @property
    def age_s(self) -> float:
        """Seconds since the last delta, or since Redis last confirmed that there is none."""
        return time.monotonic() - self._confirmed

    async def refresh(self) -> None:
        """Bring what is held up to what Redis holds. Raises what PASSING names."""
        before = list(self._held)
        shards, stands = await self._stands()
        if len(shards) != len(before) or any(map(_is_another, before, stands)):
            await self._reload(shards)
        elif any(now.version > held.version for held, now in zip(before, stands, strict=True)):
            await self._take(before, await _all(self._asking, [_range(self._shards, *at) for at in enumerate(before)]))
        self._confirmed = time.monotonic()

    async def run(self) -> None:
        """Apply deltas as they come, for ever; while Redis does not answer, what is held stays."""
        is_told = False
        while not is_cancelled():
            try:
                await self._follow()
                is_told = False
            except UNANSWERED as error:
                if not is_told:
                    _log.warning("the learner's deltas do not come (%s: %s)", type(error).__name__, error)
                is_told = True
                await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        held = list(self._held)
        if not held:
            await asyncio.sleep(_RETRY_S)
        elif is_cluster(self._following):
            await asyncio.sleep(_POLL_S)
            await self._take(held, await _all(self._following, [_range(self._shards, *at) for at in enumerate(held)]))
        else:
            streams = [self._shards.deltas(shard) for shard in range(len(held))]
            after = [f"{at.version}-0" for at in held]
            wait = ("XREAD", "COUNT", _AT_ONCE, "BLOCK", _WAIT_MS, "STREAMS", *streams, *after)
            (answer,) = await _all(self._following, [wait])
            found = dict(answer or ())
            await self._take(held, [found.get(stream, ()) for stream in streams])

    async def _stands(self) -> tuple[list[int], list[At]]:
        """The shards that the learner has, and where each of them stands."""
        (said,) = await _all(self._asking, [("HGET", self._keys.deployment(), SHARDS)])
        keys = ShardKeys(self._keys.prefix, int(said or 0))
        shards = list(range(keys.shards))
        answers = await _all(self._asking, [("HMGET", keys.meta(shard), "epoch", "version") for shard in shards])
        return shards, [_at(answer) for answer in answers]

    async def _take(self, asked: Sequence[At], answers: Sequence[Any]) -> None:
        """Apply the deltas that follow on what is held; read everything anew if one is missing.

        asked   what was held when these were asked for
        """
        for shard, (before, entries) in enumerate(zip(asked, answers, strict=True)):
            for version, data in map(_entry, entries):
                if shard >= len(self._held) or version <= self._held[shard].version:
                    continue
                if version > self._held[shard].version + 1:
                    if self._held[shard] == before:  # else what was asked for does not fit any more: ask again
                        await self._reload(range(len(self._held)))
                    return
                self._held[shard] = At(self._held[shard].epoch, version)
                self.residuals.apply(self.residuals.version + 1, decode_delta(data))
            if entries:
                self._confirmed = time.monotonic()

    async def _reload(self, shards: Sequence[int]) -> None:
        """Read all numbers anew; requests go on meanwhile, with what is held."""
        keys = ShardKeys(self._keys.prefix, len(shards))
        asked = [("EVAL", _WHOLE, 2, keys.meta(shard), keys.numbers(shard)) for shard in shards]
        answers = await _all(self._asking, asked)
        held = [_at(stands) for stands, _ in answers]
        version = sum(at.version for at in held)
        fresh = await asyncio.to_thread(_loaded, self._bound, version, [numbers for _, numbers in answers])
        self._shards, self._held, self.residuals = keys, held, fresh
        RELOADS.inc()
        _log.info("all numbers of the learner read anew: %d shards, version %d", len(shards), version)


def _loaded(bound: float, version: int, shards: Sequence[Sequence[bytes]]) -> Residuals:
    numbers: Mapping[str, tuple[float, ...]] = {
        key.decode(): unpacked(data) for fields in shards for key, data in zip(fields[::2], fields[1::2], strict=True)
    }
    made = Residuals(bound)
    made.reload(version, numbers)
    return made


def _is_another(held: At, now: At) -> bool:
    """Whether a shard has changed hands, or Redis has lost what it had said, since something was held."""
    return now.epoch != held.epoch or now.version < held.version


def _at(answer: Sequence[bytes | None]) -> At:
    return At(*(int(each or 0) for each in answer))


def _range(keys: ShardKeys, shard: int, held: At) -> tuple[Any, ...]:
    return ("XRANGE", keys.deltas(shard), f"({held.version}-0", "+", "COUNT", _AT_ONCE)


def _entry(entry: Any) -> tuple[int, bytes]:
    """Version and data of a delta, as a conversation gives it or as redis-py's clients do."""
    name, fields = entry
    return int(name.partition(b"-")[0]), fields[b"d"] if isinstance(fields, dict) else fields[1]


async def _all(client: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """The reply to each command. Raises Redis's refusal of any of them, and what PASSING names."""
    answers = await ask_each(client, commands)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
