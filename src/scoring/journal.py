"""What was answered, on its way to the log: recorded after the answer, never in its way.

A bounded queue and one task that empties it: what has come together meanwhile goes to all its partitions in one round
trip, and to Redis's disk in one go. Nobody waits for that, so while answers come fast it happens PAUSE_S apart: an
entry that goes with thirty others costs us a fourth, and Redis a third, of one that goes alone. When the queue is full
or the log does not take an entry, the entry is lost, and the loss is counted by its reason: the learner learns less,
nobody waits.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from behavior.errors import OpportuneError
from behavior.partition import partition_of
from behavior.served import Served, encode
from scoring.answer import Answer, served
from scoring.log_writer import LogWriter, Offer, offer_served
from scoring.process import is_cancelled
from scoring.request_id import request_id_of

_log = logging.getLogger("opportune.journal")
# Answers that may wait, some 10 kB each.
CAPACITY = 5_000
# Entries that go to the log in one go.
BATCH = 200
# Between two goes, unless BATCH entries wait already. Shorter than anybody takes to act on what they are shown, whose
# event must find the entry in the log before it.
PAUSE_S = 0.05
# Why entries are lost: the queue was full, the log did not take them, the process had to end before.
FULL, LOG, ENDING = "full", "log", "ending"


class Journal:
    """Appends served entries to the partitions of their users.

    lost     called with how many entries did not get there, and why: `full`, `log` or `ending`
    sealed   the bytes of an entry as the log is to keep them
    """

    def __init__(
        self,
        log: LogWriter,
        partitions: int,
        lost: Callable[[int, str], None] = lambda entries, reason: None,
        sealed: Callable[[Served], bytes] = encode,
    ) -> None:
        self._log = log
        self._partitions = partitions
        self._lost = lost
        self._sealed = sealed
        self._queue: asyncio.Queue[Answer] = asyncio.Queue(CAPACITY)
        self._under_way = 0

    def request_id(self, user_id: str, as_of: int) -> str:
        """A new name for an answer, by which its entry is found."""
        return request_id_of(partition_of(user_id, self._partitions), as_of)

    def record(self, answer: Answer) -> None:
        """Hand an answer over; returns at once."""
        try:
            self._queue.put_nowait(answer)
        except asyncio.QueueFull:
            self._lost(1, FULL)

    async def run(self) -> None:
        """Empty the queue into the log for ever."""
        while not is_cancelled():
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._under_way = len(batch)
            try:
                await self._append(batch)
            finally:
                self._under_way = 0
                for _ in batch:
                    self._queue.task_done()
            if self._queue.qsize() < BATCH:
                await asyncio.sleep(PAUSE_S)

    async def drain(self, timeout_s: float) -> None:
        """Wait until all that was recorded has gone to the log, or for so long; the rest counts as lost.

        The process ends then: what is on its way still may be taken or not.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            self._lost(self._queue.qsize() + self._under_way, ENDING)

    async def _append(self, answers: Sequence[Answer]) -> None:
        by_partition: dict[int, list[Answer]] = {}
        for answer in answers:
            by_partition.setdefault(partition_of(answer.user_id, self._partitions), []).append(answer)
        failed: dict[int, Exception] = {}
        try:
            offers: dict[int, tuple[list[Offer], int]] = {}
            for number, mine in by_partition.items():
                offers[number] = self._offers(mine)
                await asyncio.sleep(0)  # many entries take some milliseconds to make: requests go on meanwhile
            failed |= await self._log.append_many(offers)
        except Exception as error:  # whatever it is, the journal must go on
            failed |= dict.fromkeys(by_partition, error)
        for number, why in failed.items():
            self._lost(len(by_partition[number]), LOG)
            trace = None if isinstance(why, OpportuneError) else why
            _log.warning("%d served entries are lost: %s", len(by_partition[number]), why, exc_info=trace)

    def _offers(self, answers: Sequence[Answer]) -> tuple[list[Offer], int]:
        # What was shown cannot have been before the instant that it was made for.
        now = max(answer.as_of for answer in answers)
        return [offer_served(self._sealed(served(answer))) for answer in answers], now
