"""One Redis and a cluster are used alike; what redis-py's client for a cluster does otherwise is written down here.

A test of a trap fails when an upgrade has mended it: then what is there because of it can go.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio
from redis import exceptions

from behavior.errors import BadInput
from deployment import connections
from deployment.connections import PASSING, connect, connect_serving, is_cluster, open_async, open_blocking
from deployment.keys import Keys
from deployment.settings import load
from scoring.process import persevere
from scoring.scripts import Run, Script
from tests.redis_cluster import Cluster, slot_of

PARTITIONS = 64
ECHO = "return {KEYS[1], ARGV[1]}"


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix, PARTITIONS)


@pytest.fixture
def client(cluster_url: str) -> Iterator["redis.Redis"]:
    with open_blocking(cluster_url, cluster=True) as client:
        yield client


def awaiting(url: str, ask: Callable[[Any], Awaitable[Any]], *, cluster: bool = True) -> Any:
    """What `ask` makes of an asyncio client."""

    async def asked() -> Any:
        async with open_async(url, cluster=cluster) as client:
            return await ask(client)

    return asyncio.run(asked())


def streams(keys: Keys) -> list[bytes]:
    return [keys.stream(number) for number in range(PARTITIONS)]


# ------------------------------------------------------------------------------------------------------ connecting


def test_the_settings_choose_between_one_redis_and_a_cluster(redis_url: str, cluster_url: str, prefix: str) -> None:
    """Blocking and in an event loop, the same call reaches one Redis or a cluster."""
    for settings in (load(redis_url=redis_url), load(redis_url=cluster_url, redis_cluster=True)):
        key = f"{prefix}:k"
        with connect(settings) as client:
            assert is_cluster(client) is settings.redis_cluster
            client.set(key, 1)

        async def read(settings: Any = settings, key: str = key) -> Any:
            async with connect_serving(settings) as client:
                assert is_cluster(client) is settings.redis_cluster
                return await client.get(key)

        assert asyncio.run(read()) == b"1"
    assert settings.child_environment()["OPPORTUNE_REDIS_CLUSTER"] == "True"


def test_the_other_kind_is_refused(redis_url: str, cluster_url: str) -> None:
    """One Redis is no cluster; and a node of a cluster would answer for a third of the keys, and refuse the rest."""
    with pytest.raises(BadInput, match="no cluster"):
        open_blocking(redis_url, cluster=True)
    with open_blocking(cluster_url, cluster=False) as client, pytest.raises(BadInput, match="REDIS_CLUSTER=true"):
        connections.refuse_other_kind(client)
    for url, cluster in ((redis_url, False), (cluster_url, True)):
        with open_blocking(url, cluster=cluster) as client:
            connections.refuse_other_kind(client)


@pytest.mark.parametrize("url", [None, "unix:///run/redis.sock", "redis://host:1/2", "redis://host:1?db=3"])
def test_a_cluster_has_neither_sockets_nor_databases(url: str | None) -> None:
    with pytest.raises(BadInput, match="node of a cluster"):
        load(redis_url=url, redis_cluster=True)


@contextmanager
def silent_server() -> Iterator[tuple[str, list[socket.socket]]]:
    """Accepts connections and never says a word; gives its address and the connections so far."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0", taken
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in taken:
                each.close()


@pytest.mark.parametrize("cluster", [False, True])
def test_a_frozen_redis_is_asked_once(cluster: bool) -> None:
    """One timeout, one connection: no hidden retries, which would keep a caller for many times as long."""
    with silent_server() as (url, taken):
        with pytest.raises((exceptions.TimeoutError, exceptions.ConnectionError)):
            open_blocking(url, cluster=cluster, timeout_s=0.1).get("k")
        assert len(taken) == 1

        async def ask() -> None:
            await open_async(url, cluster=cluster, timeout_s=0.1).get("k")

        with pytest.raises(PASSING):
            asyncio.run(ask())
        assert len(taken) == 2


def test_the_client_of_a_cluster_does_not_try_again_by_itself(cluster_url: str) -> None:
    """Its default is ten times, with pauses."""
    with open_blocking(cluster_url, cluster=True) as client:
        assert client.retry.get_retries() == 0  # type: ignore[attr-defined]
    assert open_async(cluster_url, cluster=True).retry.get_retries() == 0  # type: ignore[attr-defined]


def test_a_cluster_that_is_not_there_is_a_connection_error() -> None:
    """As with one Redis, so that whoever waits for the one waits for the other."""
    with pytest.raises(exceptions.ConnectionError), silent_server() as (url, _):
        open_blocking(url, cluster=True, timeout_s=0.1)


