"""What was answered, on its way to the log: recorded after the answer, never in its way.

A bounded queue and one task that empties it: what has come together meanwhile goes to all its partitions in one round
trip, and to Redis's disk in one go. Nobody waits for that, so while answers come fast it happens PAUSE_S apart: an
entry that goes with thirty others costs us a fourth, and Redis a third, of one that goes alone. When the queue is full
or the log does not take an entry, the entry is lost, and the loss is counted by its reason: the learner learns less,
nobody waits.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from behavior.errors import OpportuneError
from behavior.partition import partition_of
from scoring.answer import Answer
from scoring.journal_entry import entry_of
from scoring.log_writer import LogWriter, Offer, offer_served
from scoring.process import is_cancelled
from scoring.request_id import request_id_of

_log = logging.getLogger("opportune.journal")
# Answers that may wait, some 10 kB each.
CAPACITY = 5_000
# Entries that go to the log in one go.
BATCH = 200
# Entries that are made before requests go on: a fraction of a millisecond.
IN_ONE_GO = 10
# Between two goes, unless BATCH entries wait already. Shorter than anybody takes to act on what they are shown, whose
# event must find the entry in the log before it.
PAUSE_S = 0.05
# Why entries are lost: the queue was full, the log did not take them, the process had to end before.
LOST_FOR = FULL, LOG, ENDING = "full", "log", "ending"


class Journal:
    """Appends served entries to the partitions of their users.

    lost     called with how many entries did not get there, and why: `full`, `log` or `ending`
    entry    the bytes of an answer's entry as the log is to keep them
    """

    def __init__(
        self,
        log: LogWriter,
        partitions: int,
        lost: Callable[[int, str], None] = lambda entries, reason: None,
        entry: Callable[[Answer], bytes] = entry_of,
    ) -> None:
        self._log = log
        self._partitions = partitions
        self._lost = lost
        self._entry = entry
        self._waiting: deque[Answer] = deque()
        self._under_way = 0
        self._came, self._all_gone = asyncio.Event(), asyncio.Event()

    def request_id(self, user_id: str, as_of: int) -> str:
        """A new name for an answer, by which its entry is found."""
        return request_id_of(partition_of(user_id, self._partitions), as_of)

    def record(self, answer: Answer) -> None:
        """Hand an answer over; returns at once."""
        if len(self._waiting) >= CAPACITY:
            self._lost(1, FULL)
            return
        self._waiting.append(answer)
        self._came.set()

    async def run(self) -> None:
        """Empty the queue into the log for ever."""
        while not is_cancelled():
            await self._came.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._under_way = len(batch)
            try:
                await self._append(batch)
            finally:
                self._under_way = 0
                if not self._waiting:
                    self._came.clear()
                    self._all_gone.set()
            if len(self._waiting) < BATCH:
                await asyncio.sleep(PAUSE_S)

    async def drain(self, timeout_s: float) -> None:
        """Wait until all that was recorded has gone to the log, or for so long; the rest counts as lost.

        The process ends then: what is on its way still may be taken or not.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._waiting or self._under_way:
                    self._all_gone.clear()
                    await self._all_gone.wait()
        except TimeoutError:
            self._lost(len(self._waiting) + self._under_way, ENDING)

    async def _append(self, answers: Sequence[Answer]) -> None:
        by_partition: dict[int, list[Answer]] = {}
        for answer in answers:
            by_partition.setdefault(partition_of(answer.user_id, self._partitions), []).append(answer)
        failed: dict[int, Exception] = {}
        try:
            offers: dict[int, tuple[list[Offer], int]] = {}
            made = 0
            for number, mine in by_partition.items():
                offers[number] = self._offers(mine)
                made += len(mine)
                if made >= IN_ONE_GO:
                    made = 0
                    await asyncio.sleep(0)
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
        return [offer_served(self._entry(answer)) for answer in answers], now
