"""Many ask over one connection, and whatever becomes of it and of them, each is answered with what it asked for."""

import asyncio
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from deployment import conversation as conversations
from deployment.address import Address
from deployment.connections import PASSING
from deployment.conversation import Conversation, Late, Question, apart, at_once, packed, question
from deployment.redis_server import redis_server
from tests.chaos.line import Line
from tests.scoring.authority import Authority

TIMEOUT_S = 0.2
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def ask(request: pytest.FixtureRequest) -> Callable[[str, Callable[[Conversation], Awaitable[Any]]], Any]:
    """Runs what is asked in a conversation with a URL, on either event loop."""

    def run(url: str, asking: Callable[[Conversation], Awaitable[Any]]) -> Any:
        async def asked() -> Any:
            async with Conversation(url, TIMEOUT_S) as conversation:
                return await asking(conversation)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asked())

    return run


def echo(said: Any) -> Question:
    """A question whose answer is itself."""
    return question("ECHO", said)


@asynccontextmanager
async def saying(*answers: bytes, secured: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that says the next of `answers` to whatever it is sent, then nothing more; its URL."""
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10_000):
            writer.write(next(left, b""))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=secured)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


def answered(asking: Question, *said: bytes) -> Any:
    """What is made of a server's words, or the error that is raised."""

    async def run() -> Any:
        async with saying(*said) as url, Conversation(url, TIMEOUT_S) as conversation:
            return await conversation.ask(asking)

    try:
        return asyncio.run(run())
    except redis.RedisError as error:
        return error


# ------------------------------------------------------------------------------------------------------ answers


def test_each_is_answered_with_what_it_asked_for(redis_url: str, ask: Any) -> None:
    """A thousand at once, single commands and those of one instant, over one connection."""

    async def asking(conversation: Conversation) -> None:
        async def one(number: int) -> None:
            if number % 3:
                assert await conversation.ask(echo(number)) == b"%d" % number
            else:
                both = packed("ECHO", number), packed("ECHO", -number)
                asking = at_once(*both) if number % 2 else apart(*both)
                assert await conversation.ask(asking) == [b"%d" % number, b"%d" % -number]

        await asyncio.gather(*(one(number) for number in range(1_000)))

    ask(redis_url, asking)


def test_a_refusal_is_redis_pys_error_and_nobody_elses(redis_url: str, prefix: str, ask: Any) -> None:
    """Of a command alone, among those of one instant, and of one that makes Redis drop the others."""

    async def asking(conversation: Conversation) -> None:
        text = f"{prefix}:text"
        await conversation.ask(question("SET", text, "x"))
        wrong = packed("HGETALL", text)
        asked = (
            conversation.ask(question("HGETALL", text)), conversation.ask(at_once(packed("GET", text), wrong)),
            conversation.ask(at_once(packed("GET", text), packed("NONSENSE"))), conversation.get(text.encode()),
        )  # fmt: skip
        alone, among, dropped, own = await asyncio.gather(*asked, return_exceptions=True)
        told, beside = await conversation.ask(apart(wrong, packed("GET", text)))
        assert (str(told), beside) == (str(alone), b"x")
        assert isinstance(alone, redis.ResponseError)
        assert isinstance(among, redis.ResponseError)
        assert str(alone) == str(among)
        assert str(alone).startswith("WRONGTYPE")
        assert isinstance(dropped, redis.ResponseError)
        assert "unknown command" in str(dropped)
        assert own == b"x"

    ask(redis_url, asking)


def test_the_error_classes_are_those_of_redis_py() -> None:
    """A Redis that loads is away for a while, one that wants a password is not."""
    assert type(answered(echo("x"), b"-LOADING Redis is loading the dataset in memory\r\n")) is redis.BusyLoadingError
    assert type(answered(echo("x"), b"-NOAUTH Authentication required.\r\n")) is redis.AuthenticationError
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    told = answered(at_once(packed("GET", "k")), loading * 2 + b"-ERR EXEC without MULTI\r\n")
    assert type(told) is redis.BusyLoadingError


OUT_OF_STEP = {
    "not RESP": (echo("x"), b"HTTP/1.1 400 Bad Request\r\n"),
    "no herald": (at_once(packed("GET", "k")), b"$1\r\nx\r\n+QUEUED\r\n*1\r\n$1\r\ny\r\n"),
    "no list": (at_once(packed("GET", "k")), b"+OK\r\n+QUEUED\r\n$1\r\nx\r\n"),
    "too many": (at_once(packed("GET", "k")), b"+OK\r\n+QUEUED\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n"),
    "no EXEC": (at_once(packed("GET", "k")), b"+OK\r\n+QUEUED\r\n*-1\r\n"),
}


@pytest.mark.parametrize("case", OUT_OF_STEP)
def test_what_is_no_answer_to_the_question_is_an_error(case: str) -> None:
    """Rather than somebody's answer."""
    asking, said = OUT_OF_STEP[case]
    assert type(answered(asking, said)) is redis.InvalidResponse


def test_what_nobody_asked_for_closes_the_connection() -> None:
    """Else it would be the next one's answer."""

    async def run() -> None:
        async with saying(b"$1\r\na\r\n$1\r\nb\r\n", b"$1\r\nc\r\n") as url, Conversation(url, 1.0) as conversation:
            assert await conversation.ask(echo("a")) == b"a"
            assert await conversation.ask(echo("c")) == b"c"

    asyncio.run(run())


@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"+OK\r\n", b"*1\r\n", b"$-1\r\n", b":1\r\n", b"-ERR x\r\n"])),
    st.booleans(),
)
def test_no_bytes_break_anything(said: list[bytes], together: bool) -> None:
    """Whatever comes, in whatever pieces: a question is answered, fails with redis-py's errors, or still waits."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        talk = conversations._Talk(loop, 10.0)
        talk.connection_made(_Nowhere())
        asking = at_once(packed("PING")) if together else question("PING")
        asked = [conversations._Asked(asking, loop.create_future(), loop.time()) for _ in range(3)]
        for each in asked:
            talk.send(each)
        for data in said:
            if talk.is_open:
                talk.data_received(data)
        talk.connection_lost(None)
        assert [each.settled for each in asked] == [True] * 3
        for each in asked:
            error = each.answer.exception()
            assert error is None or isinstance(error, redis.RedisError)

    asyncio.run(run())


def test_a_connection_that_is_lost_in_this_turn_of_the_loop_is_a_lost_one() -> None:
    """uvloop's transport refuses to write before it tells that the connection is lost."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        talk = conversations._Talk(loop, 10.0)
        talk.connection_made(_Reset())
        asked = conversations._Asked(question("PING"), loop.create_future(), loop.time())
        talk.send(asked)
        assert not asked.settled
        talk.connection_lost(ConnectionResetError("reset"))
        with pytest.raises(redis.ConnectionError, match="reset"):
            await asked.answer

    asyncio.run(run())


