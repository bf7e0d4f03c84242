"""The clients: events as mappings, deadlines, and errors as the house has them."""

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from behavior.errors import BadInput, OpportuneError, Unavailable
from scoring.async_client import AsyncClient
from scoring.client import Client
from scoring.credentials import Credentials
from scoring.messages import event, question
from scoring.v1 import scoring_pb2 as wire


def test_an_event_is_made_of_plain_values() -> None:
    """Datetimes and microseconds, purposes by name and properties by type become the message."""
    made = event(
        message_id="m", kind="rating", user_id="u", event_time=datetime(2017, 10, 15, 4, 0, 0, 7, UTC),
        value_minor=0, utc_offset_s=0, consent=["personalization", "marketing"], properties={"stars": 4, "how": "app"},
    )  # fmt: skip
    assert made.event_time.ToMicroseconds() == 1_508_040_000_000_007
    assert made == event(
        message_id="m", kind="rating", user_id="u", event_time=1_508_040_000_000_007, value_minor=0, utc_offset_s=0,
        consent=["personalization", "marketing"], properties={"stars": 4.0, "how": "app"},
    )  # fmt: skip
    assert made.HasField("value_minor")
    assert list(made.consent) == [wire.PURPOSE_PERSONALIZATION, wire.PURPOSE_MARKETING]
    assert made.properties["how"].text == "app"


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"kinds": "purchase"}, "kinds"),
        ({"consent": ["everything"]}, "everything"),
        ({"event_time": datetime(2017, 10, 15)}, "offset"),  # noqa: DTZ001 - the very mistake
        ({"value_minor": 1.5}, "event"),
        ({"value_minor": 2**63}, "event"),
    ],
)
def test_what_an_event_cannot_carry_is_refused(wrong: dict[str, Any], names: str) -> None:
    """A wrong field, purpose, time or number is one sentence before anything is sent."""
    with pytest.raises(BadInput, match=names):
        event(**{"message_id": "m", "kind": "purchase", "event_time": 0} | wrong)


class Failing(grpc.GenericRpcHandler):
    """A server that answers every call with the next status of its list, then with an empty message."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes = list(codes)
        self.calls = 0

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            self.calls += 1
            if self.codes:
                context.abort(self.codes.pop(0), "the server's own sentence")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def running(server: grpc.GenericRpcHandler, *more: grpc.GenericRpcHandler) -> Iterator[str]:
    """The server's address while the block runs."""
    made = grpc.server(futures.ThreadPoolExecutor(8), handlers=[server, *more])
    port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        made.stop(None).wait()


def by_thread(*addresses: str) -> wire.ScoreResponse:
    """One call of the synchronous client."""
    with Client(*addresses) as client:
        return client.score("u")


def by_task(*addresses: str) -> wire.ScoreResponse:
    """One call of the asynchronous client."""

    async def ask() -> wire.ScoreResponse:
        async with AsyncClient(*addresses) as client:
            return await client.score("u")

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("asked", [by_thread, by_task])
Asked = Callable[..., wire.ScoreResponse]


@BOTH
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_server_that_is_away_is_tried_again(asked: Asked, code: grpc.StatusCode) -> None:
    """Two failures are invisible; CANCELLED is what gRPC answers to calls that a closing server has not looked at."""
    server = Failing(code, code)
    with running(server) as address:
        assert asked(address) == wire.ScoreResponse()
    assert server.calls == 3


@BOTH
def test_a_server_that_stays_away_is_told(asked: Asked) -> None:
    """After five attempts the caller is told, and may send the same call again."""
    server = Failing(*[grpc.StatusCode.UNAVAILABLE] * 9)
    with running(server) as address, pytest.raises(Unavailable, match="the server's own sentence"):
        asked(address)
    assert server.calls == 5


@BOTH
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, BadInput),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OpportuneError),
        (grpc.StatusCode.FAILED_PRECONDITION, OpportuneError),
        (grpc.StatusCode.INTERNAL, OpportuneError),
    ],
)
def test_nothing_else_is_tried_again(asked: Asked, code: grpc.StatusCode, error: type[OpportuneError]) -> None:
    """Any other status is asked once and told in the server's words."""
    server = Failing(code, code)
    with running(server) as address, pytest.raises(error, match="the server's own sentence") as raised:
        asked(address)
    assert type(raised.value) is error
    assert server.calls == 1


def test_a_silent_server_costs_the_deadline_and_no_more() -> None:
    """A server that never answers ends the call when its deadline passes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, deadline_s=0.2) as client, pytest.raises(Unavailable, match="127"):
            client.score("u")


class Counting(grpc.GenericRpcHandler):
    """A server that answers calls and counts them, with a health service that says what it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.metadata: set[tuple[str, str]] = set()
        self.health = health.HealthServicer()
        self.say(health_pb2.HealthCheckResponse.SERVING)

    def say(self, status: int) -> None:
        """Let health say so from now on."""
        self.health.set("scoring.v1.Scoring", status)

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            self.calls += 1
            self.metadata |= set(context.invocation_metadata())
            return b""

        return grpc.unary_unary_rpc_method_handler(answer) if details.method.endswith("Score") else None