def test_more_commands_than_connections_wait(cluster_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst waits for connections, as on one Redis; trap: redis-py's own client of a cluster refuses it."""
    monkeypatch.setattr(connections, "CONNECTIONS", 2)

    async def burst(client: Any) -> list[Any]:
        return await asyncio.gather(*(client.incr(f"{prefix}:n") for _ in range(50)))

    assert sorted(awaiting(cluster_url, burst)) == list(range(1, 51))

    async def refused() -> None:
        async with redis.asyncio.RedisCluster.from_url(cluster_url, max_connections=2) as client:
            await burst(client)

    with pytest.raises(exceptions.MaxConnectionsError):
        asyncio.run(refused())


# ------------------------------------------------------------------------------------------------------ PASSING


def test_everything_that_passes_is_named() -> None:
    """Trap: some errors of a cluster's client are no RedisError."""
    passing = [
        exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError, exceptions.ReadOnlyError,
        exceptions.OutOfMemoryError, exceptions.MaxConnectionsError, exceptions.ClusterError,
        exceptions.ClusterDownError, exceptions.MasterDownError, exceptions.TryAgainError, exceptions.AskError,
        exceptions.MovedError, exceptions.SlotNotCoveredError, exceptions.RedisClusterException,
    ]  # fmt: skip
    assert all(issubclass(kind, PASSING) for kind in passing)
    assert not issubclass(exceptions.RedisClusterException, redis.RedisError)
    assert not issubclass(exceptions.SlotNotCoveredError, redis.RedisError)


def test_a_consumer_outlasts_a_cluster_that_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins anew after an error that is no RedisError."""
    monkeypatch.setattr("scoring.process.RETRY_S", 0.0)
    met = iter([exceptions.SlotNotCoveredError("nobody"), exceptions.ClusterError("TTL exhausted.")])

    def once(stopping: threading.Event) -> None:
        for error in met:
            raise error
        stopping.set()

    persevere(once, threading.Event())


# ------------------------------------------------------------------------------------------------------ commands


def test_a_script_runs_where_its_keys_are(client: Any, cluster_url: str, keys: Keys) -> None:
    """Registered once, it runs for every partition, on whichever node; over two partitions it is refused."""
    script = client.register_script(ECHO)
    for number in range(PARTITIONS):
        assert script(keys=[keys.stream(number), keys.meta(number)], args=[number])[1] == str(number).encode()
    client.script_flush()

    async def run(client: Any) -> list[Any]:
        script = client.register_script(ECHO)
        return await asyncio.gather(*(script(keys=[key], args=[1]) for key in streams(keys)))

    assert [key for key, _ in awaiting(cluster_url, run)] == streams(keys)
    with pytest.raises(exceptions.RedisClusterException):
        script(keys=[keys.stream(0), keys.stream(1)], args=[0])


def test_a_pipeline_runs_scripts_over_partitions(client: Any, cluster_url: str, keys: Keys) -> None:
    """Answers come in order, whichever node gives them. Trap: redis-py's own asks a node for the keys of each run."""

    def asked() -> int:
        told = client.info("commandstats", target_nodes="primaries").values()
        return sum(each.get("cmdstat_command|getkeys", {}).get("calls", 0) for each in told)

    runs = [Run([keys.stream(number), keys.meta(number)], [number]) for number in range(PARTITIONS)]
    for each, asks in ((client, False), (redis.RedisCluster.from_url(cluster_url), True)):
        before = asked()
        found = Script(each, ECHO).run(runs)
        assert found == [[keys.stream(number), str(number).encode()] for number in range(PARTITIONS)]
        assert (asked() > before) is asks


def test_a_pipeline_gives_errors_in_their_places(client: Any, cluster_url: str, keys: Keys) -> None:
    """What one node refuses does not lose what the others have answered, blocking and in an event loop."""

    def queue(pipeline: Any) -> None:
        for number in range(7):
            pipeline.hget(keys.meta(number), "sealed")
        pipeline.execute_command("EVALSHA", "0" * 40, 1, keys.meta(7))
        for number in range(8, PARTITIONS):
            pipeline.hget(keys.meta(number), "sealed")

    async def ask(client: Any) -> list[Any]:
        async with client.pipeline(transaction=False) as pipeline:
            queue(pipeline)
            return list(await pipeline.execute(raise_on_error=False))

    with client.pipeline(transaction=False) as pipeline:
        queue(pipeline)
        found = pipeline.execute(raise_on_error=False)
    for answers in (found, awaiting(cluster_url, ask)):
        assert isinstance(answers.pop(7), exceptions.NoScriptError)
        assert answers == [None] * (PARTITIONS - 1)


def test_what_pipelines_of_a_cluster_refuse(client: Any, cluster_url: str, keys: Keys) -> None:
    """Traps: commands that they could route. `execute_command` takes them; DEL and UNLINK take one key at a time."""
    meta = keys.meta(0)
    with client.pipeline(transaction=False) as pipeline:
        for refused in (
            lambda: pipeline.eval(ECHO, 1, meta, 0),
            lambda: pipeline.evalsha("0" * 40, 1, meta, 0),
            lambda: pipeline.mset({meta: 0}),
            lambda: pipeline.unlink(meta, keys.counts(0)),
        ):
            with pytest.raises((TypeError, exceptions.RedisClusterException)):
                refused()

    async def ask(client: Any) -> list[Any]:
        async with client.pipeline(transaction=False) as pipeline:
            for refused in (lambda: pipeline.evalsha("0" * 40, 1, meta, 0), lambda: pipeline.mset({meta: 0})):
                with pytest.raises(exceptions.RedisClusterException):
                    refused()
            # Only in an event loop it takes this one.
            return list(await pipeline.eval(ECHO, 1, meta, 0).execute())

    assert awaiting(cluster_url, ask) == [[meta, b"0"]]


def test_multi_is_for_one_partition_and_not_for_event_loops(client: Any, cluster_url: str, keys: Keys) -> None:
    """Trap: in an event loop, each command that is queued in a MULTI blocks it, for a thread with a loop of its own.

    What must be one step is a script there.
    """
    with client.pipeline(transaction=True) as pipeline:
        pipeline.hset(keys.meta(0), "last_k", 1)
        pipeline.hget(keys.meta(0), "last_k")
        assert pipeline.execute() == [1, b"1"]
        pipeline.hget(keys.meta(0), "last_k")
        pipeline.hget(keys.meta(1), "last_k")
        with pytest.raises(exceptions.CrossSlotTransactionError):
            pipeline.execute()

    async def threads(client: Any) -> int:
        started: list[threading.Thread] = []
        with pytest.MonkeyPatch.context() as patched:
            start = threading.Thread.start
            patched.setattr(threading.Thread, "start", lambda thread: (started.append(thread), start(thread)))
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.hget(keys.meta(0), "last_k")
                await pipeline.execute()
        return len(started)

    assert awaiting(cluster_url, threads) > 0


def test_streams_of_two_partitions_are_read_by_ranges(client: Any, keys: Keys) -> None:
    """XREAD over two tags is refused; a pipeline of XRANGE reads every partition in one go, from all nodes."""
    for number, stream in enumerate(streams(keys)):
        client.xadd(stream, {"b": number}, "5-0")
    with pytest.raises(exceptions.RedisClusterException):
        client.xread({keys.stream(0): "0", keys.stream(1): "0"})
    with client.pipeline(transaction=False) as pipeline:
        for stream in streams(keys):
            pipeline.xrange(stream, "(4-0", count=10)
        answers = pipeline.execute()
    assert answers == [[(b"5-0", {b"b": str(number).encode()})] for number in range(PARTITIONS)]
    assert client.xread({keys.stream(0): "0"})[0][1] == answers[0]


def test_all_nodes_are_scanned_and_asked(client: Any, redis_cluster: Cluster, keys: Keys) -> None:
    """SCAN goes over all nodes, INFO over those that are named (trap: over one otherwise), UNLINK over all its keys."""
    for stream in streams(keys):
        client.set(stream, 1)
    owners = [redis_cluster.owner(slot_of(stream)).port for stream in streams(keys)]
    assert {owners.count(node.port) for node in redis_cluster.nodes} <= {20, 21, 22}
    assert sorted(client.scan_iter(f"{keys.prefix}:*", count=10)) == sorted(streams(keys))
    assert client.unlink(*streams(keys)) == PARTITIONS
    assert len(client.info("memory", target_nodes="primaries")) == 3
    assert "used_memory" in client.info("memory")


def test_many_keys_at_once_share_a_tag(client: Any, keys: Keys) -> None:
    """MSET and MGET of one partition work; of two they are refused before anything is sent."""
    client.mset({keys.meta(0): 1, keys.counts(0): 2})
    assert client.mget([keys.meta(0), keys.counts(0)]) == [b"1", b"2"]
    for refused in (
        lambda: client.mset({keys.meta(0): 1, keys.meta(1): 2}),
        lambda: client.mget([keys.meta(0), keys.meta(1)]),
    ):
        with pytest.raises(exceptions.RedisClusterException):
            refused()
