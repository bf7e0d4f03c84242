"""The floor: a server on the scorer's own stack that parses the same request and answers an empty ScoreResponse.

python -m tests.benchmarks.empty         prints the port that it listens on, and serves until its input ends
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop

from scoring.calls import SERVICE
from scoring.limits import SERVER_OPTIONS
from scoring.v1 import scoring_pb2 as wire

Score = Callable[[wire.ScoreRequest], Awaitable[wire.ScoreResponse]]


async def nothing(request: wire.ScoreRequest) -> wire.ScoreResponse:
    """No candidates."""
    return wire.ScoreResponse()


def run(score: Score) -> None:
    """Serve a Score on a free port, as the scorer would: grpc.aio with its options, uvloop, one process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(score))


async def _serve(score: Score) -> None:
    server = grpc.aio.server(options=SERVER_OPTIONS)

    async def call(request: Any, context: Any) -> wire.ScoreResponse:
        return await score(request)

    handler = grpc.unary_unary_rpc_method_handler(
        call, wire.ScoreRequest.FromString, wire.ScoreResponse.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Score": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    run(nothing)
