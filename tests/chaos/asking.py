"""Somebody who asks a server for rankings, in a process of their own; and what the server itself says of its answers.

Open loop: arrivals are Poisson and do not wait for answers, so that a server that stumbles is asked all the same.
"""

import asyncio
import http.client
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType
from typing import NamedTuple, Self

import grpc
import grpc.aio
from prometheus_client.parser import text_string_to_metric_families

from scoring.v1 import scoring_pb2 as wire

_METHOD = "/scoring.v1.Scoring/Score"
# So long a caller waits; far beyond any placement's deadline, so that a late answer is seen to be late.
_PATIENCE_S = 2.0


class Heard(NamedTuple):
    """One call: when it was sent (`time.monotonic`, the same in all processes), its status, and what was degraded."""

    sent: float
    status: str
    reasons: tuple[str, ...]


class Asker:
    """Asks one server from a process of its own."""

    def __init__(self, address: str, questions: Sequence[wire.ScoreRequest]) -> None:
        self._address = address
        self._questions = [each.SerializeToString() for each in questions]
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self) -> Self:
        """Ready to ask."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No more questions."""
        self._process.shutdown()

    def each_once(self) -> list[Heard]:
        """Every question once, one after the other."""
        return self._process.submit(_each_once, self._address, self._questions).result()

    def open_loop(self, rate: float, seconds: float, seed: int) -> "Future[list[Heard]]":
        """Begin to ask so many times a second for so long; what was heard is there when all is answered."""
        return self._process.submit(_open_loop, self._address, self._questions, rate, seconds, seed)

    def capacity(self, seconds: float, outstanding: int = 16) -> float:
        """How many a second are answered if so many are always outstanding."""
        return self._process.submit(_closed_loop, self._address, self._questions, seconds, outstanding).result()


async def _asked(call: grpc.aio.UnaryUnaryMultiCallable, question: bytes) -> Heard:
    sent = time.monotonic()
    try:
        answer = wire.ScoreResponse.FromString(await call(question, timeout=_PATIENCE_S))
    except grpc.aio.AioRpcError as error:
        return Heard(sent, error.code().name, ())
    return Heard(sent, "OK", tuple(each.reason for each in answer.degraded))


def _each_once(address: str, questions: Sequence[bytes]) -> list[Heard]:
    async def run() -> list[Heard]:
        async with grpc.aio.insecure_channel(address) as channel:
            return [await _asked(channel.unary_unary(_METHOD), each) for each in questions]

    return asyncio.run(run())


def _open_loop(address: str, questions: Sequence[bytes], rate: float, seconds: float, seed: int) -> list[Heard]:
    draw = random.Random(seed)

    async def run() -> list[Heard]:
        async with grpc.aio.insecure_channel(address) as channel:
            call, asking = channel.unary_unary(_METHOD), []
            began = at = time.monotonic()
            while at < began + seconds:
                await asyncio.sleep(max(at - time.monotonic(), 0.0))
                asking.append(asyncio.create_task(_asked(call, draw.choice(questions))))
                at += draw.expovariate(rate)
            return list(await asyncio.gather(*asking))

    return asyncio.run(run())


def _closed_loop(address: str, questions: Sequence[bytes], seconds: float, outstanding: int) -> float:
    async def run() -> float:
        async with grpc.aio.insecure_channel(address) as channel:
            call, until, answered = channel.unary_unary(_METHOD), time.monotonic() + seconds, 0

            async def caller(number: int) -> None:
                nonlocal answered
                while time.monotonic() < until:
                    number = (number + outstanding) % len(questions)
                    heard = await _asked(call, questions[number])
                    answered += heard.status == "OK"  # not beside the await: others count meanwhile

            await asyncio.gather(*(caller(number) for number in range(outstanding)))
            return answered / seconds

    return asyncio.run(run())


@dataclass(frozen=True, slots=True)
class Told:
    """What a server has counted of Score since it started.

    lateness   answers by the upper bound of how long after their deadline (s) they were made, cumulative
    """

    statuses: Mapping[str, float]
    reasons: Mapping[str, float]
    lateness: Mapping[float, float]

    def since(self, before: "Told") -> "Told":
        """What was counted between two looks."""
        pairs = ((self.statuses, before.statuses), (self.reasons, before.reasons), (self.lateness, before.lateness))
        statuses, reasons, lateness = ({key: n - then.get(key, 0.0) for key, n in now.items()} for now, then in pairs)
        return Told(statuses, reasons, lateness)


def told(metrics_port: int) -> Told:
    """Look at a server's metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", metrics_port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = Told({}, {}, {})
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "opportune_requests_total" and sample.labels["method"] == "Score":
                found.statuses[sample.labels["code"]] = sample.value  # type: ignore[index]
            elif sample.name == "opportune_degraded_total":
                found.reasons[sample.labels["reason"]] = sample.value  # type: ignore[index]
            elif sample.name == "opportune_answer_lateness_seconds_bucket":
                found.lateness[float(sample.labels["le"])] = sample.value  # type: ignore[index]
    return found
