"""A user is read alike in a transaction and by the script: what is stored, at one instant, where it serves."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployment.cold_reading import Moved, UserRead
from deployment.connections import open_async, open_blocking
from deployment.conversation import Conversation
from deployment.keys import Keys
from deployment.user_reading import LATE_S, UserReader, user_reader
from tests.chaos.line import Line

USER = "k1-ada"
CLIENTS: dict[str, Callable[[str], Any]] = {
    "in a transaction": lambda url: Conversation(url, 1.0),
    "by script": lambda url: open_async(url, cluster=False),
}
Read = Callable[[UserReader], Awaitable[Any]]


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix, 4)


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with open_blocking(redis_url, cluster=False) as client:
        yield client


def reading(kind: str, url: str, keys: Keys, read: Read) -> Any:
    """What is made of a reader of a kind."""

    async def run() -> Any:
        async with CLIENTS[kind](url) as client:
            return await read(user_reader(client, keys))

    return asyncio.run(run())


def leave(read: UserRead) -> None:
    """Nobody waits for it."""


@given(
    fields=st.dictionaries(st.binary(max_size=8), st.binary(max_size=80), max_size=5),
    offset=st.none() | st.integers(0, 2**53),
    user_id=st.text(st.characters(blacklist_categories=["Cs"]), max_size=6),
    partition=st.integers(0, 3),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_read_what_is_stored(
    redis_url: str, client: "redis.Redis", keys: Keys, fields: dict[bytes, bytes], offset: int | None, user_id: str,
    partition: int,
) -> None:  # fmt: skip
    """Whatever bytes the names and the values are; before the first fold the offset is 0."""
    partition = keys.partition_of(user_id)
    user, place = keys.user(partition, 1, user_id), keys.place(partition, 1)
    client.delete(user, place)
    if fields:
        client.hset(user, mapping=fields)  # type: ignore[arg-type]
    if offset is not None:
        client.hset(place, "offset", offset)
    for kind in CLIENTS:
        found = reading(kind, redis_url, keys, lambda reader: reader.read(partition, 1, user_id, leave))
        assert found == UserRead(offset or 0, fields)


@pytest.mark.parametrize("kind", CLIENTS)
def test_another_generation_is_told(redis_url: str, client: "redis.Redis", keys: Keys, kind: str) -> None:
    """And nothing of the one that was asked for, also where its states are still there."""
    partition = keys.partition_of(USER)
    client.hset(keys.user(partition, 1, USER), "a", "1")
    client.hset(keys.meta(partition), "generation", 2)

    async def read(reader: UserReader) -> tuple[int, UserRead]:
        with pytest.raises(Moved) as moved:
            await reader.read(partition, 1, USER, leave)
        return moved.value.generation, await reader.read(partition, 2, USER, leave)

    assert reading(kind, redis_url, keys, read) == (2, UserRead(0, {}))


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_redis_that_has_forgotten_its_scripts_is_told(
    redis_url: str, client: "redis.Redis", keys: Keys, kind: str
) -> None:
    """Nothing fails after a restart of Redis."""
    partition = keys.partition_of(USER)
    client.hset(keys.user(partition, 1, USER), "a", "1")

    async def read(reader: UserReader) -> list[UserRead]:
        client.script_flush()
        return [await reader.read(partition, 1, USER, leave) for _ in range(2)]

    assert reading(kind, redis_url, keys, read) == [UserRead(0, {b"a": b"1"})] * 2


@pytest.mark.parametrize("kind", CLIENTS)
def test_offset_and_hash_belong_to_one_instant(redis_url: str, client: "redis.Redis", keys: Keys, kind: str) -> None:
    """While both are written together all the time, they are never read apart."""
    partition = keys.partition_of(USER)
    user, place = keys.user(partition, 1, USER), keys.place(partition, 1)
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with client.pipeline(transaction=True) as together:
                together.hset(place, "offset", number)
                together.hset(user, "a", number)
                together.execute()

    async def read(reader: UserReader) -> list[UserRead]:
        return [await reader.read(partition, 1, USER, leave) for _ in range(500)]

    writing = threading.Thread(target=write)
    writing.start()
    try:
        found = reading(kind, redis_url, keys, read)
    finally:
        over.set()
        writing.join()
    assert len({each.offset for each in found}) > 5
    assert all(each.fields in ({}, {b"a": b"%d" % each.offset}) for each in found)
    assert all(each.fields for each in found if each.offset)


@pytest.mark.parametrize("kind", CLIENTS)
def test_what_comes_late_is_handed_over(redis_url: str, client: "redis.Redis", keys: Keys, kind: str) -> None:
    """To who gave it up, counted meanwhile; what another generation serves by then, or never comes, is not."""
    partition = keys.partition_of(USER)
    client.hset(keys.user(partition, 1, USER), "a", "1")
    taken: list[UserRead] = []

    async def hurry(reader: UserReader, end: Callable[[], None]) -> None:
        line.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await reader.read(partition, 1, USER, taken.append)
        assert (reader.given_up, taken) == (1, [])
        end()
        async with asyncio.timeout(3 * LATE_S):
            while reader.given_up:
                await asyncio.sleep(0.01)

    def move() -> None:
        client.hset(keys.meta(partition), "generation", 2)
        line.heal()

    async def read(reader: UserReader) -> None:
        await reader.read(partition, 1, USER, leave)
        await hurry(reader, line.heal)
        assert taken == [UserRead(0, {b"a": b"1"})]
        for end in (lambda: None, move):
            taken.clear()
            await hurry(reader, end)
            assert taken == []
            line.heal()

    with Line(int(redis_url.rpartition(":")[2].partition("/")[0])) as line:
        reading(kind, line.url, keys, read)
