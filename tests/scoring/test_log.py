"""The log, on a real Redis: admission instants, de-duplication, counting, and reading on from an offset."""

import asyncio
import random
from collections.abc import Sequence

import pytest
import redis
import redis.asyncio

from behavior.errors import Unavailable
from behavior.event import HOUR_US, Event
from behavior.served import EVENT_ENTRY, SERVED_ENTRY, Served
from deployment.keys import Keys
from scoring.log import Fate, Log, LogWriter, Offer, offer_dropped, offer_event, offer_rejected, offer_served

NOW = 1_508_040_000_000_001
HORIZON_H = 48
HORIZON_US = HORIZON_H * HOUR_US


class Partitions:
    """The log under one prefix, written through its script and read back."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.keys = Keys(prefix)
        self.client = redis.Redis.from_url(url)
        self.log = Log(self.client, self.keys)

    def append(self, offers: Sequence[Offer], now: int = NOW, partition: int = 0) -> list[Fate]:
        """What the script answers."""

        async def appended() -> list[Fate]:
            async with redis.asyncio.Redis.from_url(self.url) as client:
                return await LogWriter(client, self.keys, HORIZON_H).append(partition, offers, now)

        return asyncio.run(appended())

    def counts(self, partition: int = 0) -> dict[str, int]:
        """The counters of the partition."""
        return {name.decode(): int(n) for name, n in self.client.hgetall(self.keys.counts(partition)).items()}


@pytest.fixture
def log(redis_url: str, prefix: str) -> Partitions:
    return Partitions(redis_url, prefix)


def event(message_id: str, t: int = NOW) -> Offer:
    return offer_event(Event(message_id, "purchase", "k1-a", t, purposes=1))


def served(request_id: str) -> Served:
    return Served(request_id, "k1-a", NOW, 0, NOW, "b", 0, ())


def test_k_is_now_and_then_one_more_than_the_last(log: Partitions) -> None:
    """Under a clock that stands still, k grows by one; entry ids are `<k>-0`, without exponents."""
    fates = log.append([event("a"), event("b"), offer_served(served("r")), event("c")])
    assert [fate.k for fate in fates] == [NOW, NOW + 1, NOW + 2, NOW + 3]
    assert log.client.xrange(log.keys.stream(0))[0][0] == b"1508040000000001-0"
    assert log.append([event("d")], now=NOW - 10)[0].k == NOW + 4
    meta = log.client.hgetall(log.keys.meta(0))
    assert meta == {b"first_k": str(NOW).encode(), b"last_k": str(NOW + 4).encode()}


def test_a_message_id_is_taken_once(log: Partitions) -> None:
    """A repetition, in the same call or later, is a duplicate with the first one's instant, and is not stored."""
    first, second = log.append([event("a"), event("a")])
    later = log.append([event("a")], now=NOW + HOUR_US)[0]
    assert (first.status, second.status, later.status) == ("accepted", "duplicate", "duplicate")
    assert first.k == second.k == later.k
    assert len(log.log.read({0: 0}, 0, 10)) == 1


def test_an_event_far_in_the_future_is_refused(log: Partitions) -> None:
    """A clock that is wrong by more than the horizon is told so, and leaves nothing behind in Redis."""
    (fate,) = log.append([event("a", NOW + HORIZON_US + 1)])
    assert (fate.status, fate.reason) == ("rejected", "too_early")
    assert not log.client.exists(log.keys.dedupe(0, "a"))


@pytest.mark.parametrize("ahead_us", [-HORIZON_US, -1, 0, HORIZON_US])
def test_a_repetition_is_recognised_for_as_long_as_it_would_not_be_too_late(log: Partitions, ahead_us: int) -> None:
    """The key of an event outlives the last instant at which the event could be admitted again, and no longer."""
    log.append([event("a", NOW + ahead_us)])
    left_ms = log.client.pttl(log.keys.dedupe(0, "a"))
    until_too_late_ms = (ahead_us + HORIZON_US) / 1000
    assert until_too_late_ms - 10_000 < left_ms <= until_too_late_ms + 1


def test_too_late_is_older_than_the_horizon(log: Partitions) -> None:
    """k − e = H is taken, one microsecond more is refused and leaves nothing behind but its count."""
    taken, refused = log.append([event("a", NOW - HORIZON_US), event("b", NOW - HORIZON_US)])  # k is NOW, NOW + 1
    assert (taken.status, refused) == ("accepted", Fate("rejected", "too_late"))
    assert not log.client.exists(log.keys.dedupe(0, "b"))


def test_received_is_the_sum_of_what_became_of_events(log: Partitions) -> None:
    """received = accepted + duplicate + rejected + dropped, whatever is offered; served entries stand outside."""
    rng = random.Random(7)
    offered = 0
    for _ in range(20):
        offers = [
            rng.choice([event(str(rng.randrange(30))), event(f"old{rng.random()}", 0), offer_rejected("bad_kind"),
                        offer_dropped("consent")])
            for _ in range(rng.randrange(1, 20))
        ]  # fmt: skip
        log.append([*offers, offer_served(served("r"))])
        offered += len(offers)
    counts = log.counts()
    parts = [name for name in counts if name != "received"]
    assert {"accepted", "duplicate", "rejected:too_late", "rejected:bad_kind", "dropped:consent"} == set(parts)
    assert counts["received"] == offered == sum(counts[name] for name in parts)
    entries = log.log.read({0: 0}, 0, 10_000)
    assert counts["accepted"] == sum(entry.type == EVENT_ENTRY for entry in entries)
    assert sum(entry.type == SERVED_ENTRY for entry in entries) == 20


def test_what_cannot_be_stored_is_not_acknowledged(log: Partitions) -> None:
    """When the stream refuses in the middle of a batch the call fails; offered again later, all of it is taken."""
    log.append([event("a")])
    log.client.xadd(log.keys.stream(0), {"t": "e", "b": "x"}, id=f"{NOW + 2}-0")  # the stream is ahead of its meta
    with pytest.raises(Unavailable):
        log.append([offer_rejected("bad_kind"), event("b"), event("c")])
    assert log.counts() == {"received": 2, "accepted": 1, "rejected:bad_kind": 1}
    assert not log.client.exists(log.keys.dedupe(0, "b"))
    assert [fate.status for fate in log.append([event("b"), event("c")], now=NOW + 3)] == ["accepted", "accepted"]


def test_a_redis_that_is_away_is_unavailable() -> None:
    """Nothing is acknowledged when there is no Redis."""
    with pytest.raises(Unavailable):
        Partitions("redis://127.0.0.1:1", "x").append([event("a")])


def test_readers_read_on_from_their_offsets(log: Partitions) -> None:
    """Each partition is read after its own offset, in order, at most `count` of each."""
    for number in range(3):
        log.append([event(f"{number}-{i}") for i in range(5)], partition=number)
    entries = log.log.read({0: NOW + 1, 1: 0, 2: NOW + 4}, 0, 2)
    assert [(entry.partition, entry.k) for entry in entries] == [(0, NOW + 2), (0, NOW + 3), (1, NOW), (1, NOW + 1)]
    assert log.log.read({2: NOW + 4}, 20, 10) == []
    assert log.log.read({}, 0, 10) == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_read_the_same(log: Partitions, protocol: int) -> None:
    """redis-py answers XREAD in different shapes for RESP2 and RESP3; readers see one."""
    log.append([event("a"), event("b")])
    client = redis.Redis.from_url(f"{log.url}?protocol={protocol}")
    assert [entry.k for entry in Log(client, log.keys).read({0: 0, 1: 0}, 0, 10)] == [NOW, NOW + 1]
