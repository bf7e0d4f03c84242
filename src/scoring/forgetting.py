"""Deleting what nobody reads any more: states of generations, and all that belongs to a number of partitions."""

from collections.abc import Callable
from typing import Any

from deployment.keys import Keys

_COMMANDS = 1_000


def forget_generations(client: Any, keys: Keys, *, before: int, but: int = 0) -> None:
    """Delete every key of every generation before this one, but of the one that serves."""

    def is_left(key: bytes) -> bool:
        generation = keys.generation_of(key)
        return generation is not None and generation < before and generation != but

    _unlink(client, keys.states_pattern(), is_left)


def forget_partitions(client: Any, keys: Keys, *, seals: bool) -> None:
    """Delete every key of all partitions of this number, which is not, or not yet, in use.

    Unless their seals are to go too, they stay: a process that was not started anew must find its log sealed.
    """
    metas = set() if seals else {keys.meta(number) for number in range(keys.partitions)}
    _unlink(client, keys.partitions_pattern(), lambda key: keys.is_of_partition(key) and key not in metas)


def _unlink(client: Any, pattern: str, wanted: Callable[[bytes], bool]) -> None:
    with client.pipeline(transaction=False) as together:
        for key in client.scan_iter(pattern, count=_COMMANDS):
            if wanted(key):
                together.unlink(key)
            if len(together) >= _COMMANDS:
                together.execute()
        if len(together):
            together.execute()
