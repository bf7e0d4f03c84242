"""Partitions shared among the living processes of a role: each takes its part, and that of who went missing.

    members:<role>      sorted set: every process by its last sign of life
    lease:<role>        per partition: who owns it, until it expires
    epoch               per partition: how often it has changed hands

Leases give liveness and balance only. Safety is the epoch: it grows with every change of hands, and every commit script
compares it, so a process that slept through the end of its lease commits nothing any more. Times are relative and
Redis's own, also while the deployment replays the past.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Protocol

import redis

from scoring.scripts import Run, Script, lua

# A sign of life; who gave none for the time of a lease is gone, and so is who gave one that the server's clock, having
# been set back, would not reach for as long. Answers all living members.
_ANNOUNCE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now + ARGV[2]), '+inf')
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
_GIVE_UP = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
# Renewed three times in the time of a lease, so that one lost answer does not lose it.
_RENEWALS = 3


def holder_name() -> str:
    """A name for this process that no other has had: host, pid and something random."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Leased(Protocol):
    """The names of what is shared: the partitions of the log, or the shards of the learner."""

    @property
    def partitions(self) -> int:
        """How many there are."""

    def lease(self, partition: int, role: str) -> bytes:
        """String: who owns one of them."""

    def meta(self, partition: int) -> bytes:
        """Hash: the `generation` of one of them, if they have generations."""

    def members(self, role: str) -> bytes:
        """Sorted set: the living processes."""


class Leases:
    """The partitions that this process owns for a role.

    epoch_key    the hash that holds the role's epoch of a partition, under its hash tag
    epoch_field  the field in that hash
    generation   of the states that the role works on; a partition that is read from another one is not taken
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Leased,
        role: str,
        holder: str,
        ttl_ms: int,
        epoch_key: Callable[[int], bytes],
        *,
        epoch_field: str = "epoch",
        generation: int | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._role = role
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._epoch_key = epoch_key
        self._epoch_field = epoch_field
        self._generation = generation
        self._lease = Script(client, lua("lease.lua"))
        self._lease_end = Script(client, _GIVE_UP)
        self._owned: dict[int, int] = {}
        self._next = 0.0
        # A process may have leases of two generations at once, which must not take each other for their own.
        self._owner = holder if generation is None else f"{holder}/{generation}"
        # Partitions whose states are read from a newer generation, and from which, as far as this was noticed.
        self.elsewhere: dict[int, int] = {}

    @property
    def pause_ms(self) -> int:
        """How long a process may wait for something between two calls of `refresh`."""
        return self._ttl_ms // _RENEWALS

    def owned(self) -> dict[int, int]:
        """The epoch of each partition that was owned at the last refresh.

        A partition whose epoch has changed is a new one: what is in memory of it may be outdated.
        """
        return dict(self._owned)

    def refresh(self, *, at_once: bool = False) -> dict[int, int]:
        """Keep what is owned, give up what exceeds the fair share and take what is free up to it; then `owned()`.

        To be called all the time: unless `at_once`, it does nothing for a third of a lease. Raises redis.RedisError.
        """
        now = time.monotonic()
        if at_once or now >= self._next:
            self._next = now + self._ttl_ms / 1000 / _RENEWALS
            self._balance()
        return self.owned()

    def release(self) -> None:
        """Give up everything, so that others take over at once; for a clean stop. Raises redis.RedisError."""
        self._give_up(list(self._owned))
        self._client.zrem(self._keys.members(self._role), self._holder)
        self._next = 0.0

    def _balance(self) -> None:
        members = self._announce()
        share = -(-self._keys.partitions // len(members))
        mine = self._in_order(members)
        surplus = [partition for partition in mine if partition in self._owned][share:]
        if surplus:
            self._give_up(surplus)
        self._take(list(self._owned))
        free = self._free(mine) if len(self._owned) < share else []
        while free and len(self._owned) < share:
            wanted = share - len(self._owned)
            self._take(free[:wanted])
            free = free[wanted:]

    def _announce(self) -> list[bytes]:
        """All living processes of the role, this one included, in an order that is the same for all of them."""
        found = self._client.eval(_ANNOUNCE, 1, self._keys.members(self._role), self._holder, self._ttl_ms)
        return sorted(found)

    def _in_order(self, members: list[bytes]) -> list[int]:
        """All partitions, the ones that nobody else prefers first: so processes that start together seldom collide."""
        place = members.index(self._holder.encode())
        return sorted(range(self._keys.partitions), key=lambda partition: (partition - place) % len(members) != 0)

    def _free(self, partitions: Iterable[int]) -> list[int]:
        others = [each for each in partitions if each not in self._owned and each not in self.elsewhere]
        if not others:
            return []
        with self._client.pipeline(transaction=False) as together:
            for partition in others:
                together.get(self._lease_key(partition))
            owners = together.execute()
        # Mine, but not known to be: a lease that this process had before it lost its connection.
        free = (None, self._owner.encode())
        return [partition for partition, owner in zip(others, owners, strict=True) if owner in free]

    def _take(self, partitions: list[int]) -> None:
        generation = "" if self._generation is None else self._generation
        runs = [
            Run(
                (self._lease_key(partition), self._epoch_key(partition), self._keys.meta(partition)),
                (self._owner, self._ttl_ms, self._epoch_field, self._owned.get(partition, 0), generation),
            )
            for partition in partitions
        ]
        for partition, (answer, detail) in zip(partitions, self._lease.run(runs), strict=True):
            if answer == b"held":
                self._owned[partition] = int(detail)
                continue
            self._owned.pop(partition, None)
            if answer == b"elsewhere" and self._generation is not None and int(detail) > self._generation:
                self.elsewhere[partition] = int(detail)

    def _give_up(self, partitions: list[int]) -> None:
        for partition in partitions:
            del self._owned[partition]
        self._lease_end.run([Run((self._lease_key(partition),), (self._owner,)) for partition in partitions])

    def _lease_key(self, partition: int) -> bytes:
        return self._keys.lease(partition, self._role)
