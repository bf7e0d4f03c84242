"""A fold process: the partitions that it has leased are folded; the snapshot is published by one of them.

    leases of the generation that each partition serves ──▶ Fold.own ──▶ Fold.step
    the publisher's seat (one process) ───────────────────────────────▶ Publisher.step

Any number of these processes share the partitions. When a rebuild has moved partitions to the next generation, they are
taken over there, under that generation's plan. When Redis was lost, there is nothing to fold until it was rebuilt.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge

from behavior.errors import Fenced
from behavior.event import SECOND_US
from deployment.clock import Clock
from deployment.generations import Plans, serving
from deployment.keys import Keys
from scoring.fold import Fold, Grant
from scoring.leases import Leases
from scoring.log import Log
from scoring.publishing import Publisher

_log = logging.getLogger("opportune.fold")
ROLE = "fold"
WAIT_MS = 50
# How long publishing keeps events waiting at a time.
_PUBLISH_S = 0.002
_KEEP_SEAT = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return owner and 1 or 2
"""
FOLDED = Counter("opportune_fold_entries_total", "Entries of the log that were folded into states.")
PARTITIONS = Gauge("opportune_fold_partitions", "Partitions that this process folds.")
SNAPSHOT = Gauge(
    "opportune_snapshot_instant_seconds", "Instant of the last snapshot published from here, seconds since 1970."
)
LAG = Gauge(
    "opportune_fold_log_lag_seconds", "How long the oldest entry of the last round had waited in the log; 0 if none."
)
ROUND = Gauge("opportune_fold_round_timestamp_seconds", "When the fold last ended a round, seconds since 1970.")
_LEAVE_SEAT = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Seat:
    """The one place from which snapshots are published: held by lease, safe by the publisher's epoch."""

    def __init__(self, client: Any, keys: Keys, plans: Plans, holder: str, ttl_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._plans = plans
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._next = 0.0
        self._publisher: Publisher | None = None

    @property
    def s(self) -> int:
        """The instant of the last snapshot that was published from here, 0 if none was."""
        return 0 if self._publisher is None else self._publisher.s

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is being made."""
        return self._publisher is not None and self._publisher.is_busy

    def step(self) -> bool:
        """Go on publishing what is due, if this process has the seat; whether a snapshot came out."""
        if not self._held():
            return False
        try:
            return self._publisher is not None and self._publisher.step(_PUBLISH_S)
        except Fenced:
            _log.warning("another process publishes the snapshot; this one leaves it to that")
            self._publisher = None
            return False

    def release(self) -> None:
        """Leave the seat to others at once."""
        self._client.eval(_LEAVE_SEAT, 1, self._keys.publisher(), self._holder)
        self._publisher = None
        self._next = 0.0

    def _held(self) -> bool:
        """Renew the seat, or take it if it is free; a third of a lease apart."""
        if time.monotonic() < self._next:
            return self._publisher is not None
        self._next = time.monotonic() + self._ttl_ms / 3000
        kept = int(self._client.eval(_KEEP_SEAT, 1, self._keys.publisher(), self._holder, self._ttl_ms))
        generation = serving(self._client, self._keys)
        if not kept or generation is None:
            self._publisher = None
        elif kept == 2 or self._publisher is None or self._publisher.generation != generation:
            plan = self._plans.of(self._client, generation)
            self._publisher = Publisher(self._client, self._keys, plan, generation)
        return self._publisher is not None


class Folding:
    """Shares the partitions with the other fold processes, folds its own, and publishes if it has the seat."""

    def __init__(self, client: Any, keys: Keys, log: Log, clock: Clock, holder: str, ttl_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._plans = Plans(keys)
        self._leases: dict[int, Leases] = {}
        # The generation that the snapshot is read from, 0 if there is none, and when to look again.
        self._serving = 0
        self._next_look = 0.0
        self.fold = Fold(client, keys, log, clock, self._plans)
        self.seat = Seat(client, keys, self._plans, holder, ttl_ms)

    def run(
        self, stopping: threading.Event, folded: Callable[[int, "Folding"], None] = lambda entries, folding: None
    ) -> None:
        """Fold until told to stop; `folded(number of entries, self)` is called after each round. Leaves all leases."""
        while not stopping.is_set():
            folded(self.step(min(WAIT_MS, self._ttl_ms // 3)), self)
        self.release()

    def step(self, wait_ms: int = 0) -> int:
        """Keep the leases, fold what is there, publish what is due; the number of entries."""
        self.fold.own(self._grants())
        entries = self.fold.step(0 if self.seat.is_busy else wait_ms)
        self.seat.step()
        return entries

    def release(self) -> None:
        """Give up everything, so that others take over at once."""
        for leases in self._leases.values():
            leases.release()
        self.seat.release()

    def _grants(self) -> dict[int, Grant]:
        """What is leased, of every generation that partitions serve."""
        self._look()
        grants: dict[int, Grant] = {}
        at_once, self.fold.is_fenced = self.fold.is_fenced, False
        waiting = list(self._leases)
        for generation in waiting:
            leases = self._leases[generation]
            owned = leases.refresh(at_once=at_once)
            grants |= {number: Grant(generation, epoch) for number, epoch in owned.items()}
            for newer in set(leases.elsewhere.values()) - self._leases.keys():
                self._lease(newer)
                waiting.append(newer)
            if generation < self._serving and not leases.owned():
                del self._leases[generation]
        return grants

    def _look(self) -> None:
        """Begin with what serves; give everything up if nothing does."""
        if self._leases and time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._ttl_ms / 3000
        self._serving = serving(self._client, self._keys) or 0
        if self._serving and not self._leases:
            self._lease(self._serving)
        if self._leases and not self._serving:
            _log.error("Redis holds no deployment any more; nothing is folded until `opportune rebuild` restores it")
            self._leases.clear()
            self._plans.forget()

    def _lease(self, generation: int) -> None:
        self._leases[generation] = Leases(
            self._client,
            self._keys,
            ROLE,
            self._holder,
            self._ttl_ms,
            lambda number: self._keys.place(number, generation),
            generation=generation,
        )


def tell(entries: int, folding: Folding) -> None:
    """Tell Prometheus of a round."""
    FOLDED.inc(entries)
    PARTITIONS.set(len(folding.fold.partitions))
    SNAPSHOT.set(folding.seat.s / SECOND_US)
    LAG.set(folding.fold.waited_s)
    ROUND.set_to_current_time()
