"""The accounts, on a real Redis: they add up at any moment, whatever comes, and after kill -9."""

import asyncio
import os
import random
import signal
import threading
import time
from pathlib import Path

import prometheus_client
import pytest
import redis
import redis.asyncio

from behavior.errors import Unavailable
from behavior.event import HOUR_US
from deployment.connections import open_async
from deployment.keys import Keys
from deployment.redis_server import redis_server
from scoring.accounting import Accounting, Accounts, exposed
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.entrance import PARTITIONS, START, Entrance, collect, reported

HORIZON_US = 48 * HOUR_US
WRITERS = 4


@pytest.fixture
def entrance(tmp_path: Path, redis_url: str, prefix: str) -> Entrance:
    return Entrance(tmp_path, redis_url, prefix, dead_letters=50)


def anything(rng: random.Random) -> wire.Event:
    """Any kind of event: new, repeated, late, early, malformed in many ways, or without consent."""
    fresh = f"m{rng.random()}"
    makers = (
        lambda: reported(fresh, user_id=str(rng.randrange(50))),
        lambda: reported(f"again {rng.randrange(20)}", user_id=str(rng.randrange(3))),
        lambda: reported(fresh, user_id=str(rng.randrange(9)), event_time=START - HORIZON_US + rng.randrange(-3, 400)),
        lambda: reported(fresh, event_time=START + HORIZON_US + rng.randrange(-3, 400)),
        lambda: reported(fresh, kind="BAD"),
        lambda: reported("", user_id=None),
        lambda: reported(fresh, user_id="u" * 300),
        lambda: reported(fresh, currency="EUR", properties={"unlisted": "x" * rng.choice([1, 20_000])}),
        lambda: reported(fresh, consent=[]),
        lambda: reported(fresh, consent=[], kind="BAD"),
    )
    return rng.choice(makers)()


def writing(entrance: Entrance, stop: threading.Event, answered: list[int]) -> threading.Thread:
    """Four writers that track at once until told to stop; `answered` gets how many events each of them had answered."""

    async def write(client: "redis.asyncio.Redis", number: int) -> None:
        rng, entered = random.Random(number), collect(client, entrance.settings)
        while not stop.is_set():
            messages = [anything(rng) for _ in range(rng.randrange(1, 40))]
            try:
                answered[number] += len(await entered.track(messages))
            except (Unavailable, redis.RedisError):  # of the log, or of the replay's clock
                await asyncio.sleep(0.01)

    async def run() -> None:
        async with redis.asyncio.Redis.from_url(str(entrance.settings.redis_url)) as client:
            await asyncio.gather(*(write(client, number) for number in range(WRITERS)))

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    return thread


def held(entrance: Entrance) -> tuple[int, int, int]:
    """Of one partition after the other: it adds up. Returns how much there is of accounts, events and letters."""
    received = 0
    for partition in range(PARTITIONS):
        account = entrance.accounts(partition)
        assert account.gap == 0, (partition, account)
        received += account.received
    total, letters = entrance.counted(), len(list(entrance.letters.kept(0)))
    rejected = sum(number for name, number in total.items() if name.startswith("rejected:"))
    assert len(entrance.stored()) == total["accepted"]
    assert letters + total.get("letters_lost", 0) == rejected
    return received, total["accepted"], letters


def test_accounts_add_up_at_every_moment(entrance: Entrance) -> None:
    """While four writers track anything at all, every partition's counts add up whenever they are read."""
    stop, answered, seen = threading.Event(), [0] * WRITERS, 0
    writers = writing(entrance, stop, answered)
    try:
        deadline = time.monotonic() + 60
        while seen < 3_000:
            assert time.monotonic() < deadline
            accounts = [entrance.accounts(partition) for partition in range(PARTITIONS)]
            assert [account.gap for account in accounts] == [0] * PARTITIONS
            now = sum(account.received for account in accounts)
            assert now >= seen
            seen = now
    finally:
        stop.set()
        writers.join()
    received, accepted, letters = held(entrance)
    assert received == sum(answered)
    assert accepted
    assert 0 < letters <= 50 * PARTITIONS
    fates = {part for partition in range(PARTITIONS) for part in entrance.accounts(partition).fates}
    expected = {("rejected", reason) for reason in ("too_late", "too_early", "bad_kind", "bad_message_id", "bad_value")}
    assert (
        fates
        >= {("accepted", ""), ("duplicate", ""), ("dropped", "consent"), ("rejected", "wrong_currency")} | expected
    )
    assert entrance.counted()["letters_lost"] > 0


