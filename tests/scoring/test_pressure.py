"""Back-pressure, on a real Redis with a real limit: what comes in is refused before the consumers are."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
import redis
import redis.asyncio

from behavior.errors import BadInput, Unavailable
from deployment.clock import advance
from deployment.connections import open_async, open_blocking
from deployment.keys import Keys
from deployment.redis_server import redis_server
from scoring.client import Client
from scoring.pressure import Pressure, memories, refuse_eviction
from scoring.server import Server
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.entrance import START, Entrance, collect, reported
from tests.scoring.online import serving
from tests.scoring.small import settings_in

HIGH_WATER = 0.85


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[str]:
    """The address of a Redis of the test's own; what is in it makes the buffers of clients a small part of it all."""
    with redis_server(tmp_path / "redis") as server:
        redis.Redis.from_url(server.url).set("ballast", bytes(20_000_000))
        yield server.url


def limit(url: str, bytes_more: int, policy: str = "noeviction") -> None:
    """Leave Redis so much room beyond what it uses now."""
    client = redis.Redis.from_url(url)
    client.config_set("maxmemory-policy", policy)
    (now,) = memories(client.info("memory"))
    client.config_set("maxmemory", now.used + bytes_more)


def refuses(pressure: Pressure) -> bool:
    try:
        pressure.check()
    except Unavailable:
        return True
    return False


def looked(url: str, *, cluster: bool = False) -> Pressure:
    """What one look finds."""

    async def look() -> Pressure:
        async with open_async(url, cluster=cluster) as client:
            pressure = Pressure(client, HIGH_WATER)
            pressure.check()  # nothing is known yet: nothing is refused
            await pressure.look()
            return pressure

    return asyncio.run(look())


def test_without_a_limit_nothing_is_refused(limited: str) -> None:
    """A Redis that may grow is never full, and its policy does not matter."""
    redis.Redis.from_url(limited).config_set("maxmemory-policy", "allkeys-lru")
    pressure = looked(limited)
    pressure.check()
    refuse_eviction(redis.Redis.from_url(limited))
    assert [sample.value for family in pressure.collect() for sample in family.samples] == [0]


def test_the_high_water_mark_refuses_in_words(limited: str) -> None:
    """Below the mark everything is taken, from the mark on nothing, with the figures in a sentence."""
    limit(limited, 50_000_000)
    looked(limited).check()
    limit(limited, 2_000_000)
    with pytest.raises(Unavailable, match=r"used \d\d% of its memory, and beyond 85% no events are taken; try again"):
        looked(limited).check()


def test_events_are_refused_and_consumers_still_commit(limited: str, tmp_path: Path, prefix: str) -> None:
    """Tracking fills Redis to the mark and no further; then others can still write, and with more room all goes on."""
    entrance = Entrance(tmp_path / "home", limited, prefix)
    limit(limited, 8_000_000)
    client = redis.Redis.from_url(limited)

    async def fill() -> int:
        async with redis.asyncio.Redis.from_url(limited) as tracking:
            pressure = Pressure(tracking, HIGH_WATER)
            entered = collect(tracking, entrance.settings, pressure.check)
            for call in range(1_000):
                await pressure.look()
                try:
                    await entered.track([reported(f"{call}-{i}", user_id=str(i), page="p" * 1000) for i in range(100)])
                except Unavailable:
                    return call
            return 1_000

    calls = asyncio.run(fill())
    assert 5 < calls < 1_000
    counts = entrance.counted()
    assert counts == {"received": calls * 100, "accepted": calls * 100}
    assert len(entrance.stored()) == calls * 100
    (now,) = memories(client.info("memory"))
    # The buffers of the connection that was closed meanwhile are free again.
    assert HIGH_WATER - 0.02 <= now.fullness < 1
    client.set("commit", "c" * 10_000)
    limit(limited, 50_000_000)
    looked(limited).check()
    assert entrance.track([reported("after")])[0].fate.status == "accepted"


