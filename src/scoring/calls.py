"""The methods as gRPC calls them: bytes become checked messages, errors become statuses, each call has its deadline."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from behavior.errors import Altered, BadInput, Gone, NotFound, OpportuneError, Unavailable
from deployment.connections import PASSING
from deployment.pseudonym import Pseudonyms
from scoring import metrics
from scoring.collect import Collect
from scoring.explaining import Explaining
from scoring.explanation_wire import write_explanation
from scoring.memory import NotReady
from scoring.score import Scoring, score
from scoring.v1 import scoring_pb2 as wire
from scoring.wire import read_request, write_answer, write_outcomes

_log = logging.getLogger("opportune.serve")
SERVICE = "scoring.v1.Scoring"
# A call without a deadline of its own, and one with a longer one, gets this much.
LONGEST_CALL_S = 2.0

# What an error means to a caller; the first that fits.
STATUS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], grpc.StatusCode], ...] = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (BadInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Altered, grpc.StatusCode.DATA_LOSS),
    (Gone, grpc.StatusCode.FAILED_PRECONDITION),
    (NotReady, grpc.StatusCode.FAILED_PRECONDITION),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (PASSING, grpc.StatusCode.UNAVAILABLE),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (OSError, grpc.StatusCode.UNAVAILABLE),
    (Exception, grpc.StatusCode.INTERNAL),
)


class Servicer:
    """The methods, from message to message."""

    def __init__(self, scoring: Scoring, collect: Collect, pseudonyms: Pseudonyms, explaining: Explaining) -> None:
        self._scoring = scoring
        self._collect = collect
        self._pseudonyms = pseudonyms
        self._explaining = explaining

    async def score(self, message: wire.ScoreRequest) -> wire.ScoreResponse:
        """Rank candidates for a user."""
        answer = await score(read_request(message, self._pseudonyms), self._scoring)
        metrics.observe_answer(answer)
        with metrics.STAGES.labels("Score", "write").time():
            return write_answer(answer)

    async def track(self, message: wire.TrackRequest) -> wire.TrackResponse:
        """Take events into the log."""
        outcomes = await self._collect.track(message.events)
        metrics.observe_outcomes(outcomes)
        return write_outcomes(outcomes)

    async def explain(self, message: wire.ExplainRequest) -> wire.ExplainResponse:
        """Make an answer of the past again."""
        return write_explanation(await self._explaining.explain(message.request_id, events=message.events))


def handlers(servicer: Servicer) -> Any:
    """The service's methods as gRPC calls them."""
    methods: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any, Any]] = {
        "Score": (servicer.score, wire.ScoreRequest, wire.ScoreResponse),
        "Track": (servicer.track, wire.TrackRequest, wire.TrackResponse),
        "Explain": (servicer.explain, wire.ExplainRequest, wire.ExplainResponse),
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                answering(name, handle),
                request_deserializer=guarded(request.FromString),
                response_serializer=response.SerializeToString,
            )
            for name, (handle, request, response) in methods.items()
        },
    )


def guarded(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The parser, except that bytes which are no message become None; gRPC itself would answer UNKNOWN."""

    def parse_or_none(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return None

    return parse_or_none


def answering(method: str, handle: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """The method within its deadline, timed and counted, with its errors as gRPC has them."""

    async def call(message: Any, context: Any) -> Any:
        code, detail = grpc.StatusCode.CANCELLED, ""
        try:
            if message is None:
                raise BadInput(f"the bytes sent are no {method}Request; compile the client from this server's proto")
            remaining = context.time_remaining()
            async with asyncio.timeout(LONGEST_CALL_S if remaining is None else min(remaining, LONGEST_CALL_S)):
                with metrics.STAGES.labels(method, "all").time():
                    answer = await handle(message)
            code = grpc.StatusCode.OK
        except Exception as error:
            code, detail = status_of(error)
        finally:
            metrics.REQUESTS.labels(method, code.name).inc()
        if code is not grpc.StatusCode.OK:
            await context.abort(code, detail)
        return answer

    return call


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