class _Nowhere:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Nothing."""


class _Reset(_Nowhere):
    """A transport that takes nothing any more."""

    def write(self, data: bytes) -> None:
        """Refused."""
        raise RuntimeError("the handler is closed")


# ------------------------------------------------------------------------------------------------------ who has gone


async def mixed_up(conversation: Conversation, line: Line) -> int:
    """How many are answered with another's answer while callers go away at any moment and the line breaks and heals."""
    draw, wrong = random.Random(1), 0

    async def caller(number: int) -> None:
        nonlocal wrong
        for turn in range(40):
            said = b"%d/%d" % (number, turn)
            with suppress(TimeoutError, *PASSING):
                async with asyncio.timeout(draw.choice((0.0, 0.0005, 0.001, 0.01, 1.0))):
                    wrong += await conversation.ask(echo(said)) != said
            await asyncio.sleep(0.001)

    callers = [asyncio.create_task(caller(number)) for number in range(20)]
    for _ in range(3):
        await asyncio.sleep(0.02)
        line.cut()
        line.heal()
    await asyncio.gather(*callers)
    return wrong


def test_answers_are_never_mixed_up(redis_url: str, ask: Any) -> None:
    """Who goes away leaves its place in the row: its answer is not the next one's."""

    async def asking(conversation: Conversation) -> None:
        assert await mixed_up(conversation, line) == 0
        assert await conversation.ask(echo("after")) == b"after"
        assert conversation.given_up == 0

    with Line(_port(redis_url)) as line:
        ask(line.url, asking)


