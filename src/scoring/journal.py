"""What was answered, on its way to the log: recorded after the answer, never in its way.

A bounded queue and one task that empties it. When the queue is full or the log does not take an entry, the entry is
lost, and the loss is counted: the learner learns less, nobody waits.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from behavior.errors import OpportuneError
from behavior.partition import partition_of
from scoring.answer import Answer, served
from scoring.log_writer import LogWriter, offer_served
from scoring.process import is_cancelled

_log = logging.getLogger("opportune.journal")
CAPACITY = 10_000
# Entries that go to the log in one go.
BATCH = 200


class Journal:
    """Appends served entries to the partitions of their users; `lost(how many)` is called for those that are not."""

    def __init__(self, log: LogWriter, partitions: int, lost: Callable[[int], None] = lambda entries: None) -> None:
        self._log = log
        self._partitions = partitions
        self._lost = lost
        self._queue: asyncio.Queue[Answer] = asyncio.Queue(CAPACITY)

    def record(self, answer: Answer) -> None:
        """Hand an answer over; returns at once."""
        try:
            self._queue.put_nowait(answer)
        except asyncio.QueueFull:
            self._lost(1)

    async def run(self) -> None:
        """Empty the queue into the log for ever."""
        while not is_cancelled():
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._append(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all that was recorded has gone to the log, or for so long; the rest counts as lost."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            self._lost(self._queue.qsize())

    async def _append(self, answers: Sequence[Answer]) -> None:
        by_partition: dict[int, list[Answer]] = {}
        for answer in answers:
            by_partition.setdefault(partition_of(answer.user_id, self._partitions), []).append(answer)
        appended = await asyncio.gather(
            *(self._append_partition(partition, mine) for partition, mine in by_partition.items()),
            return_exceptions=True,
        )
        for mine, failure in zip(by_partition.values(), appended, strict=True):
            if isinstance(failure, BaseException):
                self._lost(len(mine))
                trace = None if isinstance(failure, OpportuneError) else failure
                _log.warning("%d served entries are lost: %s", len(mine), failure, exc_info=trace)

    async def _append_partition(self, partition: int, answers: Sequence[Answer]) -> None:
        # What was shown cannot have been before the instant that it was made for.
        now = max(answer.as_of for answer in answers)
        await self._log.append(partition, [offer_served(served(answer)) for answer in answers], now)
