"""The methods as gRPC calls them: bytes become checked messages, errors become statuses, each call has its deadline."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from behavior.errors import (
    Altered,
    BadInput,
    Exhausted,
    Forbidden,
    Gone,
    NotFound,
    OpportuneError,
    Unauthenticated,
    Unavailable,
)
from deployment.connections import PASSING
from deployment.pseudonym import Pseudonyms
from scoring import metrics
from scoring.budget import LONGEST_CALL_S
from scoring.collect import Collect
from scoring.door import Door
from scoring.explaining import Explaining
from scoring.explanation_wire import write_explanation
from scoring.memory import NotReady
from scoring.score import Scoring, score
from scoring.stages import STAGES, timed
from scoring.v1 import scoring_pb2 as wire
from scoring.wire import Asked, parse_request, read_request, write_answer, write_outcomes

_log = logging.getLogger("opportune.serve")
SERVICE = "scoring.v1.Scoring"
_read, _write = timed("request")(read_request), timed("write")(write_answer)

# What an error means to a caller; the first that fits.
STATUS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], grpc.StatusCode], ...] = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (BadInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (Exhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Altered, grpc.StatusCode.DATA_LOSS),
    (Gone, grpc.StatusCode.FAILED_PRECONDITION),
    (NotReady, grpc.StatusCode.FAILED_PRECONDITION),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (PASSING, grpc.StatusCode.UNAVAILABLE),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (OSError, grpc.StatusCode.UNAVAILABLE),
    (Exception, grpc.StatusCode.INTERNAL),
)


# A method: its message, and the caller's deadline as an instant of `time.monotonic`, None without one.
Handle = Callable[[Any, float | None], Coroutine[Any, Any, Any]]


class Servicer:
    """The methods, from message to message."""

    def __init__(self, scoring: Scoring, collect: Collect, pseudonyms: Pseudonyms, explaining: Explaining) -> None:
        self._scoring = scoring
        self._collect = collect
        self._pseudonyms = pseudonyms
        self._explaining = explaining

    async def score(self, asked: Asked, deadline: float | None) -> bytes:
        """Rank candidates for a user; `deadline` is the caller's, as an instant of `time.monotonic`."""
        answer = await score(_read(asked, self._pseudonyms), self._scoring, deadline)
        written = _write(answer)
        metrics.observe_answer(answer, time.monotonic())
        return written

    async def track(self, message: wire.TrackRequest, _: float | None) -> wire.TrackResponse:
        """Take events into the log."""
        outcomes = await self._collect.track(message.events)
        metrics.observe_outcomes(outcomes)
        return write_outcomes(outcomes)

    async def explain(self, message: wire.ExplainRequest, _: float | None) -> wire.ExplainResponse:
        """Make an answer of the past again."""
        return write_explanation(await self._explaining.explain(message.request_id, events=message.events))


def handlers(servicer: Servicer, door: Door) -> Any:
    """The service's methods as gRPC calls them, behind the door."""
    methods: dict[str, tuple[Handle, Callable[[bytes], Any], Callable[[Any], bytes] | None]] = {
        "Score": (servicer.score, parse_request, None),  # waits for nothing but the read, which has a budget
        "Track": (bounded(servicer.track), wire.TrackRequest.FromString, wire.TrackResponse.SerializeToString),
        "Explain": (bounded(servicer.explain), wire.ExplainRequest.FromString, wire.ExplainResponse.SerializeToString),
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                answering(name, handle, guarded(parse), door), response_serializer=serialize
            )
            for name, (handle, parse, serialize) in methods.items()
        },
    )


def bounded(handle: Handle) -> Handle:
    """The method, given up with TimeoutError when the caller's deadline passes, or after LONGEST_CALL_S."""

    async def within(message: Any, deadline: float | None) -> Any:
        left_s = LONGEST_CALL_S if deadline is None else min(deadline - time.monotonic(), LONGEST_CALL_S)
        async with asyncio.timeout(left_s):
            return await handle(message, deadline)

    return within


def guarded(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The parser, except that bytes which are no message become None; gRPC itself would answer UNKNOWN."""

    def parse_or_none(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return None

    return parse_or_none


def answering(
    method: str, handle: Handle, parse: Callable[[bytes], Any], door: Door
) -> Callable[[bytes, Any], Awaitable[Any]]:
    """The method, timed and counted, with its errors as gRPC has them.

    Bytes are parsed here and not by gRPC, which would do it before anybody asked who sent them.
    """
    observe = STAGES.of(method, "all").observe
    counted = metrics.requests_of(method)

    async def call(data: bytes, context: Any) -> Any:
        code, detail = grpc.StatusCode.CANCELLED, ""
        hints: tuple[tuple[str, str], ...] = ()
        try:
            with door.passage(method.lower(), context):
                message = parse(data)
                if message is None:
                    raise BadInput(
                        f"the bytes sent are no {method}Request; compile the client from this server's proto"
                    )
                remaining = context.time_remaining()
                deadline = None if remaining is None else time.monotonic() + remaining
                began = time.perf_counter()
                try:
                    answer = await handle(message, deadline)
                finally:
                    observe(time.perf_counter() - began)
            code = grpc.StatusCode.OK
        except Exception as error:
            code, detail = status_of(error)
            hints = hints_of(error)
        finally:
            counted(code.name)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, detail, hints)
        return answer

    return call


def hints_of(error: Exception) -> tuple[tuple[str, str], ...]:
    """What goes along with the status of an error, as trailing metadata: when to try again."""
    return (("retry-after-ms", str(error.retry_after_ms)),) if isinstance(error, Exhausted) else ()


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status and the sentence that a caller gets for an error; what is ours to mend is logged."""
    code = next(code for kind, code in STATUS if isinstance(error, kind))
    if code is grpc.StatusCode.INTERNAL:
        _log.error("a call failed", exc_info=error)
        return code, "internal error; the server's log has it"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return code, "the deadline passed before there was an answer"
    return code, str(error) if isinstance(
        error, OpportuneError
    ) else f"the state does not answer ({type(error).__name__})"
