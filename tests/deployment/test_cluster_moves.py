"""While slots move and nodes die, nothing that was acknowledged is lost, and whoever tries again goes on.

The negative side is here too: what fails in the meantime, and how, so that nobody is surprised by it in production.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio.cluster import NodesManager

from deployment.connections import PASSING, open_async, open_blocking
from deployment.keys import Keys
from tests.redis_cluster import Cluster, keys_of, slot_of

PARTITIONS = 64
# What an append does: looks at a key that is there, and makes one that is not.
APPEND = "redis.call('SET', KEYS[2], ARGV[1]) return redis.call('RPUSH', KEYS[1], ARGV[1])"
READ = "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}"


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix, PARTITIONS)


@pytest.fixture
def client(redis_cluster: Cluster) -> Iterator[Any]:
    with open_blocking(redis_cluster.url, cluster=True) as client:
        yield client


def tried_until_done(act: Callable[[], Any], met: set[str]) -> Any:
    """Act until it works, as consumers do; `met` collects what passed meanwhile."""
    while True:
        try:
            return act()
        except PASSING as error:
            met.add(type(error).__name__)
            time.sleep(0.02)


@pytest.fixture
def half(redis_cluster: Cluster, keys: Keys, client: Any) -> Iterator[tuple[bytes, bytes]]:
    """A partition whose slot is half moved: a key that has gone, and one that has stayed."""
    gone, stayed = keys.dedupe(0, "gone"), keys.dedupe(0, "stayed")
    client.mset({gone: 1, stayed: 2})
    slot = slot_of(gone)
    with redis_cluster.migrating(slot, redis_cluster.other(redis_cluster.owner(slot))) as move:
        move([gone])
        yield gone, stayed
    assert client.mget(gone, stayed) == [b"1", b"2"]
    assert client.eval(READ, 2, gone, stayed) == [b"1", b"2"]


def test_one_key_is_found_while_its_slot_moves(client: Any, half: tuple[bytes, bytes]) -> None:
    """A command of one key works all the time, in a pipeline too."""
    gone, stayed = half
    assert (client.get(gone), client.get(stayed)) == (b"1", b"2")
    with client.pipeline(transaction=False) as pipeline:
        assert pipeline.get(gone).get(stayed).get(b"elsewhere").execute() == [b"1", b"2", None]


def test_keys_of_a_slot_that_moves_are_not_used_together(redis_cluster: Cluster, half: tuple[bytes, bytes]) -> None:
    """A script of keys that are not all at one node, new ones among them, fails with what PASSING names."""
    gone, stayed = half
    for names in (half, (stayed, gone + b" new"), (gone, stayed + b" new")):
        with open_blocking(redis_cluster.url, cluster=True) as client, pytest.raises(exceptions.ClusterError):
            client.eval(READ, 2, *names)

        async def read(names: tuple[bytes, bytes] = names) -> None:
            async with open_async(redis_cluster.url, cluster=True) as client:
                await client.eval(READ, 2, *names)

        with pytest.raises(exceptions.ClusterError):
            asyncio.run(read())


def test_an_event_loop_may_miss_one_key_while_its_slot_moves(redis_cluster: Cluster, half: tuple[bytes, bytes]) -> None:
    """Trap: redis-py asks to be let in on one connection and sends the command on the next one, if there are two."""

    async def read(connections: int) -> Any:
        async with open_async(redis_cluster.url, cluster=True) as client:
            await asyncio.gather(*(client.ping(target_nodes="primaries") for _ in range(connections)))
            return await client.get(half[0])

    assert asyncio.run(read(1)) == b"1"
    with pytest.raises(exceptions.ClusterError):
        asyncio.run(read(2))


def test_nothing_acknowledged_is_lost_while_slots_move(redis_cluster: Cluster, client: Any, keys: Keys) -> None:
    """A blocking writer and an event loop append to a partition whose slot is moved three times, key by key."""
    log, met, stop = keys.stream(0), set[str](), threading.Event()
    slot = slot_of(log)
    script = client.register_script(APPEND)
    written: list[bytes] = []

    def write(name: str, append: Callable[[bytes], Any]) -> None:
        number = 0
        while not stop.is_set():
            value = f"{name} {number}".encode()
            tried_until_done(lambda value=value: append(value), met)  # type: ignore[misc]
            written.append(value)
            number += 1

    def write_in_a_loop() -> None:
        with asyncio.Runner() as runner:
            inside = open_async(redis_cluster.url, cluster=True)
            append = inside.register_script(APPEND)
            write("loop", lambda value: runner.run(_awaited(append(keys=[log, _seen(keys, value)], args=[value]))))
            runner.run(inside.aclose())

    writers = [
        threading.Thread(target=write_in_a_loop),
        threading.Thread(
            target=write, args=("blocking", lambda value: script(keys=[log, _seen(keys, value)], args=[value]))
        ),
    ]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            _wait_for_more(written, 50)
            redis_cluster.migrate_slot(slot, redis_cluster.other(redis_cluster.owner(slot)))
        _wait_for_more(written, 50)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert set(written) <= set(client.lrange(log, 0, -1))
    assert all(client.get(_seen(keys, value)) == value for value in written)
    assert met <= {"ClusterError"}


def test_redirections_leave_other_requests_alone(redis_cluster: Cluster, client: Any, keys: Keys) -> None:
    """Many requests at once while slots move: none is cut off. Trap: redis-py closes all connections now and then."""
    moving, staying = keys.meta(0), next(
        keys.meta(number) for number in range(1, PARTITIONS)
        if redis_cluster.owner(slot_of(keys.meta(number))) is redis_cluster.owner(slot_of(keys.meta(0)))
    )  # fmt: skip
    client.set(moving, 1)
    client.set(staying, 1)

    async def read() -> set[str]:
        met, done = set[str](), asyncio.Event()
        async with open_async(redis_cluster.url, cluster=True) as loop_client:

            async def requests(key: bytes) -> None:
                while not done.is_set():
                    try:
                        assert await loop_client.get(key) == b"1"
                    except PASSING as error:
                        met.add(type(error).__name__)

            tasks = [asyncio.create_task(requests(key)) for key in (moving, staying) for _ in range(5)]
            for _ in range(6):
                slot = slot_of(moving)
                to = redis_cluster.other(redis_cluster.owner(slot))
                await asyncio.to_thread(redis_cluster.migrate_slot, slot, to)
                await asyncio.sleep(0.02)
            done.set()
            await asyncio.gather(*tasks)
        return met

    assert asyncio.run(read()) <= {"ClusterError"}


def test_who_gives_up_cuts_off_nobody_else(redis_cluster: Cluster, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is cancelled while its client looks for the nodes ends alone. Trap: redis-py closes everything."""
    find = NodesManager.initialize

    async def ask() -> tuple[Any, Any]:
        async with open_async(redis_cluster.url, cluster=True) as inside:
            waiting = asyncio.create_task(inside.blpop([keys.stream(0).decode()], timeout=0.4))
            await asyncio.sleep(0.1)
            begun = asyncio.Event()

            async def find_slowly(*args: Any, **options: Any) -> None:
                begun.set()
                await asyncio.sleep(0.1)
                await find(*args, **options)

            monkeypatch.setattr(NodesManager, "initialize", find_slowly)
            inside._initialize = True  # type: ignore[attr-defined]
            first, second = (asyncio.create_task(inside.get(keys.meta(0))) for _ in range(2))
            await begun.wait()
            first.cancel()
            return await waiting, await second

    assert asyncio.run(ask()) == (None, None)


