"""Real server processes of a small deployment, and callers that never pause."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from behavior.errors import OpportuneError
from behavior.event import HOUR_US, MINUTE_US
from deployment.leash import leashed
from deployment.ports import ReservedPort
from deployment.settings import Settings
from scoring.async_client import AsyncClient
from scoring.client import Client
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.online import Online
from tests.scoring.small import CATEGORIES, START, make_bundle, make_current, pseudonym, purchase

USER = "household 1"
# A busy machine may keep a call waiting; only an error that a caller would see may fail a test.
DEADLINE_S = 10.0


def ready_to_serve(settings: Settings) -> Settings:
    """The deployment with USER's purchase of tea folded, and with a current bundle."""
    make_current(settings.bundles, make_bundle(settings.bundles))
    online = Online(settings)
    online.append([purchase(pseudonym(settings, USER), "TEA", START - HOUR_US, "m1")])
    online.advance(START + MINUTE_US)
    online.fold()
    return settings


class ServerProcess:
    """`opportune serve` on a port of its own until the block ends; it serves when the block begins."""

    def __init__(self, settings: Settings, **changes: object) -> None:
        self._reserved = ReservedPort(settings.host)
        self.address = f"{settings.host}:{self._reserved.port}"
        self._settings = settings.replaced(port=self._reserved.port, **changes)
        self.log = settings.home / f"serve-{self._reserved.port}.log"
        self.popen = self._start()

    def __enter__(self) -> Self:
        self.wait_until_serving()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._reserved.__exit__(None, None, None)

    def wait_until_serving(self) -> None:
        """Until health says SERVING."""
        self.wait_until(lambda: is_serving(self.address))

    def wait_until(self, reached: Callable[[], bool], within_s: float = 90.0) -> None:
        """Until something has come about, while the process runs."""
        deadline = time.monotonic() + within_s
        while not reached():
            assert self.popen.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.popen.wait(30)

    def start_again(self) -> None:
        """The same server, after it has ended."""
        assert self.popen.poll() is not None
        self.popen = self._start()
        self.wait_until_serving()

    def replace_workers(self) -> None:
        """SIGHUP, until the last worker is replaced."""
        before = self.told().count("is replaced")
        self.popen.send_signal(signal.SIGHUP)
        self.wait_until(lambda: self.told().count("is replaced") == before + self._settings.workers)

    def told(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                leashed([sys.executable, "-m", "opportune", "serve"]),
                env=self._settings.child_environment(), stdout=log, stderr=log,
            )  # fmt: skip


@contextmanager
def learner_process(settings: Settings) -> Iterator[None]:
    """`opportune learn` until the block ends."""
    process = subprocess.Popen(
        leashed([sys.executable, "-m", "opportune", "learn"]),
        env=settings.child_environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def is_serving(address: str) -> bool:
    """Whether health says SERVING, asked by a connection of its own."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class Callers:
    """Callers that ask for the same ranking again and again, threads and tasks alike, until the block ends.

    answers    all that were given
    failures   what a caller got to see instead
    """

    def __init__(self, *addresses: str, threads: int = 2, tasks: int = 3) -> None:
        self.answers: list[wire.ScoreResponse] = []
        self.failures: list[Exception] = []
        self._addresses = addresses
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._ask_together(tasks))))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for_more(self, answers: int = 20, within_s: float = 30.0) -> None:
        """Until so many answers more were given."""
        wanted, deadline = len(self.answers) + answers, time.monotonic() + within_s
        while len(self.answers) < wanted and not self.failures:
            assert time.monotonic() < deadline, "nobody answers any more"
            time.sleep(0.01)

    def _ask(self) -> None:
        with Client(*self._addresses, deadline_s=DEADLINE_S) as client:
            while not self._stopping.is_set():
                try:
                    self.answers.append(client.score(USER, candidates=CATEGORIES))
                except OpportuneError as error:
                    self.failures.append(error)
                time.sleep(0.002)

    async def _ask_together(self, tasks: int) -> None:
        async with AsyncClient(*self._addresses, deadline_s=DEADLINE_S) as client:

            async def ask() -> None:
                while not self._stopping.is_set():
                    try:
                        self.answers.append(await client.score(USER, candidates=CATEGORIES))
                    except OpportuneError as error:
                        self.failures.append(error)
                    await asyncio.sleep(0.002)

            await asyncio.gather(*(ask() for _ in range(tasks)))


def distinct(answers: Sequence[wire.ScoreResponse]) -> list[wire.ScoreResponse]:
    """The different answers, their request ids left away."""
    found: dict[bytes, wire.ScoreResponse] = {}
    for answer in answers:
        plain = wire.ScoreResponse()
        plain.CopyFrom(answer)
        plain.ClearField("request_id")
        found[plain.SerializeToString(deterministic=True)] = plain
    return list(found.values())
