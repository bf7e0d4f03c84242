"""Reading a few values straight from Redis, with nothing in memory but the plan: one user, some items.

Each question is one script on one hash tag, so that its answer belongs to one instant, on one Redis as on a cluster.
The answer names the generation that serves: if it is not the one that was asked, the question is asked again there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Self

import msgspec
import numpy as np

from behavior.column import Column
from behavior.finals import finalise
from behavior.plan import View
from behavior.snapshot_rows import unpack_rows
from deployment.generations import FIRST
from deployment.keys import Keys

USER = """
local generation = redis.call('HGET', KEYS[1], 'generation') or '1'
if generation ~= ARGV[1] then return {generation} end
local offset = redis.call('HGET', KEYS[2], 'offset') or '0'
if #ARGV == 1 then return {generation, offset, redis.call('HGETALL', KEYS[3])} end
return {generation, offset, redis.call('HMGET', KEYS[3], unpack(ARGV, 2))}
"""
USER_SHA = sha1(USER.encode(), usedforsecurity=False).hexdigest()
# Lua's stack bounds the arguments of one call.
_ROWS = """
local generation = redis.call('HGET', KEYS[1], 'generation') or '1'
if generation ~= ARGV[1] then return {generation} end
local found = {generation, redis.call('HGET', KEYS[2], 's')}
local ids = cmsgpack.unpack(ARGV[2])
for at = 1, #ids, 1000 do
  local rows = redis.call('HMGET', KEYS[3], unpack(ids, at, math.min(at + 999, #ids)))
  for place = 1, #rows do found[#found + 1] = rows[place] end
end
return found
"""


class Moved(Exception):
    """What was asked is served by another generation now."""

    def __init__(self, generation: int) -> None:
        super().__init__(f"generation {generation} serves")
        self.generation = generation


@dataclass(frozen=True, slots=True)
class UserRead:
    """A user's states, and the offset of its partition: they answer for every instant after it.

    fields    of the whole hash (`ask_user`: fields and values in turn), or the values that were asked for, in order
    """

    offset: int
    fields: Any


def ask_user(client: Any, keys: Keys, generation: int, user_id: str, fields: Sequence[bytes] = ()) -> Any:
    """Ask, or queue on a pipeline, the question for a user's hash, or for some fields of it."""
    return client.execute_command("EVAL", USER, *user_arguments(keys, generation, user_id, fields))


def user_arguments(keys: Keys, generation: int, user_id: str, fields: Sequence[bytes]) -> tuple[Any, ...]:
    """The arguments of the script USER that ask for a user's hash, or for some fields of it."""
    number = keys.partition_of(user_id)
    names = (keys.meta(number), keys.place(number, generation), keys.user(number, generation, user_id))
    return 3, *names, generation, *fields


def user_read(answer: Sequence[Any], generation: int) -> UserRead:
    """What `ask_user` was answered. Raises Moved."""
    if int(answer[0] or FIRST) != generation:
        raise Moved(int(answer[0]))
    _, offset, found = answer
    return UserRead(int(offset), found)


class InTurn:
    """Questions to one Redis (not a cluster) on one connection: each goes out as it is asked, answers come in turn.

    While one answer is worked on, the next are on their way; a pipeline would wait for the last.

        with InTurn(client) as questions:
            ask_user(questions, ...)
            ask_rows(questions, ...)
            of_user, of_items = questions.answers()
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool

    def __enter__(self) -> Self:
        self._connection = self._pool.get_connection()
        self._waiting = 0
        return self

    def execute_command(self, *command: Any) -> None:
        """Send one. Raises redis.RedisError."""
        self._connection.send_command(*command)
        self._waiting += 1

    def answers(self) -> Iterator[Any]:
        """Those that have not been taken yet. Raises redis.RedisError, also for what a question was answered with."""
        while self._waiting:
            self._waiting -= 1
            yield self._connection.read_response()

    def __exit__(self, *error: object) -> None:
        if self._waiting or any(error):  # what nobody took must not be the next one's answer
            self._connection.disconnect()
        self._pool.release(self._connection)


def ask_rows(client: Any, keys: Keys, generation: int, view: View, ids: Sequence[str]) -> Any:
    """Ask, or queue on a pipeline, the question for some rows of a snapshot view."""
    names = (keys.deployment(), keys.snapshot(generation), keys.rows(generation, view.name))
    return client.execute_command("EVAL", _ROWS, 3, *names, generation, msgspec.msgpack.encode(ids))


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Final values at the snapshot's instant s, one row per id, `{view:feature: column}`; when each was last seen."""

    s: int
    finals: dict[str, Column]
    seen_e: Column


def rows_read(view: View, answer: Sequence[Any], generation: int) -> RowsRead | None:
    """What `ask_rows` was answered; None before the first snapshot. Raises Moved."""
    if int(answer[0] or FIRST) != generation:
        raise Moved(int(answer[0]))
    if len(answer) < 2 or answer[1] is None:
        return None
    _, s, *packed = answer
    raw, seen_e = unpack_rows(view, packed)
    finals = finalise(view, raw, seen_e, np.full(len(packed), int(s), dtype=np.int64))
    return RowsRead(int(s), finals, seen_e)