def test_a_killed_node_comes_back_with_what_was_acknowledged(redis_cluster: Cluster, client: Any, keys: Keys) -> None:
    """kill -9 loses nothing; the clients of before find it again, and all that they met meanwhile passes."""
    log = keys.stream(0)
    owner = redis_cluster.owner(slot_of(log))
    script = client.register_script(APPEND)
    for number in range(50):
        script(keys=[log, _seen(keys, b"%d" % number)], args=[number])

    async def outlive() -> None:
        async with open_async(redis_cluster.url, cluster=True) as inside:
            append = inside.register_script(APPEND)
            await append(keys=[log, _seen(keys, b"50")], args=[50])
            redis_cluster.kill(owner)
            back = asyncio.create_task(asyncio.to_thread(redis_cluster.restart, owner))
            met = set[str]()
            try:
                while not back.done():
                    asks: list[Any] = [inside.get(key) for key in (keys.meta(number) for number in range(PARTITIONS))]
                    asks.append(_piped(inside, keys))
                    for answer in await asyncio.gather(*asks, return_exceptions=True):
                        if isinstance(answer, BaseException):
                            met.add(type(answer).__name__)
                            assert isinstance(answer, PASSING), repr(answer)
                    await asyncio.to_thread(_try, lambda: script(keys=[log, _seen(keys, b"51")], args=[51]), met)
            finally:
                await back
            assert met
            await append(keys=[log, _seen(keys, b"52")], args=[52])
            assert await _piped(inside, keys)

    asyncio.run(outlive())
    script(keys=[log, _seen(keys, b"53")], args=[53])
    assert set(client.lrange(log, 0, -1)) >= {b"%d" % number for number in (*range(51), 52, 53)}
    assert len(keys_of(redis_cluster.owner(slot_of(log)), slot_of(log))) >= 54


async def _piped(client: Any, keys: Keys) -> list[Any]:
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(PARTITIONS):
            pipeline.get(keys.meta(number))
        return list(await pipeline.execute())


async def _awaited(answer: Any) -> Any:
    return await answer


def _try(act: Callable[[], Any], met: set[str]) -> None:
    try:
        act()
    except PASSING as error:
        met.add(type(error).__name__)


def _seen(keys: Keys, value: bytes) -> bytes:
    return keys.dedupe(0, value.decode())


def _wait_for_more(written: list[bytes], count: int) -> None:
    enough = len(written) + count
    while len(written) < enough:
        time.sleep(0.005)