class Forgetful(Conversation):
    """Gives the place in the row of who has gone to the next one."""

    async def ask(self, asking: Question, late: Late | None = None) -> Any:
        """Somebody's answer."""
        try:
            return await super().ask(asking, late)
        except asyncio.CancelledError:
            if self._talk is not None:
                self._talk._waiting = deque(each for each in self._talk._waiting if each.answer not in self._given_up)
            raise


def test_a_conversation_that_forgets_who_has_gone_mixes_answers_up(redis_url: str) -> None:
    """The control: the check above finds it out."""

    async def run() -> int:
        async with Forgetful(line.url, 1.0) as conversation:
            return await mixed_up(conversation, line)

    with Line(_port(redis_url)) as line:
        assert asyncio.run(run()) > 0


def test_who_has_gone_has_the_answer_taken_late(redis_url: str, ask: Any) -> None:
    """Once, when it comes; of a question that fails nothing is taken, and neither is counted any more."""
    taken: list[Any] = []

    async def hurry(conversation: Conversation, said: str) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await conversation.ask(echo(said), taken.append)

    async def asking(conversation: Conversation) -> None:
        await conversation.ask(echo("connected"))
        for end, expected in ((line.heal, [b"late"]), (line.cut, [])):
            line.freeze()
            await hurry(conversation, "late")
            assert (conversation.given_up, taken) == (1, [])
            end()
            while conversation.given_up:
                await asyncio.sleep(0.001)
            assert taken == expected
            taken.clear()

    with Line(_port(redis_url)) as line:
        ask(line.url, asking)


# ------------------------------------------------------------------------------------------------------ connections


def test_all_that_ask_share_one_connection_and_connect_once_after_a_loss(redis_url: str, ask: Any) -> None:
    """Whoever waits when it is lost is told so; who asks next connects, once for all that ask meanwhile."""

    async def asking(conversation: Conversation) -> None:
        async def all_of(number: int) -> list[Any]:
            return await asyncio.gather(
                *(conversation.ask(echo(each)) for each in range(number)), return_exceptions=True
            )

        assert await all_of(50) == [b"%d" % each for each in range(50)]
        assert line.connections == 1
        line.freeze()
        waiting = asyncio.create_task(all_of(50))
        await asyncio.sleep(0.01)
        line.cut()
        assert {type(each) for each in await waiting} == {redis.ConnectionError}
        assert {type(each) for each in await all_of(5)} == {redis.ConnectionError}, "not for longer than it takes"
        line.heal()
        before = line.connections
        assert await all_of(50) == [b"%d" % each for each in range(50)]
        assert line.connections == before + 1

    with Line(_port(redis_url)) as line:
        ask(line.url, asking)


