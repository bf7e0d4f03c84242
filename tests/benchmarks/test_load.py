"""The load generators against a small server: no failure is counted as an answer, and nobody waits for anybody."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from behavior.errors import OpportuneError
from scoring.v1 import scoring_pb2 as wire
from tests.benchmarks.costs import cpu_us, family, resident_mb
from tests.benchmarks.histogram import Histogram
from tests.benchmarks.load import (
    Closed,
    Generator,
    Load,
    Open,
    _Calls,
    arrivals,
    closed_loop,
    open_loop,
    read_requests,
    write_requests,
)
from tests.benchmarks.servers import served

RATE, SECONDS = 2_000.0, 30.0
REQUESTS = [wire.ScoreRequest(user_id=f"u{number}").SerializeToString() for number in range(7)]


@asynccontextmanager
async def answering(score: Callable[[int, Any], Awaitable[wire.ScoreResponse]]) -> Any:
    """The address of a server that hands the number of each call, from 0 on, and its context to `score`."""
    numbers = iter(range(1_000_000))

    async def call(request: bytes, context: Any) -> wire.ScoreResponse:
        return await score(next(numbers), context)

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(call, None, wire.ScoreResponse.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("scoring.v1.Scoring", {"Score": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def faulty(number: int, context: Any) -> wire.ScoreResponse:
    """Of ten calls one is refused, two rank too little and one is degraded; the first one is in order."""
    if number % 10 == 3:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
    degraded = [wire.Degradation(reason="snapshot_stale")] if number % 10 == 7 else []
    return wire.ScoreResponse(ranked=[wire.Ranked()] * (1 if number % 10 in (4, 5) else 2), degraded=degraded)


# ------------------------------------------------------------------------------------------------------------- arrivals


def test_gaps_between_arrivals_are_those_of_a_poisson_process() -> None:
    """Exponential with the mean that was asked for: as many longer than x as e^(−x / mean), and no two alike."""
    at = arrivals(RATE, SECONDS, seed=1)
    gaps = np.diff(at)
    assert (gaps > 0).all()
    assert at[0] >= 0
    assert at[-1] < SECONDS
    assert len(at) == pytest.approx(RATE * SECONDS, rel=4 / np.sqrt(RATE * SECONDS))
    for times in (0.1, 0.5, 1.0, 2.0, 4.0):
        assert float((gaps > times / RATE).mean()) == pytest.approx(np.exp(-times), abs=0.01)


def test_arrivals_follow_from_the_seed() -> None:
    """Two servers can be offered the very same instants."""
    assert np.array_equal(arrivals(50.0, 3.0, seed=1), arrivals(50.0, 3.0, seed=1))
    assert not np.array_equal(arrivals(50.0, 3.0, seed=1), arrivals(50.0, 3.0, seed=2))


# ---------------------------------------------------------------------------------------------------------- what counts


def test_a_closed_loop_counts_what_failed_and_what_was_wrong() -> None:
    """Refusals are counted by status and have no latency; an answer that ranks something else is no right one."""

    async def run() -> Load:
        async with answering(faulty) as address:
            return await closed_loop(Closed(address, 1, 99, ranked=2), REQUESTS)

    load = asyncio.run(run())  # the connection's first call is number 0 and not counted
    assert (load.calls, load.answered, load.failed) == (99, 89, {"RESOURCE_EXHAUSTED": 10})
    assert len(load.histogram) == load.answered
    assert load.wrong_answers == 20
    assert load.degraded == {"snapshot_stale": 10}
    with pytest.raises(OpportuneError, match=r"RESOURCE_EXHAUSTED.*wrong answers 20"):
        load.check()


def test_an_open_loop_counts_the_same_way() -> None:
    """One call per arrival, whatever becomes of it."""
    asked = Open("", 1, 400.0, 0.25, ranked=2, seed=3)
    number = len(arrivals(asked.rate_per_s, asked.seconds, asked.seed))

    async def run() -> Load:
        async with answering(faulty) as address:
            return await open_loop(Open(address, 1, 400.0, 0.25, ranked=2, seed=3), REQUESTS)

    load = asyncio.run(run())
    refused = len([each for each in range(1, number + 1) if each % 10 == 3])
    assert (load.calls, load.failed) == (number, {"RESOURCE_EXHAUSTED": refused})
    assert load.answered == len(load.histogram) == number - refused
    assert load.wrong_answers == len([each for each in range(1, number + 1) if each % 10 in (4, 5)])


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_a_server_that_only_fails_has_no_latency(status: grpc.StatusCode) -> None:
    """Quick refusals must not look like quick answers."""

    async def refusing(number: int, context: Any) -> wire.ScoreResponse:
        if number:
            await context.abort(status, "no")
        return wire.ScoreResponse()

    async def run() -> Load:
        async with answering(refusing) as address:
            return await closed_loop(Closed(address, 1, 5, ranked=0), REQUESTS)

    load = asyncio.run(run())
    assert (load.answered, load.failed) == (0, {status.name: 5})
    assert np.isnan(load.histogram.percentile(50.0))


# ------------------------------------------------------------------------------------------------------------ who waits


def test_an_open_loop_goes_on_while_nothing_is_answered() -> None:
    """The server answers nobody until all calls are there: a loop that waited for an answer would wait for ever."""
    asked = Open("", 2, 300.0, 0.2, ranked=0, seed=4)
    number = len(arrivals(asked.rate_per_s, asked.seconds, asked.seed))
    assert number > 30

    async def run() -> Load:
        everybody = asyncio.Event()

        async def patient(call: int, context: Any) -> wire.ScoreResponse:
            if call + 1 == number + asked.connections:
                everybody.set()
            if call >= asked.connections:
                await everybody.wait()
            return wire.ScoreResponse()

        async with answering(patient) as address:
            return await open_loop(Open(address, 2, 300.0, 0.2, ranked=0, seed=4), REQUESTS)

    assert asyncio.run(run()).answered == number


def test_a_closed_loop_has_one_call_on_each_connection() -> None:
    """So many at once as connections, and never more."""
    most = 0

    async def run() -> None:
        now = 0

        async def counting(number: int, context: Any) -> wire.ScoreResponse:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.002)
            now -= 1
            return wire.ScoreResponse()

        async with answering(counting) as address:
            (await closed_loop(Closed(address, 3, 40, ranked=0), REQUESTS)).check()

    asyncio.run(run())
    assert most == 3


def test_latency_counts_from_the_instant_that_was_meant() -> None:
    """A call that starts late because others were in its way is charged for the waiting too."""

    async def quick(request: bytes, timeout: float) -> wire.ScoreResponse:
        return wire.ScoreResponse()

    calls = _Calls(REQUESTS, 0, 1.0, Load(failed={}, degraded={}), Histogram(), now=lambda: 12.5)
    asyncio.run(calls.one(quick, 0, meant_s=12.0))
    assert calls.histogram.greatest_us == pytest.approx(500_000.0)


# ------------------------------------------------------------------------------------------------------------ processes


def test_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Byte for byte, an empty one too."""
    write_requests(tmp_path / "requests", [b"one", b"", b"\x00" * 300])
    assert read_requests(tmp_path / "requests") == [b"one", b"", b"\x00" * 300]


def test_both_loops_run_in_a_process_of_their_own_against_the_floor(tmp_path: Path) -> None:
    """The generator and the empty server as the benchmark starts them: every call is answered with nothing."""
    with (
        served("tests.benchmarks.empty", (), ranked=0, log=tmp_path / "log") as server,
        Generator(REQUESTS, tmp_path / "requests") as load,
    ):
        before = cpu_us(server.pid)
        assert load.run(Closed(server.address, 4, 600, ranked=0)).check().answered == 600
        assert cpu_us(server.pid) > before
        opened = load.run(Open(server.address, 2, 200.0, 0.5, ranked=0, seed=1)).check()
        assert opened.answered == len(arrivals(200.0, 0.5, 1))
        assert load.run(Closed(server.address, 1, 5, ranked=3)).wrong_answers == 5
        assert resident_mb(server.pid) > 10
        assert server.pid in family(server.pid)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The end of what it said is in the error."""
    with (
        pytest.raises(OpportuneError, match=r"did not start.*No module named"),
        served("tests.benchmarks.nowhere", (), ranked=0, log=tmp_path / "log"),
    ):
        pass
