"""What the log knows of its archive: how far each partition is archived, and hence what it need not hold any more."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Counter

from behavior.event import SECOND_US
from deployment.clock import Clock
from deployment.keys import Keys
from scoring.scripts import Run, Script, lua

if TYPE_CHECKING:
    import redis

_log = logging.getLogger("opportune.archive")

TRIMMED = Counter("opportune_log_trimmed_entries", "Entries that were removed from the log, archived before.")
UNREAD = Counter(
    "opportune_log_trimmed_unread_entries", "Entries that were removed, for want of room, before a consumer read them."
)


class Archived(NamedTuple):
    """How far a partition's log is archived.

    until    everything with k <= this was read by the archiver, and is durable
    event    k of the last event among them
    served   k of the last served entry among them
    trimmed  greatest k that has been removed from the log since
    """

    until: int
    event: int
    trimmed: int = 0
    served: int = 0


class Trimming:
    """Notes what is archived and trims the log behind it.

    keep_s   entries stay in the log for so long (by the deployment's clock) even if all have read them
    most     entries per partition; above that neither their age nor a slow consumer keeps them
    slowest  how far the slowest consumer of each of the given partitions has come
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Keys,
        clock: Clock,
        *,
        keep_s: float,
        most: int,
        slowest: Callable[[Collection[int]], Mapping[int, int]],
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._keep_us = round(keep_s * SECOND_US)
        self._most = most
        self._slowest = slowest
        self._script = Script(client, lua("trim.lua"))
        self._overrun: set[int] = set()

    def archived(self, partitions: Collection[int]) -> dict[int, Archived]:
        """What was noted of the partitions last, by whomever."""
        with self._client.pipeline(transaction=False) as together:
            for partition in partitions:
                together.hmget(self._keys.meta(partition), "archived", "archived_event", "trimmed", "archived_served")
            answers = together.execute()
        return {
            partition: Archived(*(int(value or 0) for value in values))
            for partition, values in zip(partitions, answers, strict=True)
        }

    def note(self, archived: Mapping[int, tuple[int, Archived]]) -> set[int]:
        """Note what is durable of each partition, given with the archiver's epoch, and trim.

        Returns the partitions that another archiver has taken over; for those nothing was done.
        """
        if not archived:
            return set()
        reached, old = self._slowest(archived.keys()), self._clock.now() - self._keep_us
        runs = [
            Run(
                (self._keys.meta(partition), self._keys.stream(partition)),
                (epoch, mark.until, mark.event, reached[partition], old, self._most, mark.served),
            )
            for partition, (epoch, mark) in archived.items()
        ]
        lost = set()
        for partition, (removed, unread) in zip(archived, self._script.run(runs), strict=True):
            if removed < 0:
                lost.add(partition)
            else:
                self._tell(partition, removed, unread)
        return lost

    def _tell(self, partition: int, removed: int, unread: int) -> None:
        TRIMMED.inc(removed)
        UNREAD.inc(unread)
        if unread and partition not in self._overrun:
            _log.warning(
                "partition %d of the log had more than %d entries: %d were trimmed that a consumer had not read; "
                "it finds the events in the archive, what was served it does not see",
                partition, self._most, unread,
            )  # fmt: skip
        (self._overrun.add if unread else self._overrun.discard)(partition)
