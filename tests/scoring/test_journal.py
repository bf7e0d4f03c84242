"""The journal: an answer is never kept waiting, and what does not reach the log is counted."""

import asyncio

import pytest

from behavior.errors import Unavailable
from behavior.served import SERVED_ENTRY, decode
from scoring import journal as journals
from scoring.answer import Answer
from scoring.journal import Journal
from scoring.log_writer import Fate, Offer


def answer(number: int, user: str = "k1-u") -> Answer:
    return Answer(f"r{number}", user, None, 1000 + number, 0, 0, "b", "purchase_7d", None, 0, (), ())


class Kept:
    """A log that keeps what it is given, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.appended: list[tuple[int, list[str], int]] = []

    async def append(self, partition: int, offers: list[Offer], now: int) -> list[Fate]:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        assert {offer.what for offer in offers} == {SERVED_ENTRY}
        self.appended.append((partition, [decode(offer.body).request_id for offer in offers], now))
        return []


def recorded(log: Kept, answers: list[Answer], drain_s: float = 5.0) -> int:
    """Record the answers at once, let the journal run dry, and count what it lost."""
    lost: list[int] = []

    async def run() -> None:
        journal = Journal(log, 4, lost.append)  # type: ignore[arg-type]
        for each in answers:
            journal.record(each)
        writing = asyncio.create_task(journal.run())
        await journal.drain(drain_s)
        assert not writing.done(), "the journal goes on"
        writing.cancel()

    asyncio.run(run())
    return sum(lost)


def test_entries_reach_their_users_partition_in_order() -> None:
    """All answers are appended, those of one user in one place and in order, not before they were made."""
    log = Kept()
    users = [f"k1-{i}" for i in range(9)]
    assert recorded(log, [answer(i, users[i % 9]) for i in range(450)]) == 0
    assert sum(len(ids) for _, ids, _ in log.appended) == 450
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


@pytest.mark.parametrize("failure", [Unavailable("away"), ZeroDivisionError()])
def test_what_the_log_does_not_take_is_counted_as_lost(failure: Exception) -> None:
    """A log that fails, however it does, costs entries and neither the answer nor the journal."""
    assert recorded(Kept(failure), [answer(i) for i in range(7)]) == 7


def test_a_full_journal_loses_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its capacity, recording returns at once and counts the loss."""
    monkeypatch.setattr(journals, "CAPACITY", 5)
    log = Kept()
    assert recorded(log, [answer(i) for i in range(8)]) == 3
    assert sum(len(ids) for _, ids, _ in log.appended) == 5
