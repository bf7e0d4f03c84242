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
from deployment.connections import connect_serving, converse, open_async, open_blocking
from deployment.keys import Keys
from deployment.settings import load
from scoring.dead_letters import DeadLetters
from scoring.log import Log
from scoring.log_writer import Fate, Letter, LogWriter, Offer, offer_dropped, offer_event, offer_rejected, offer_served

PARTITIONS = 4
NOW = 1_508_040_000_000_001
HORIZON_H = 48
HORIZON_US = HORIZON_H * HOUR_US


class Partitions:
    """The log under one prefix, written through its script and read back."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.keys = Keys(prefix, PARTITIONS)
        self.client = redis.Redis.from_url(url)
        self.log = Log(self.client, self.keys)

    def append(self, offers: Sequence[Offer], now: int = NOW, partition: int = 0, kept: int = 1000) -> list[Fate]:
        """What becomes of the offers when so many dead letters are kept."""

        async def appended() -> list[Fate]:
            async with redis.asyncio.Redis.from_url(self.url) as client:
                return await LogWriter(client, self.keys, HORIZON_H, kept).append(partition, offers, now)

        return asyncio.run(appended())

    def dead(self, partition: int = 0) -> list[tuple[int, bytes, bytes]]:
        """The instants, reasons and letters of what was rejected."""
        entries = self.client.xrange(self.keys.dead(partition))
        return [(int(entry_id.removesuffix(b"-0")), fields[b"r"], fields[b"s"]) for entry_id, fields in entries]

    def counts(self, partition: int = 0) -> dict[str, int]:
        """The counters of the partition."""
        return {name.decode(): int(n) for name, n in self.client.hgetall(self.keys.counts(partition)).items()}


@pytest.fixture
def log(redis_url: str, prefix: str) -> Partitions:
    return Partitions(redis_url, prefix)


def event(message_id: str, t: int = NOW, letter: Letter | None = None) -> Offer:
    made = Event(message_id, "purchase", "k1-a", t, purposes=1)
    return offer_event(made, letter or (lambda reason: f"{message_id}:{reason}".encode()))


def rejected(reason: str, letter: bytes = b"letter") -> Offer:
    return offer_rejected(reason, lambda _: letter)


def unneeded(reason: str) -> bytes:
    raise AssertionError(f"sealed without need, for {reason}")


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


def test_what_is_rejected_is_kept_with_its_reason(log: Partitions) -> None:
    """Whatever it is rejected for, and wherever that is found out, the letter and its count come in one step."""
    far, old = NOW + 2 * HORIZON_US, NOW - 2 * HORIZON_US
    log.append([rejected("bad_kind", b"1"), event("a"), event("b", far), event("c", old), event("a", old)])
    assert log.dead() == [
        (NOW, b"bad_kind", b"1"), (NOW + 1, b"too_early", b"b:too_early"), (NOW + 2, b"too_late", b"c:too_late"),
    ]  # fmt: skip
    assert log.counts() == {
        "received": 5, "accepted": 1, "duplicate": 1, "rejected:bad_kind": 1, "rejected:too_early": 1,
        "rejected:too_late": 1,
    }  # fmt: skip


def test_letters_never_stand_in_the_way_of_events(log: Partitions) -> None:
    """Letters take no admission instants; theirs grow under a clock that stands still, even after all are gone."""
    for _ in range(3):
        log.append([rejected("bad_kind"), rejected("bad_kind")])
    assert [instant for instant, _, _ in log.dead()] == [NOW + i for i in range(6)]
    assert log.append([event("a")])[0].k == NOW
    log.client.xtrim(log.keys.dead(0), maxlen=0, approximate=False)
    log.append([rejected("bad_kind")])
    assert [instant for instant, _, _ in log.dead()] == [NOW + 6]


def test_nothing_is_sealed_without_need(log: Partitions) -> None:
    """An event that is on time, a repetition of one included, never has its letter made."""
    for _ in range(2):
        log.append(
            [event("a", NOW, unneeded), event("b", NOW - HORIZON_US // 2, unneeded), event("c", NOW + 1, unneeded)]
        )
    with pytest.raises(AssertionError, match="too_late"):
        log.append([event("d", NOW - HORIZON_US, unneeded)])


def test_an_event_that_is_late_by_the_logs_own_instants_is_offered_again_with_its_letter(log: Partitions) -> None:
    """Where the log is ahead of the clock an event without its letter counts for nothing until it comes with it."""
    log.append([event("a")], now=NOW + HORIZON_US)
    sealed: list[str] = []

    def letter(reason: str) -> bytes:
        sealed.append(reason)
        return b"letter"

    fates = log.append([event("b", NOW, letter), event("c", NOW + 10, letter), offer_served(served("r"))])
    assert [fate[:2] for fate in fates] == [("rejected", "too_late"), ("accepted", ""), ("served", "")]
    assert sealed == ["too_late"]
    assert log.dead() == [(NOW + HORIZON_US + 3, b"too_late", b"letter")]
    assert log.counts() == {"received": 3, "accepted": 2, "rejected:too_late": 1}


def test_letters_are_kept_for_the_horizon(log: Partitions) -> None:
    """A letter goes as soon as it is older than the horizon and anything comes, or with time when nothing does."""
    log.append([rejected("bad_kind")])
    assert 0 < log.client.pttl(log.keys.dead(0)) <= HORIZON_US / 1000
    log.append([rejected("no_user")], now=NOW + 5)
    log.append([event("a", NOW + HORIZON_US)], now=NOW + HORIZON_US)
    assert len(log.dead()) == 2
    log.append([event("b", NOW + HORIZON_US)], now=NOW + HORIZON_US + 1)
    assert log.dead() == [(NOW + 5, b"no_user", b"letter")]
    assert "letters_lost" not in log.counts()


def test_letters_are_bounded_and_what_is_lost_is_counted(log: Partitions) -> None:
    """However much is rejected, only so many letters stay, the newest; those pushed out or not there are counted."""
    log.append([rejected("bad_kind", str(i).encode()) for i in range(10)], kept=4)
    log.append([rejected("bad_kind", b"last"), rejected("bad_kind", b"")], kept=4)
    assert [letter for _, _, letter in log.dead()] == [b"7", b"8", b"9", b"last"]
    assert log.counts() == {"received": 12, "rejected:bad_kind": 12, "letters_lost": 8}


def test_a_sealed_log_takes_nothing(log: Partitions) -> None:
    """Once a partition is sealed nothing changes in it, whatever it is offered, until it is opened again."""
    log.append([event("a"), rejected("bad_kind")])
    log.client.hset(log.keys.meta(0), "sealed", 1)
    everything = [event("b"), event("a"), event("c", 5), rejected("x"), offer_dropped("y"), offer_served(served("r"))]
    names = (log.keys.stream(0), log.keys.meta(0), log.keys.counts(0), log.keys.dead(0))
    before = [log.client.dump(name) for name in names]
    for offers in ([each] for each in everything):
        with pytest.raises(Unavailable, match="moved"):
            log.append(offers, now=NOW + 2 * HORIZON_US)
    assert [log.client.dump(name) for name in names] == before
    log.client.hdel(log.keys.meta(0), "sealed")
    assert log.append([event("b")])[0].status == "accepted"


def test_without_room_nothing_is_sent(log: Partitions) -> None:
    """The log is not even asked while there is no room."""

    def refuse() -> None:
        raise Unavailable("full")

    writer = LogWriter(redis.asyncio.Redis.from_url("redis://127.0.0.1:1"), log.keys, HORIZON_H, check_room=refuse)
    with pytest.raises(Unavailable, match="full"):
        asyncio.run(writer.append(0, [event("a")], NOW))


def test_received_is_the_sum_of_what_became_of_events(log: Partitions) -> None:
    """received = accepted + duplicate + rejected + dropped, whatever is offered; served entries stand outside."""
    rng = random.Random(7)
    offered = 0
    for _ in range(20):
        offers = [
            rng.choice([event(str(rng.randrange(30))), event(f"old{rng.random()}", 0), rejected("bad_kind"),
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
        log.append([rejected("bad_kind"), event("b"), event("c")])
    assert log.counts() == {"received": 2, "accepted": 1, "rejected:bad_kind": 1}
    assert len(log.dead()) == 1
    assert not log.client.exists(log.keys.dedupe(0, "b"))
    assert [fate.status for fate in log.append([event("b"), event("c")], now=NOW + 3)] == ["accepted", "accepted"]


def test_a_letter_that_cannot_be_stored_is_not_acknowledged(log: Partitions) -> None:
    """When the dead letters refuse, neither the event nor what follows is counted; what came before is."""
    log.client.set(log.keys.dead(0), "no stream")
    with pytest.raises(Unavailable):
        log.append([event("a"), rejected("bad_kind"), event("b")])
    assert log.counts() == {"received": 1, "accepted": 1}
    log.client.delete(log.keys.dead(0))
    fates = log.append([event("a"), rejected("bad_kind"), event("b")])
    assert [fate.status for fate in fates] == ["duplicate", "rejected", "accepted"]


def test_a_redis_that_is_away_is_unavailable() -> None:
    """Nothing is acknowledged when there is no Redis."""
    with pytest.raises(Unavailable):
        Partitions("redis://127.0.0.1:1", "x").append([event("a")])


def test_a_cluster_takes_the_same(cluster_url: str, prefix: str) -> None:
    """All keys of a partition are on one node: events, letters and counts of every partition come in one step there."""
    keys = Keys(prefix, PARTITIONS)

    async def appended() -> list[list[str]]:
        async with open_async(cluster_url, cluster=True) as client:
            writer = LogWriter(client, keys, HORIZON_H)
            offers = [event("a"), event("old", 5), rejected("bad_kind"), event("a"), offer_served(served("r"))]
            fates = [await writer.append(partition, offers, NOW) for partition in range(PARTITIONS)]
            return [[fate.status for fate in each] for each in fates]

    assert asyncio.run(appended()) == [["accepted", "rejected", "rejected", "duplicate", "served"]] * PARTITIONS
    with open_blocking(cluster_url, cluster=True) as client:
        assert [len(list(DeadLetters(client, keys).kept(0, reason))) for reason in (None, "too_late")] == [8, 4]


@pytest.mark.parametrize("kind", ["a conversation", "a client", "a cluster"])
def test_many_partitions_take_theirs_in_one_round_trip(
    redis_url: str, cluster_url: str, prefix: str, kind: str
) -> None:
    """Also when Redis has forgotten the script; one that takes nothing says why and costs the others nothing."""
    cluster = kind == "a cluster"
    url, keys = cluster_url if cluster else redis_url, Keys(prefix, PARTITIONS)
    settings = load(redis_url=url, redis_cluster=cluster)
    bodies = {number: [b"%d/%d" % (number, place) for place in range(3)] for number in range(PARTITIONS)}
    offers = {number: ([offer_served(body) for body in mine], NOW) for number, mine in bodies.items()}

    async def appended() -> list[dict[int, Unavailable]]:
        async with (connect_serving if kind == "a client" else converse)(settings) as client:
            writer = LogWriter(client, keys, HORIZON_H)
            return [await writer.append_many(each) for each in ({}, offers, offers, {1: offers[1]})]

    with open_blocking(url, cluster=cluster) as client:
        client.script_flush()
        client.hset(keys.meta(2), "sealed", 1)
        client.set(keys.stream(3), "no stream")
        nothing, first, second, last = asyncio.run(appended())
        assert (nothing, last) == ({}, {})
        for failed in (first, second):
            assert {number: str(error) for number, error in failed.items()} == {
                2: "the log is being moved to another number of partitions",
                3: "the log could not take entries (ResponseError)",
            }
        for number, times in ((0, 2), (1, 3)):
            kept = client.xrange(keys.stream(number))
            assert [fields[b"b"] for _, fields in kept] == bodies[number] * times
            assert [int(entry_id.partition(b"-")[0]) for entry_id, _ in kept] == list(range(NOW, NOW + 3 * times))


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
