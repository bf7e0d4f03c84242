"""Load over gRPC from a process of its own: what it costs to ask must not be counted as what it costs to answer.

    closed   n connections, on each one call after the other: how fast a server answers when it always has work
    open     calls at instants that are drawn beforehand (Poisson), whether or not the earlier ones were answered;
             latencies count from the instant at which the call was meant to start, so that a server that stands still
             is charged for everybody who would have waited (no coordinated omission)

    Generator(requests) ── one Closed or Open a line, JSON ──▶ `python -m tests.benchmarks.load` ── one Load a line ──▶

Every answer's status is looked at, and how many it ranked. Requests are bytes that were made before.
"""

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import msgspec
import numpy as np
import uvloop

from behavior.errors import OpportuneError
from scoring.v1 import scoring_pb2 as wire
from tests.benchmarks.histogram import Histogram

METHOD = "/scoring.v1.Scoring/Score"
# A call that started later than this after the instant it was meant for: the generator itself was too slow.
LATE_US = 1_000.0
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share one connection
)
_ROOT = Path(__file__).parents[2]


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """So many calls over so many connections, one outstanding on each; `ranked` is what each answer must rank."""

    address: str
    connections: int
    calls: int
    ranked: int
    timeout_s: float = 10.0


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Poisson arrivals at a mean rate for so long, handed to the connections in turn."""

    address: str
    connections: int
    rate_per_s: float
    seconds: float
    ranked: int
    seed: int
    timeout_s: float = 10.0


class Load(msgspec.Struct):
    """What came of it; latencies of answered calls only, failures by status, `wrong_answers` by what they ranked."""

    calls: int = 0
    answered: int = 0
    failed: dict[str, int] = {}
    wrong_answers: int = 0
    degraded: dict[str, int] = {}
    late_starts: int = 0
    elapsed_s: float = 0.0
    counts: dict[int, int] = {}
    greatest_us: float = 0.0

    @property
    def histogram(self) -> Histogram:
        """The latencies."""
        return Histogram(self.counts, self.greatest_us)

    @property
    def rate_per_s(self) -> float:
        """Answers per second."""
        return self.answered / self.elapsed_s

    def check(self) -> "Load":
        """Itself; raises OpportuneError if a call failed or an answer was not what was asked for."""
        if self.failed or self.wrong_answers:
            raise OpportuneError(f"{self.calls} calls: failed {self.failed}, wrong answers {self.wrong_answers}")
        return self


def arrivals(rate_per_s: float, seconds: float, seed: int) -> np.ndarray:
    """Instants of a Poisson process within [0, seconds), float64 in seconds: exponential gaps of mean 1 / rate."""
    draw = np.random.default_rng(seed)
    found = np.zeros(0)
    while not len(found) or found[-1] < seconds:
        more = draw.exponential(1.0 / rate_per_s, int(rate_per_s * seconds * 1.1) + 10)
        found = np.concatenate([found, (found[-1] if len(found) else 0.0) + np.cumsum(more)])
    return found[found < seconds]


@dataclass(slots=True)
class _Calls:
    """Asks, looks at what comes back and counts it."""

    requests: Sequence[bytes]
    ranked: int
    timeout_s: float
    load: Load
    histogram: Histogram
    now: Callable[[], float] = time.perf_counter

    async def one(self, call: Any, number: int, meant_s: float) -> None:
        """One call whose latency counts from `meant_s`."""
        self.load.calls += 1
        try:
            answer = await call(self.requests[number % len(self.requests)], timeout=self.timeout_s)
        except grpc.aio.AioRpcError as error:
            _count(self.load.failed, error.code().name)
            return
        self.histogram.add((self.now() - meant_s) * 1e6)
        self.load.answered += 1
        self.load.wrong_answers += len(answer.ranked) != self.ranked
        for each in answer.degraded:
            _count(self.load.degraded, each.reason)


async def closed_loop(asked: Closed, requests: Sequence[bytes]) -> Load:
    """Run a closed loop inside an event loop."""
    async with _Connections(asked, requests) as calling:
        calls, numbers = _calls(asked, requests), iter(range(asked.calls))

        async def one_after_the_other(call: Any) -> None:
            for number in numbers:
                await calls.one(call, number, calls.now())

        began = time.perf_counter()
        await asyncio.gather(*(one_after_the_other(call) for call in calling))
        return _done(calls, began)


async def open_loop(asked: Open, requests: Sequence[bytes]) -> Load:
    """Run an open loop inside an event loop."""
    at = arrivals(asked.rate_per_s, asked.seconds, asked.seed)
    async with _Connections(asked, requests) as calling:
        calls, loop = _calls(asked, requests), asyncio.get_running_loop()
        outstanding: set[asyncio.Task[None]] = set()
        began = time.perf_counter()
        for number, offset in enumerate(at.tolist()):
            meant = began + offset
            wait = meant - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            elif number % 16 == 0:
                await asyncio.sleep(0)  # behind: answers must be taken all the same
            calls.load.late_starts += (time.perf_counter() - meant) * 1e6 > LATE_US
            task = loop.create_task(calls.one(calling[number % len(calling)], number, meant))
            outstanding.add(task)
            task.add_done_callback(outstanding.discard)
        await asyncio.gather(*outstanding)
        return _done(calls, began)


class _Connections:
    """Open and warm connections; the calls to make on them."""

    def __init__(self, asked: Closed | Open, requests: Sequence[bytes]) -> None:
        self._asked = asked
        self._requests = requests

    async def __aenter__(self) -> list[Any]:
        self._channels = [
            grpc.aio.insecure_channel(self._asked.address, options=_OPTIONS) for _ in range(self._asked.connections)
        ]
        calling = [each.unary_unary(METHOD, None, wire.ScoreResponse.FromString) for each in self._channels]
        for call in calling:
            await call(self._requests[0], timeout=self._asked.timeout_s, wait_for_ready=True)
        return calling

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))


def _calls(asked: Closed | Open, requests: Sequence[bytes]) -> _Calls:
    return _Calls(requests, asked.ranked, asked.timeout_s, Load(failed={}, degraded={}), Histogram())


def _done(calls: _Calls, began: float) -> Load:
    load = calls.load
    load.elapsed_s = time.perf_counter() - began
    load.counts, load.greatest_us = calls.histogram.counts, calls.histogram.greatest_us
    return load


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


# ------------------------------------------------------------------------------------------------ the process around it


class Generator:
    """A process that makes load on demand; it is started once, with all requests, so that rounds begin at once."""

    def __init__(self, requests: Sequence[bytes], file: Path) -> None:
        write_requests(file, requests)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load", str(file)],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, asked: Closed | Open) -> Load:
        """Make this load now and say what came of it. Raises OpportuneError if the generator ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(asked) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise OpportuneError(f"the load generator ended with exit code {self._process.wait()}")
        return msgspec.json.decode(line, type=Load)

    def __enter__(self) -> Self:
        """Ready."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def write_requests(file: Path, requests: Sequence[bytes]) -> None:
    """Requests one after the other, each behind its length."""
    file.write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in requests))


def read_requests(file: Path) -> list[bytes]:
    """The requests of a file."""
    data, place, found = file.read_bytes(), 0, []
    while place < len(data):
        (size,) = struct.unpack_from("<I", data, place)
        found.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    return found


def _main() -> None:
    requests = read_requests(Path(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            asked = msgspec.json.decode(line, type=Closed | Open)
            loop = closed_loop(asked, requests) if isinstance(asked, Closed) else open_loop(asked, requests)
            sys.stdout.buffer.write(msgspec.json.encode(runner.run(loop)) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
