"""One connection to one Redis over which many ask at once: questions go out as they are asked, answers come in turn.

    ask ──▶ sent at once; uvloop sends what is asked in one turn of the event loop together
            answered in the order asked ──▶ to who waits, or to who has given up and takes it late
    no answer for a while, or a reply out of step ──▶ the connection is closed, and what waits on it fails
    the next question ──▶ connects anew, once for all that ask meanwhile

redis-py's client for event loops takes several times as long per question: a connection from a pool, a stream behind
a lock, a reader in Python. A cluster has no one connection to hold; there redis-py's client stays.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, Self, cast

import hiredis
import redis
from redis.connection import DefaultParser

from deployment.address import Address

_MORE = object()
_MULTI: bytes = hiredis.pack_command(("MULTI",))
_EXEC: bytes = hiredis.pack_command(("EXEC",))

# Takes what a question was answered with after who asked had given up.
Late = Callable[[Any], None]


class Question(NamedTuple):
    """The bytes that ask, how many replies come, and what makes the answer of them; it raises InvalidResponse."""

    packed: bytes
    replies: int
    answer: Callable[[list[Any]], Any]


def packed(*command: Any) -> bytes:
    """The bytes of a command.

    >>> packed("GET", "k").split()
    [b'*2', b'$3', b'GET', b'$1', b'k']
    """
    return cast("bytes", hiredis.pack_command(command))


def question(*command: Any) -> Question:
    """One command; its reply is the answer."""
    return Question(packed(*command), 1, itemgetter(0))


def at_once(*commands: bytes) -> Question:
    """Packed commands of one instant; the list of their replies is the answer, or the first error among them."""
    return Question(b"".join((_MULTI, *commands, _EXEC)), len(commands) + 2, _of_one_instant)


def apart(*commands: bytes) -> Question:
    """Packed commands that have nothing to do with each other; the list of replies is the answer, errors among them."""
    return Question(b"".join(commands), len(commands), list)


class Conversation:
    """Asks one Redis, inside an event loop; connects at the first question, and at the next one after a loss.

    timeout_s   how long connecting may take, and how long a question may wait; one that waits for longer has the
                connection closed, since whatever was asked after it waits too

    A question fails with redis.ConnectionError or redis.TimeoutError if the connection is lost, with redis-py's error
    for the reply if Redis refuses, and with redis.InvalidResponse if what comes is not RESP, or not in step.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._address = Address.of(url)
        self._timeout_s = timeout_s
        self._talk: _Talk | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._pending: list[_Asked] = []
        self._given_up: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        """Itself; the first question connects."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close."""
        await self.aclose()

    @property
    def given_up(self) -> int:
        """How many questions are still on their way though nobody waits for them any more."""
        return len(self._given_up)

    async def get(self, key: bytes) -> Any:
        """The value of a string; None if there is none. Raises redis.RedisError."""
        return await self.ask(question("GET", key))

    async def ask(self, asking: Question, late: Late | None = None) -> Any:
        """The answer; if the caller is cancelled before it comes, `late` takes it.

        Raises redis.RedisError.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(asking, loop.create_future(), loop.time())
        if self._talk is not None and self._talk.is_open:
            self._talk.send(asked)
        else:
            self._pending.append(asked)
            if self._connecting is None:
                self._connecting = loop.create_task(self._connect())
        try:
            return await asked.answer
        except asyncio.CancelledError:
            if not asked.settled:
                asked.answer = loop.create_future()
                self._given_up.add(asked.answer)
                asked.answer.add_done_callback(partial(self._came_late, late))
            raise

    async def aclose(self) -> None:
        """Close the connection; what waits fails."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._talk is not None:
            self._talk.close(_closed())

    def _came_late(self, late: Late | None, answer: "asyncio.Future[Any]") -> None:
        self._given_up.discard(answer)
        if answer.exception() is None and late is not None:
            late(answer.result())

    async def _connect(self) -> None:
        outcome: _Talk | Exception = _closed()
        try:
            async with asyncio.timeout(self._timeout_s):
                outcome = await self._greeted()
        except redis.RedisError as error:
            outcome = error
        except TimeoutError:
            outcome = redis.TimeoutError(f"Redis at {self._address} has not taken a connection in time")
        except Exception as error:  # an OSError, or whatever it is: nobody may be left waiting
            outcome = redis.ConnectionError(f"cannot connect to Redis at {self._address} ({error})")
        finally:
            self._connecting = None
            pending, self._pending = self._pending, []
            if isinstance(outcome, _Talk):
                self._talk = outcome
                for asked in pending:
                    outcome.send(asked)
            else:
                _fail(pending, outcome)

    async def _greeted(self) -> "_Talk":
        """A new connection on which Redis knows who we are and which database we mean."""
        loop = asyncio.get_running_loop()
        talk = await self._address.open(lambda: _Talk(loop, self._timeout_s))
        try:
            for greeting in self._address.greetings():
                asked = _Asked(question(*greeting), loop.create_future(), loop.time())
                talk.send(asked)
                await asked.answer
        except BaseException:
            talk.close(_closed())
            raise
        return talk


