"""Whether Redis has room for more: looked up off the request path, asked on it without I/O.

A full Redis refuses every write, those of the consumers too, and then nothing could ever be trimmed. So what comes in
is refused before, at the high-water mark, and what is left above it is for those who commit.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from behavior.errors import BadInput, Unavailable
from deployment.connections import UNANSWERED, is_cluster
from scoring.process import is_cancelled

_log = logging.getLogger("opportune.pressure")
POLL_S = 1.0
_KEEPS = "noeviction"


class Memory(NamedTuple):
    """What one Redis says of its memory: bytes that count against its limit, the limit (0 for none), what it evicts."""

    used: int
    limit: int
    policy: str

    @property
    def fullness(self) -> float:
        """The share of the limit that is used; 0 without a limit."""
        return self.used / self.limit if self.limit else 0.0

    @property
    def evicts(self) -> bool:
        """Whether it would rather lose keys than refuse a write."""
        return self.limit > 0 and self.policy != _KEEPS


class Pressure(Collector):
    """Follows the memory of every node of a Redis, inside an event loop.

    high_water  the share of Redis's memory limit from which on nothing more is taken in
    """

    def __init__(self, client: Any, high_water: float) -> None:
        self._client = client
        self._high_water = high_water
        self._nodes: Sequence[Memory] = ()
        self._refusal = ""

    def check(self) -> None:
        """Raises Unavailable while there is no room; answers from what the last look has found."""
        if self._refusal:
            raise Unavailable(self._refusal)

    async def look(self) -> None:
        """Look at the memory of every node. Raises redis.RedisError, and what was found before stays."""
        told = await self._client.info("memory", **_on_all_nodes(self._client))
        self._nodes = memories(told)
        self._refusal = self._judged(max(self._nodes, key=lambda node: (node.evicts, node.fullness)))

    async def run(self) -> None:
        """Look for ever, about once a second."""
        answered = True
        while not is_cancelled():
            try:
                await self.look()
                answered = True
            except UNANSWERED as error:
                if answered:
                    _log.warning("cannot look at Redis's memory (%s: %s); trying on", type(error).__name__, error)
                answered = False
            await asyncio.sleep(POLL_S)

    def describe(self) -> Sequence[GaugeMetricFamily]:
        """Nothing: several servers of one process, as in tests, may be registered at once."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The fullest node, for Prometheus."""
        if self._nodes:
            yield family(max(node.fullness for node in self._nodes))

    def _judged(self, worst: Memory) -> str:
        if worst.evicts:
            return _evicting(worst)
        if worst.limit and worst.fullness >= self._high_water:
            return (
                f"Redis has used {worst.fullness:.0%} of its memory, and beyond {self._high_water:.0%} no events are "
                "taken; try again, or raise its maxmemory"
            )
        return ""


def family(fullness: float) -> GaugeMetricFamily:
    """The fullness as Prometheus takes it."""
    return GaugeMetricFamily(
        "opportune_redis_memory_fullness",
        "Share of Redis's memory limit in use on its fullest node; 0 without a limit.",
        value=fullness,
    )


def refuse_eviction(client: Any) -> None:
    """Refuse a Redis that evicts keys when it is full: it would lose states and events without a word.

    Raises BadInput that says what to set. Without a memory limit nothing is ever evicted.
    """
    for node in memories(client.info("memory", **_on_all_nodes(client))):
        if node.evicts:
            raise BadInput(_evicting(node))


def memories(told: Mapping[str, Any]) -> list[Memory]:
    """What INFO memory says, of one node or of several by name."""
    nodes = [told] if "used_memory" in told else list(told.values())
    return [
        Memory(
            # Buffers of replicas and of the append-only file do not count against the limit.
            int(node["used_memory"]) - int(node.get("mem_not_counted_for_evict", 0)),
            int(node.get("maxmemory", 0)),
            str(node.get("maxmemory_policy", _KEEPS)),
        )
        for node in nodes
    ]


def _on_all_nodes(client: Any) -> dict[str, str]:
    # A cluster's client would ask any one of them.
    return {"target_nodes": "primaries"} if is_cluster(client) else {}


def _evicting(node: Memory) -> str:
    return (
        f"Redis evicts keys when it is full (maxmemory-policy {node.policy}), and would lose what it was given; "
        f"set its maxmemory-policy to {_KEEPS}"
    )
