"""Generations of states: which one serves, under which plan, and what every process must agree on.

States belong to a generation and were folded under its plan, which stands in Redis beside them: whoever reads states
follows that plan, not the file that `apply` wrote last. A rebuild makes the next generation while this one serves.
"""

from collections.abc import Callable
from typing import Any

from behavior.errors import BadInput, Unavailable
from behavior.plan import Plan
from deployment.keys import Keys

FIRST = 1
PARTITIONS, GENERATION, REBUILDING, SHARDS = b"partitions", b"generation", b"rebuilding", b"shards"
# There while the operator wants nothing learned.
FROZEN = b"learner_frozen"


def agree(client: Any, keys: Keys, plan: Callable[[], Plan]) -> int:
    """The generation that serves; a deployment that has none yet begins its first one under `plan()`.

    Raises BadInput if Redis holds another number of partitions, or only half of a first rebuild.
    """
    found = client.hgetall(keys.deployment())
    if GENERATION not in found and REBUILDING in found:
        raise BadInput(
            f"a rebuild under the prefix {keys.prefix} runs or was cut off; "
            "wait for it, or run it again: it begins anew"
        )
    if GENERATION not in found:
        client.hsetnx(keys.deployment(), PARTITIONS, keys.partitions)
        client.set(keys.plan(FIRST), plan().encode(), nx=True)
        client.hsetnx(keys.deployment(), GENERATION, FIRST)
        found = client.hgetall(keys.deployment())
    stated = int(found.get(PARTITIONS, keys.partitions))
    if stated != keys.partitions:
        raise BadInput(
            f"Redis holds a deployment of {stated} partitions, the settings say {keys.partitions}; "
            f"set `partitions` to {stated}, or change it with `opportune rebuild --partitions`"
        )
    return int(found[GENERATION])


def serving(client: Any, keys: Keys) -> int | None:
    """The generation that the snapshot is read from, or None before there is any."""
    found = client.hget(keys.deployment(), GENERATION)
    return None if found is None else int(found)


class Plans:
    """The plans of generations, each read once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[int, Plan] = {}

    def of(self, client: Any, generation: int) -> Plan:
        """The generation's plan, by a blocking client. Raises Unavailable if Redis has none."""
        plan = self._known.get(generation)
        return plan or self._remember(generation, client.get(self._keys.plan(generation)))

    async def of_async(self, client: Any, generation: int) -> Plan:
        """The generation's plan, within an event loop. Raises Unavailable if Redis has none."""
        plan = self._known.get(generation)
        return plan or self._remember(generation, await client.get(self._keys.plan(generation)))

    def known(self, generation: int) -> Plan | None:
        """The generation's plan if it has been read before."""
        return self._known.get(generation)

    def forget(self) -> None:
        """Read every plan anew: Redis was lost, and the next deployment in it counts its generations from the start."""
        self._known.clear()

    def _remember(self, generation: int, data: bytes | None) -> Plan:
        if data is None:
            raise Unavailable(f"Redis has no plan of generation {generation}; run `opportune rebuild`")
        plan = self._known[generation] = Plan.decode(data)
        return plan


def generation_of(client: Any, keys: Keys, partition: int) -> int:
    """The generation that readers of the partition use."""
    return int(client.hget(keys.meta(partition), GENERATION) or FIRST)
