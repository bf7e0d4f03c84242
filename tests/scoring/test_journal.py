"""The journal: an answer is never kept waiting, and what does not reach the log is counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from behavior.errors import Unavailable
from behavior.partition import partition_of
from behavior.served import SERVED_ENTRY, decode
from scoring import journal as journals
from scoring.answer import Answer
from scoring.journal import Journal
from scoring.log_writer import Offer
from tests.scoring.rankings import ranking_of


def answer(number: int, user: str = "k1-u") -> Answer:
    return Answer(f"r{number}", user, None, 1000 + number, 0, 0, "b", "purchase_7d", None, 0, ranking_of(), ())


class Kept:
    """A log that keeps what it is given, or fails: altogether, or in one partition."""

    def __init__(self, failure: Exception | None = None, partition: int | None = None, after_s: float = 0.0) -> None:
        self.failure, self.partition, self.after_s = failure, partition, after_s
        self.appended: list[tuple[int, list[str], int]] = []
        self.calls = 0

    async def append_many(self, offers: Mapping[int, tuple[Sequence[Offer], int]]) -> dict[int, Exception]:
        self.calls += 1
        await asyncio.sleep(self.after_s)
        if self.failure and self.partition is None:
            raise self.failure
        failed = {number: self.failure for number in offers if self.failure and number == self.partition}
        for number, (said, now) in offers.items():
            assert {offer.what for offer in said} == {SERVED_ENTRY}
            if number not in failed:
                self.appended.append((number, [decode(offer.body).request_id for offer in said], now))
        return {number: failure for number, failure in failed.items() if failure}


def recorded(log: Kept, answers: list[Answer], drain_s: float = 5.0) -> dict[str, int]:
    """Record the answers at once, let the journal run dry, and count what it lost, by why."""
    lost = Counter[str]()

    async def run() -> None:
        journal = Journal(log, 4, lambda entries, reason: lost.update({reason: entries}))  # type: ignore[arg-type]
        for each in answers:
            journal.record(each)
        writing = asyncio.create_task(journal.run())
        await journal.drain(drain_s)
        assert not writing.done(), "the journal goes on"
        writing.cancel()

    asyncio.run(run())
    return dict(lost)


def test_entries_reach_their_users_partition_in_order() -> None:
    """All answers are appended, those of one user in one place and in order, not before they were made."""
    log = Kept()
    users = [f"k1-{i}" for i in range(9)]
    assert recorded(log, [answer(i, users[i % 9]) for i in range(450)]) == {}
    assert sum(len(ids) for _, ids, _ in log.appended) == 450
    assert log.calls == 3, "one round trip for 200 entries of any partitions"
    for user in range(9):
        mine = [
            (partition, int(each[1:]))
            for partition, ids, _ in log.appended
            for each in ids
            if int(each[1:]) % 9 == user
        ]
        assert len({partition for partition, _ in mine}) == 1
        assert mine == sorted(mine)
    assert all(now >= 1000 + max(int(each[1:]) for each in ids) for _, ids, now in log.appended)


def test_a_lone_entry_goes_at_once_and_those_that_follow_fast_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first the journal pauses: what comes meanwhile takes one round trip, however many, however apart."""
    log = Kept()

    async def run() -> None:
        monkeypatch.setattr(journals, "PAUSE_S", 0.0)
        journal = Journal(log, 4)  # type: ignore[arg-type]
        writing = asyncio.create_task(journal.run())
        for number in range(1, 3):  # each alone, since nothing else comes during its pause
            journal.record(answer(number))
            await journal.drain(5.0)
            await asyncio.sleep(0.001)
            assert log.calls == number
        monkeypatch.setattr(journals, "PAUSE_S", 0.5)
        for number in range(50):
            journal.record(answer(number))
            await asyncio.sleep(0)
        await journal.drain(5.0)
        writing.cancel()

    asyncio.run(run())
    assert [len(ids) for _, ids, _ in log.appended] == [1, 1, 1, 49]


@pytest.mark.parametrize("failure", [Unavailable("away"), ZeroDivisionError()])
def test_what_the_log_does_not_take_is_counted_as_lost(failure: Exception) -> None:
    """A log that fails, however it does, costs entries and neither the answer nor the journal."""
    assert recorded(Kept(failure), [answer(i) for i in range(7)]) == {"log": 7}


def test_a_partition_that_fails_costs_its_own_entries_alone() -> None:
    """What other partitions were offered in the same round trip is there."""
    users = [f"k1-{i}" for i in range(9)]
    ill = partition_of(users[0], 4)
    theirs = [user for user in users if partition_of(user, 4) == ill]
    log = Kept(Unavailable("full"), ill)
    assert recorded(log, [answer(i, user) for i, user in enumerate(users)]) == {"log": len(theirs)}
    assert sum(len(ids) for _, ids, _ in log.appended) == len(users) - len(theirs)


def test_what_does_not_get_there_before_the_end_is_counted() -> None:
    """A journal that is drained for too short a time has lost all that is waiting or on its way."""
    assert recorded(Kept(after_s=30.0), [answer(i) for i in range(250)], drain_s=0.05) == {"ending": 250}


def test_a_full_journal_loses_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its capacity, recording returns at once and counts the loss."""
    monkeypatch.setattr(journals, "CAPACITY", 5)
    log = Kept()
    assert recorded(log, [answer(i) for i in range(8)]) == {"full": 3}
    assert sum(len(ids) for _, ids, _ in log.appended) == 5