def test_a_kill_counts_nothing_by_half(tmp_path: Path, prefix: str) -> None:
    """After kill -9 in the middle of writing, what Redis has is whole: counts, events and letters agree."""
    directory = tmp_path / "redis"
    with redis_server(directory) as server:
        entrance = Entrance(tmp_path / "home", server.url, prefix)
        stop, answered, port = threading.Event(), [0] * WRITERS, server.port
        writers = writing(entrance, stop, answered)
        deadline = time.monotonic() + 60
        while sum(answered) < 1_000:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        stop.set()
        writers.join()
    with redis_server(directory, port=port):
        received, _, _ = held(entrance)
        assert received >= sum(answered) >= 1_000
        entrance.track([reported("after"), reported("after", kind="BAD")])
        assert held(entrance)[0] == received + 2


def test_prometheus_sees_the_accounts(entrance: Entrance) -> None:
    """Every fate with its reason, what was received, the gap, and the letters, over all partitions."""
    entrance.track([reported(), reported(), reported("m2", consent=[]), reported("m3", kind="BAD")])
    entrance.track([reported(str(i), user_id=str(i), event_time=5) for i in range(20)])
    assert refreshed(entrance.keys, str(entrance.settings.redis_url)) == {
        ("opportune_log_received_total", "", ""): 24, ("opportune_log_events_total", "accepted", ""): 1,
        ("opportune_log_events_total", "duplicate", ""): 1, ("opportune_log_events_total", "dropped", "consent"): 1,
        ("opportune_log_events_total", "rejected", "bad_kind"): 1,
        ("opportune_log_events_total", "rejected", "too_late"): 20, ("opportune_accounting_gap", "", ""): 0,
        ("opportune_dead_letters", "", ""): 21, ("opportune_dead_letters_lost_total", "", ""): 0,
    }  # fmt: skip
    assert shown() == {}


def test_a_gap_is_seen(entrance: Entrance) -> None:
    """If an account did not add up, the gauge would say by how much."""
    entrance.track([reported()])
    entrance.client.hincrby(entrance.keys.counts(3), "received", 2)
    assert refreshed(entrance.keys, str(entrance.settings.redis_url))[("opportune_accounting_gap", "", "")] == 2


def test_accounts_of_a_cluster(cluster_url: str, prefix: str) -> None:
    """Partitions on different nodes are read in one go."""
    keys = Keys(prefix, 64)

    async def fill() -> None:
        async with open_async(cluster_url, cluster=True) as client:
            for partition in range(64):
                await client.hset(keys.counts(partition), mapping={"received": 2, "accepted": 1, "rejected:x": 1})

    asyncio.run(fill())
    seen = refreshed(keys, cluster_url, cluster=True)
    assert seen[("opportune_log_received_total", "", "")] == 128
    assert seen[("opportune_log_events_total", "rejected", "x")] == 64
    assert seen[("opportune_accounting_gap", "", "")] == 0


def test_a_silent_redis_leaves_what_was_read(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is shown before the first reading; later ones that fail are said once, and the last one stays."""
    monkeypatch.setattr("scoring.accounting.REFRESH_S", 0.005)
    entrance.track([reported()])

    async def follow() -> None:
        async with redis.asyncio.Redis.from_url(str(entrance.settings.redis_url)) as client:
            accounting = Accounting(client, entrance.keys)
            assert list(accounting.collect()) == []
            running = asyncio.create_task(accounting.run())
            async with asyncio.timeout(20):
                while not list(accounting.collect()):
                    await asyncio.sleep(0.005)
                accounting._client = redis.asyncio.Redis.from_url("redis://127.0.0.1:1")
                while "cannot read the accounts" not in caplog.text:
                    await asyncio.sleep(0.005)
                assert next(iter(accounting.collect())).samples[0].value == 1
            running.cancel()

    asyncio.run(follow())


def test_no_events_are_no_gap() -> None:
    """An account of nothing adds up."""
    assert Accounts(0, {}).gap == 0


def refreshed(keys: Keys, url: str, *, cluster: bool = False) -> dict[tuple[str, str, str], float]:
    """What `/metrics` shows after one reading."""

    async def refresh() -> dict[tuple[str, str, str], float]:
        async with open_async(url, cluster=cluster) as client:
            accounting = Accounting(client, keys)
            await accounting.refresh()
            with exposed(accounting):
                return shown()

    return asyncio.run(refresh())


def shown() -> dict[tuple[str, str, str], float]:
    families = ("opportune_log_received", "opportune_log_events", "opportune_accounting", "opportune_dead_letters")
    return {
        (sample.name, sample.labels.get("fate", ""), sample.labels.get("reason", "")): sample.value
        for family in prometheus_client.REGISTRY.collect()
        if family.name.startswith(families)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
