"""Reading a user's whole hash within an event loop; its generation, the offset and the hash belong to one instant.

On one Redis in one transaction of a `Conversation`; on a cluster, whose client has no transactions, by the script of
`cold_reading`, which takes Redis twice as long. Who is cancelled meanwhile, since it waited for long enough, can have
what is read handed over late.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from redis.exceptions import NoScriptError

from deployment.cold_reading import USER, USER_SHA, Moved, UserRead, user_arguments
from deployment.conversation import Conversation, Question, at_once, packed
from deployment.generations import FIRST, GENERATION
from deployment.keys import Keys

# A read that goes on for nobody goes on for so long at most; that of a `Conversation` until it closes itself.
LATE_S = 1.0

Late = Callable[[UserRead], None]


class UserReader(Protocol):
    """Reads users from Redis."""

    @property
    def given_up(self) -> int:
        """How many reads still go on though nobody waits for them any more."""

    async def read(self, partition: int, generation: int, user_id: str, late: Late) -> UserRead:
        """A user of a partition in the generation that serves. Raises Moved if that is another, redis.RedisError."""


def user_reader(client: Any, keys: Keys) -> UserReader:
    """The reader for a conversation with one Redis, or for an asyncio client of redis-py."""
    return _InTransactions(client, keys) if isinstance(client, Conversation) else _ByScript(client, keys)


class _InTransactions:
    """Asks in transactions that are packed once for each partition, but for the user's name."""

    def __init__(self, conversation: Conversation, keys: Keys) -> None:
        self._conversation = conversation
        self._keys = keys
        self._patterns: dict[tuple[int, int], _Pattern] = {}

    @property
    def given_up(self) -> int:
        return self._conversation.given_up

    async def read(self, partition: int, generation: int, user_id: str, late: Late) -> UserRead:
        asked = self._question(partition, generation, user_id)
        return _found(await self._conversation.ask(asked, partial(_late, late, generation)), generation)

    def _question(self, partition: int, generation: int, user_id: str) -> Question:
        place = partition, generation
        pattern = self._patterns.get(place)
        if pattern is None:
            pattern = self._patterns[place] = _Pattern.of(self._keys, partition, generation)
        return pattern.of_user(user_id)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """The question for any user of a partition: its bytes around the length of the key and the user's name."""

    before: bytes
    key: bytes
    after: bytes
    answered: tuple[int, Callable[[list[Any]], Any]]

    @classmethod
    def of(cls, keys: Keys, partition: int, generation: int) -> "_Pattern":
        key = keys.user(partition, generation, "")
        whole = at_once(
            packed("HGET", keys.meta(partition), GENERATION),
            packed("HGET", keys.place(partition, generation), b"offset"),
            packed("HGETALL", key),
        )
        before, after = whole.packed.split(b"%d\r\n%b" % (len(key), key))
        return cls(before, key, after, whole[1:])

    def of_user(self, user_id: str) -> Question:
        key = self.key + user_id.encode()
        return Question(b"%b%d\r\n%b%b" % (self.before, len(key), key, self.after), *self.answered)


class _ByScript:
    """Asks by the script's hash, with the script itself where Redis does not know it yet."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._late: set[asyncio.Future[UserRead]] = set()

    @property
    def given_up(self) -> int:
        return len(self._late)

    async def read(self, partition: int, generation: int, user_id: str, late: Late) -> UserRead:
        reading = asyncio.ensure_future(self._read(generation, user_id))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            self._late.add(reading)
            reading.add_done_callback(partial(self._came_late, late))
            asyncio.get_running_loop().call_later(LATE_S, reading.cancel)
            raise

    async def _read(self, generation: int, user_id: str) -> UserRead:
        arguments = user_arguments(self._keys, generation, user_id, ())
        try:
            answer = await self._client.execute_command("EVALSHA", USER_SHA, *arguments)
        except NoScriptError:
            answer = await self._client.execute_command("EVAL", USER, *arguments)
        return _found(answer, generation)

    def _came_late(self, late: Late, reading: "asyncio.Future[UserRead]") -> None:
        self._late.discard(reading)
        if not reading.cancelled() and reading.exception() is None:
            late(reading.result())


def _found(answer: Any, generation: int) -> UserRead:
    """The user, its hash as a dict, of the answer to the script or to the transaction. Raises Moved."""
    serves = int(answer[0] or FIRST)
    if serves != generation:
        raise Moved(serves)
    _, offset, told = answer
    in_turn = iter(told)
    return UserRead(int(offset or 0), dict(zip(in_turn, in_turn, strict=True)))


def _late(late: Late, generation: int, answer: Any) -> None:
    with suppress(Moved):
        late(_found(answer, generation))