def test_a_full_redis_acknowledges_nothing(limited: str, tmp_path: Path, prefix: str) -> None:
    """Without the mark: when Redis itself refuses, the call fails, and what stands in it still adds up."""
    entrance = Entrance(tmp_path / "home", limited, prefix)
    entrance.track([reported(), reported("late", event_time=5)])
    before = entrance.counted()
    limit(limited, -1_000_000)
    for message in (reported("m2"), reported(), reported("m3", kind="BAD"), reported("m4", consent=[])):
        with pytest.raises(Unavailable, match="OutOfMemory"):
            entrance.track([message])
    assert entrance.counted() == before
    assert len(entrance.stored()) == len(list(entrance.letters.kept(0))) == 1


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_redis_that_evicts_is_refused(limited: str, policy: str) -> None:
    """At the start in a sentence that says what to set; if it is changed later, nothing more is taken in."""
    limit(limited, 50_000_000, policy)
    with pytest.raises(BadInput, match=f"maxmemory-policy {policy}.*set its maxmemory-policy to noeviction"):
        refuse_eviction(redis.Redis.from_url(limited))
    with pytest.raises(Unavailable, match="noeviction"):
        looked(limited).check()
    limit(limited, 50_000_000)
    refuse_eviction(redis.Redis.from_url(limited))
    looked(limited).check()


def test_it_goes_on_looking(limited: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It looks again and again, outlasts a Redis that does not answer, and keeps to what it has seen last."""
    monkeypatch.setattr("scoring.pressure.POLL_S", 0.005)
    limit(limited, 2_000_000)

    async def follow() -> None:
        async with redis.asyncio.Redis.from_url(limited) as client:
            pressure = Pressure(client, HIGH_WATER)
            running = asyncio.create_task(pressure.run())

            async with asyncio.timeout(20):
                while not refuses(pressure):
                    await asyncio.sleep(0.005)
                pressure._client = redis.asyncio.Redis.from_url("redis://127.0.0.1:1")
                limit(limited, 50_000_000)
                while "cannot look at Redis's memory" not in caplog.text:
                    await asyncio.sleep(0.005)
                assert refuses(pressure)
                pressure._client = client
                while refuses(pressure):
                    await asyncio.sleep(0.005)
            running.cancel()

    asyncio.run(follow())


def test_the_fullest_node_of_a_cluster_counts(cluster_url: str) -> None:
    """All primaries are asked; one that is full is enough, and so is one that evicts."""
    with open_blocking(cluster_url, cluster=True) as client:
        told = client.info("memory", target_nodes="primaries")  # type: ignore[call-arg]
        assert len(memories(told)) == 3
        port = max(int(str(name).rpartition(":")[2]) for name in told)
        one = f"redis://127.0.0.1:{port}"
        try:
            limit(one, 10_000)
            with pytest.raises(Unavailable, match="no events are taken"):
                looked(cluster_url, cluster=True).check()
            limit(one, 50_000_000, "allkeys-lru")
            with pytest.raises(Unavailable, match="allkeys-lru"):
                looked(cluster_url, cluster=True).check()
            with pytest.raises(BadInput, match="allkeys-lru"):
                refuse_eviction(client)
        finally:
            redis.Redis.from_url(one).config_set("maxmemory", 0)
            redis.Redis.from_url(one).config_set("maxmemory-policy", "noeviction")
        looked(cluster_url, cluster=True).check()
        refuse_eviction(client)


def test_the_server_refuses_and_tells(limited: str, tmp_path: Path, prefix: str) -> None:
    """Over gRPC: an evicting Redis at the start, UNAVAILABLE with the sentence when it is full; `/metrics` has both."""
    settings = settings_in(tmp_path / "home", limited, prefix)
    advance(redis.Redis.from_url(limited), Keys(prefix, settings.partitions), START)
    limit(limited, 50_000_000, "allkeys-lru")
    with pytest.raises(BadInput, match="noeviction"):
        Server(settings)
    limit(limited, 50_000_000)
    with serving(settings) as address, Client(address) as client:
        assert client.track([reported(), reported("m2", kind="BAD")])[0].status == wire.Result.STATUS_ACCEPTED
        limit(limited, 2_000_000)
        deadline = time.monotonic() + 20
        with pytest.raises(Unavailable, match=r"is unavailable: Redis has used \d\d% of its memory"):
            while time.monotonic() < deadline:
                client.track([reported("m3")])
        told = prometheus_client.generate_latest().decode()
        assert "opportune_redis_memory_fullness 0.9" in told
        assert "opportune_accounting_gap 0.0" in told
    assert "opportune_redis_memory_fullness" not in prometheus_client.generate_latest().decode()