@contextmanager
def two_servers() -> Iterator[tuple[Counting, Counting, list[str]]]:
    """Two servers with health, and where they are."""
    with ExitStack() as stack:
        servers, addresses = (Counting(), Counting()), []
        for server in servers:
            watched = grpc.server(futures.ThreadPoolExecutor(8), handlers=[server])
            health_pb2_grpc.add_HealthServicer_to_server(server.health, watched)
            addresses.append(f"127.0.0.1:{watched.add_insecure_port('127.0.0.1:0')}")
            watched.start()
            stack.callback(lambda watched=watched: watched.stop(None).wait())
        yield *servers, addresses


def test_calls_go_round_the_servers_that_are_healthy() -> None:
    """Both get calls; one that says NOT_SERVING gets none, though it would answer; when it serves again it does."""
    with two_servers() as (first, second, addresses), Client(*addresses) as client:

        def reached(server: Counting) -> bool:
            before = server.calls
            for _ in range(10):
                client.score("u")
            return server.calls > before

        def eventually(holds: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 20
            while not holds():
                assert time.monotonic() < deadline

        eventually(lambda: reached(first) and reached(second))
        first.say(health_pb2.HealthCheckResponse.NOT_SERVING)
        eventually(lambda: not reached(first))
        before = first.calls
        for _ in range(50):
            client.score("u")
        assert first.calls == before
        first.say(health_pb2.HealthCheckResponse.SERVING)
        eventually(lambda: reached(first))


def test_the_token_is_sent_with_every_call(tmp_path: Path) -> None:
    """Whatever a caller's credentials say goes with the call."""
    server = Counting()
    token = tmp_path / "token"
    token.write_text("x\n", encoding="utf-8")
    token.chmod(0o600)
    with running(server) as address, Client(address, credentials=Credentials(token_file=token)) as client:
        client.score("u")
    assert ("authorization", "Bearer x") in server.metadata


@BOTH
@pytest.mark.parametrize(
    ("addresses", "names"),
    [
        ([], "needs an address"),
        (["localhost:1", "127.0.0.1:1"], "localhost:1"),
        (["127.0.0.1", "127.0.0.1:1"], "with a port"),
        (["127.0.0.1:1", "[::1]:1"], "only IPv4 or only IPv6"),
    ],
)
def test_addresses_that_cannot_be_used_together_are_refused(asked: Asked, addresses: list[str], names: str) -> None:
    """Before anything is sent, with what to give instead."""
    with pytest.raises(BadInput, match=re.escape(names)):
        asked(*addresses)


def test_a_question_of_an_unknown_kind_is_refused() -> None:
    """The kinds are named; a number that no field can carry is a sentence too."""
    with pytest.raises(BadInput, match="category or item"):
        question("u", candidates=["TEA"], kind="brand")
    with pytest.raises(BadInput, match="no request"):
        question("u", top_k=2**40)


def test_a_client_whose_calls_are_not_taken_holds_back() -> None:
    """After many refusals most calls fail in the client itself, and the server is spared."""
    server = Failing(*[grpc.StatusCode.RESOURCE_EXHAUSTED] * 1000)
    told: list[str] = []
    with running(server) as address, Client(address) as client:
        for _ in range(200):
            with pytest.raises(OpportuneError) as raised:
                client.score("u")
            told.append(str(raised.value))
    held_back = [each for each in told if "held back by the client" in each]
    assert len(held_back) + server.calls == 200
    assert len(held_back) > 100


def test_events_follow_from_the_answers_of_their_client() -> None:
    """What a client has shown is in the request id of the events that it then sends, whichever client it is."""

    class Shop(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            def score(request: bytes, context: Any) -> bytes:
                tea = wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id="TEA")
                return wire.ScoreResponse(request_id="r", ranked=[wire.Ranked(candidate=tea)]).SerializeToString()

            def track(request: bytes, context: Any) -> bytes:
                events = wire.TrackRequest.FromString(request).events
                return wire.TrackResponse(
                    results=[wire.Result(message=each.request_id) for each in events]
                ).SerializeToString()

            return grpc.unary_unary_rpc_method_handler(score if details.method.endswith("Score") else track)

    events = [
        {"message_id": category, "kind": "purchase", "user_id": "u", "category": category, "event_time": 0}
        for category in ("TEA", "RICE")
    ]

    async def by_tasks(address: str) -> list[wire.Result]:
        async with AsyncClient(address) as client:
            await client.score("u")
            return await client.track(events)

    with running(Shop()) as address:
        with Client(address) as client:
            client.score("u")
            assert [each.message for each in client.track(events)] == ["r", ""]
        assert [each.message for each in asyncio.run(by_tasks(address))] == ["r", ""]
