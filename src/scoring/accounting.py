"""The accounts of the log for Prometheus: received = accepted + duplicate + rejected + dropped, over all partitions.

Every partition's counts are one hash, written by one script, so the sum adds up at any moment; a gap that is not 0
means that events were lost or taken twice.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deployment.connections import UNANSWERED, ask_each
from deployment.keys import Keys
from scoring.log_writer import ACCEPTED, DROPPED, DUPLICATE, REJECTED
from scoring.process import is_cancelled

_log = logging.getLogger("opportune.accounting")
# Oftener than anybody scrapes.
REFRESH_S = 5.0
RECEIVED = "received"
LETTERS_LOST = "letters_lost"
FATES = (ACCEPTED, DUPLICATE, REJECTED, DROPPED)


@dataclass(frozen=True, slots=True)
class Accounts:
    """What became of the events that one partition, or all of them, received.

    fates         how many, by (fate, reason); the reason of accepted and duplicate ones is empty
    letters       dead letters kept now
    letters_lost  dead letters that were too large or too many to be kept
    """

    received: int
    fates: Mapping[tuple[str, str], int]
    letters: int = 0
    letters_lost: int = 0

    @property
    def gap(self) -> int:
        """Received events that nothing became of: 0."""
        return self.received - sum(self.fates.values())


def accounts(counts: Sequence[Mapping[bytes, bytes]], letters: int = 0) -> Accounts:
    """The sum of partitions' counts hashes.

    >>> accounts([{b"received": b"3", b"accepted": b"2", b"rejected:too_late": b"1"}]).gap
    0
    """
    total: Counter[str] = Counter()
    for each in counts:
        total.update({name.decode(): int(number) for name, number in each.items()})
    parts = {name.partition(":")[::2]: number for name, number in total.items()}
    fates = {part: number for part, number in parts.items() if part[0] in FATES}
    return Accounts(total[RECEIVED], fates, letters, total[LETTERS_LOST])


class Accounting(Collector):
    """Follows the accounts of a deployment inside an event loop; a scrape is answered from what is held.

    client    as `converse` gives it: redis-py's takes 4 ms of the event loop to ask of 64 partitions
    """

    def __init__(self, client: Any, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._held: Accounts | None = None

    async def refresh(self) -> Accounts:
        """Read the counts of all partitions, each of them in one step. Raises redis.RedisError."""
        partitions = range(self._keys.partitions)
        counts = [("HGETALL", self._keys.counts(partition)) for partition in partitions]
        letters = [("XLEN", self._keys.dead(partition)) for partition in partitions]
        told = await ask_each(self._client, [*counts, *letters])
        for answer in told:
            if isinstance(answer, Exception):
                raise answer
        self._held = accounts([_hash(each) for each in told[: len(counts)]], sum(told[len(counts) :]))
        return self._held

    async def run(self) -> None:
        """Refresh for ever, every few seconds."""
        answered = True
        while not is_cancelled():
            try:
                gap = (await self.refresh()).gap
                if gap:
                    _log.error("the accounts of the log do not add up: %d events were received and have no fate", gap)
                answered = True
            except UNANSWERED as error:
                if answered:
                    _log.warning("cannot read the accounts (%s: %s); trying on", type(error).__name__, error)
                answered = False
            await asyncio.sleep(REFRESH_S)

    def describe(self) -> Sequence[Metric]:
        """Nothing: several servers of one process, as in tests, may be registered at once."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The accounts for Prometheus; nothing before they have been read once."""
        held = self._held
        if held is not None:
            yield from families(held)


def families(held: Accounts) -> Iterator[Metric]:
    """The accounts as Prometheus takes them."""
    yield CounterMetricFamily("opportune_log_received", "Events that the log has answered.", value=held.received)
    fates = CounterMetricFamily(
        "opportune_log_events", "Events that the log has answered, by what became of them.",
        labels=["fate", "reason"],
    )  # fmt: skip
    for (fate, reason), number in sorted(held.fates.items()):
        fates.add_metric([fate, reason], number)
    yield fates
    yield GaugeMetricFamily(
        "opportune_accounting_gap", "Events received less events with a fate; anything but 0 is a defect.",
        value=held.gap,
    )  # fmt: skip
    yield GaugeMetricFamily("opportune_dead_letters", "Rejected events that are kept, sealed.", value=held.letters)
    yield CounterMetricFamily(
        "opportune_dead_letters_lost", "Rejected events too large or too many to be kept.", value=held.letters_lost
    )


def _hash(reply: Any) -> Mapping[bytes, bytes]:
    """The fields of a hash; redis-py has made a mapping of them already."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


@contextmanager
def exposed(*collectors: Collector) -> Iterator[None]:
    """Let `/metrics` of this process show the collectors until the block ends."""
    for collector in collectors:
        prometheus_client.REGISTRY.register(collector)
    try:
        yield
    finally:
        for collector in collectors:
            prometheus_client.REGISTRY.unregister(collector)
