"""The client: events as mappings, deadlines, and errors as the house has them."""

import socket
from concurrent import futures
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from behavior.errors import BadInput, OpportuneError, Unavailable
from scoring.client import Client
from scoring.messages import event
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


def called(server: Failing) -> wire.ScoreResponse:
    """What the client makes of that server's answers."""
    running = grpc.server(futures.ThreadPoolExecutor(2), handlers=[server])
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        with Client(f"127.0.0.1:{port}") as client:
            return client.score("u")
    finally:
        running.stop(None).wait()


def test_unavailable_is_tried_again() -> None:
    """Two failures of a server that is away are invisible."""
    server = Failing(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    assert called(server) == wire.ScoreResponse()
    assert server.calls == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, BadInput),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OpportuneError),
        (grpc.StatusCode.FAILED_PRECONDITION, OpportuneError),
        (grpc.StatusCode.INTERNAL, OpportuneError),
    ],
)
def test_nothing_else_is_tried_again(code: grpc.StatusCode, error: type[OpportuneError]) -> None:
    """Any other status is asked once and told in the server's words."""
    server = Failing(code, code)
    with pytest.raises(error, match="the server's own sentence") as raised:
        called(server)
    assert type(raised.value) is error
    assert server.calls == 1


def test_a_silent_server_costs_the_deadline_and_no_more() -> None:
    """A server that never answers ends the call when its deadline passes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, deadline_s=0.2) as client, pytest.raises(Unavailable, match="127"):
            client.score("u")