def test_a_silent_redis_is_left_and_asked_anew(redis_url: str, ask: Any) -> None:
    """What waits for longer than the timeout fails, with all that was asked after it; the next one is on a new line."""

    async def asking(conversation: Conversation) -> None:
        await conversation.ask(echo("connected"))
        line.freeze()
        began = time.monotonic()
        waiting = [asyncio.ensure_future(conversation.ask(echo(each))) for each in range(3)]
        assert {type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {redis.TimeoutError}
        assert time.monotonic() - began > TIMEOUT_S / 2
        connected = line.connections
        line.heal()
        assert await conversation.ask(echo("again")) == b"again"
        assert line.connections == connected + 1
        await asyncio.sleep(1.5 * TIMEOUT_S)
        assert await conversation.ask(echo("idle")) == b"idle", "silence that nobody waits in is none"
        assert line.connections == connected + 1

    with Line(_port(redis_url)) as line:
        ask(line.url, asking)


def test_nobody_there_is_a_connection_error(ask: Any) -> None:
    """At once, and for everybody that waits."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"redis://127.0.0.1:{port}/0", "unix:///nowhere/redis.sock"):

        async def asking(conversation: Conversation) -> list[Any]:
            return await asyncio.gather(*(conversation.ask(echo("x")) for _ in range(3)), return_exceptions=True)

        assert [type(each) for each in ask(url, asking)] == [redis.ConnectionError] * 3


def test_a_redis_that_does_not_greet_is_a_timeout(ask: Any) -> None:
    """One timeout for connecting as a whole."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}/3"
        with pytest.raises(redis.TimeoutError):
            ask(url, lambda conversation: conversation.ask(echo("x")))


def test_what_is_closed_lets_nobody_wait(redis_url: str) -> None:
    """Neither who waits for an answer nor who waits for a connection."""

    async def run() -> None:
        for connected in (True, False):
            conversation = Conversation(line.url, 10.0)
            if connected:
                await conversation.ask(echo("connected"))
            line.freeze()
            waiting = asyncio.ensure_future(conversation.ask(echo("x")))
            await asyncio.sleep(0.01)
            await conversation.aclose()
            with pytest.raises(redis.ConnectionError):
                await waiting
            line.heal()

    with Line(_port(redis_url)) as line:
        asyncio.run(run())


def test_the_url_says_who_asks_and_where(tmp_path: Path, ask: Any) -> None:
    """User, password, database and name, over TCP and a socket, as redis-py takes them; a wrong password is refused."""
    with redis_server(tmp_path / "redis", durable=False) as server:
        port = server.port
        with redis.Redis.from_url(server.url) as client:
            client.set("place", "zero")
            client.execute_command("ACL", "SETUSER", "ada", "on", ">p@ss", "~*", "+@all")
            client.execute_command("CONFIG", "SET", "requirepass", "sesame")
            client.select(3)
            client.set("place", "three")

        async def told(conversation: Conversation) -> tuple[bytes, bytes, bytes]:
            who = [await conversation.ask(question(*each)) for each in (("ACL", "WHOAMI"), ("CLIENT", "GETNAME"))]
            return await conversation.get(b"place"), who[0], who[1]

        assert ask(f"redis://ada:p%40ss@127.0.0.1:{port}/3?client_name=n", told) == (b"three", b"ada", b"n")
        assert ask(f"redis://:sesame@127.0.0.1:{port}", told)[:2] == (b"zero", b"default")
        for url in (f"redis://:wrong@127.0.0.1:{port}/3", f"redis://127.0.0.1:{port}/3"):
            with pytest.raises(redis.AuthenticationError):
                ask(url, told)
        with pytest.raises(redis.ResponseError):
            ask(f"redis://:sesame@127.0.0.1:{port}/99", told)


def test_a_server_without_a_certificate_of_ours_is_not_spoken_to(tmp_path: Path) -> None:
    """By TLS the options of the URL hold, as redis-py takes them: whom to trust, and whether the name counts."""
    authority = Authority(tmp_path / "ours")
    own = authority.issue("redis", "localhost")
    secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.load_cert_chain(own.certificate_file, own.key_file)
    stranger = Authority(tmp_path / "theirs")

    async def run(trusted: Authority) -> Any:
        options = f"ssl_ca_certs={trusted.file}&ssl_check_hostname=true"
        async with saying(b"$1\r\nx\r\n", secured=secured) as url:
            place = url.replace("redis://127.0.0.1", "rediss://localhost")
            async with Conversation(f"{place}?{options}", 1.0) as conversation:
                return await conversation.ask(echo("x"))

    assert asyncio.run(run(authority)) == b"x"
    with pytest.raises(redis.ConnectionError, match="certificate"):
        asyncio.run(run(stranger))


def test_an_address_tells_no_password() -> None:
    """It stands in messages."""
    assert str(Address.of("redis://ada:secret@somewhere:1/2")) == "somewhere:1"
    assert str(Address.of("unix:///run/redis.sock?password=secret")) == "/run/redis.sock"


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