@dataclass(slots=True, eq=False)
class _Asked:
    """A question on its way since an instant of the loop, and whether its answer, or why there is none, has come."""

    question: Question
    answer: "asyncio.Future[Any]"
    since: float
    settled: bool = field(default=False, init=False)

    def settle(self, outcome: Any) -> None:
        """Hand over the answer, or the exception that stands for it; nobody takes it of a caller that has just gone."""
        self.settled = True
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class _Talk(asyncio.Protocol):
    """One connection, from its first byte to its last: each reply belongs to the oldest question without an answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_MORE
        )
        self._waiting: deque[_Asked] = deque()
        self._replies: list[Any] = []
        self._watch: asyncio.TimerHandle | None = None
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        """Take questions from now on."""
        self._transport = transport
        self.is_open = True

    def send(self, asked: _Asked) -> None:
        """Send a question; it fails at once if the connection is closed."""
        if not self.is_open:
            asked.settle(_closed())
            return
        self._waiting.append(asked)
        try:
            self._transport.write(asked.question.packed)
        except RuntimeError:  # what uvloop says of a connection that was reset, until it tells that it is lost
            return
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)

    def data_received(self, data: bytes) -> None:
        """Hand over every answer that is whole now."""
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _MORE:
                self._take(reply)
        except redis.InvalidResponse as error:
            self.close(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Let everything fail that waits."""
        self.close(redis.ConnectionError(f"the connection to Redis was lost ({error or 'Redis has closed it'})"))

    def close(self, error: Exception) -> None:
        """Close the connection; what waits fails with the error."""
        self.is_open = False
        self._transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        _fail(waiting, error)

    def _take(self, reply: Any) -> None:
        if not self._waiting:
            raise redis.InvalidResponse("Redis has said what nobody asked for")
        asked = self._waiting[0].question
        self._replies.append(reply)
        if len(self._replies) == asked.replies:
            answer, self._replies = asked.answer(self._replies), []
            self._waiting.popleft().settle(answer)

    def _look(self) -> None:
        """Close if the oldest question has waited for too long, else look again when it will have."""
        self._watch = None
        if not self._waiting:
            return
        left_s = self._waiting[0].since + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.close(redis.TimeoutError(f"Redis has not answered within {self._timeout_s:g} s"))
        else:
            self._watch = self._loop.call_later(left_s, self._look)


def _of_one_instant(replies: list[Any]) -> Any:
    """What EXEC has answered, or the first error of all. Raises redis.InvalidResponse if it is no such answer."""
    *before, answer = replies
    in_step = before == [b"OK", *[b"QUEUED"] * (len(before) - 1)] and isinstance(answer, list)
    in_step = in_step and len(answer) == len(before) - 1
    for told in answer if in_step else replies:
        if isinstance(told, Exception):
            return told
    if not in_step:
        raise redis.InvalidResponse("Redis has answered another question than the one that was asked")
    return answer


def _fail(waiting: "Iterable[_Asked]", error: Exception) -> None:
    # One of its own for each: what is raised in many places would gather the traces of all of them.
    for asked in waiting:
        asked.settle(copy(error))


def _closed() -> redis.ConnectionError:
    return redis.ConnectionError("the connection to Redis is closed")
