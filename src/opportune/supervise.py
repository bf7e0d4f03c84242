"""One supervisor for a deployment on one machine: Redis and the processes around it, all or none.

    lock the run directory → Redis → prepare → start every child → wait until each is ready → up.json → ... → stop

The first child is stopped first (the server drains while its consumers still run), Redis last. A child that ends by
itself ends all, with its name, its exit code and the end of its log. Children die with the supervisor, even when it
is killed; they must be started from a thread that lives as long as they should.
"""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from behavior.errors import BadInput, OpportuneError, Unavailable
from deployment.leash import leashed
from deployment.ports import ReservedPort
from deployment.redis_server import RedisServer, redis_server
from deployment.settings import Settings
from opportune.addresses import Addresses, address_file, write_addresses
from opportune.readiness import Place

READY_TIMEOUT_S = 90.0  # a cold start imports ONNX Runtime and warms a model up, on a busy machine
_STOP_TIMEOUT_S = 15.0  # longer than the server's own drain
_POLL_S = 0.1
_LOG_TAIL_LINES = 15
# Where a server listens on all addresses, a client on this machine uses the loopback.
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def client_host(host: str) -> str:
    """The address at which a client on this machine reaches a server that listens on `host`."""
    return _ANY_HOST.get(host, host)


class ChildEnded(OpportuneError):
    """A child process ended although nobody asked it to."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to run: its name, its command, and the question that tells when it is ready.

    It is told where to listen by OPPORTUNE_HOST, OPPORTUNE_METRICS_PORT and, if `serves`, OPPORTUNE_PORT.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[Place], bool]
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A child that was started."""

    child: Child
    place: Place
    log: Path
    popen: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """End it: politely, then not."""
        if self.popen.poll() is not None:
            return
        self.popen.terminate()
        try:
            self.popen.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def require_alive(self) -> None:
        """Raises ChildEnded, with the end of its log, if it has ended."""
        code = self.popen.poll()
        if code is None:
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        tail = "".join(f"\n    {line}" for line in lines) or " (empty)"
        raise ChildEnded(f"{self.child.name} {how}; the end of {self.log}:{tail}")


@dataclass(frozen=True, slots=True)
class Running:
    """A deployment that is up. Its settings say where Redis and the server are."""

    settings: Settings
    processes: tuple[Process, ...]
    redis: RedisServer | None  # None if Redis was given by the settings

    def __getitem__(self, name: str) -> Process:
        """The process of the child with this name; KeyError if there is none."""
        for process in self.processes:
            if process.child.name == name:
                return process
        raise KeyError(name)

    def check(self) -> None:
        """Raises ChildEnded if a child, or our Redis, has ended."""
        for process in self.processes:
            process.require_alive()
        if self.redis is not None and self.redis.process.poll() is not None:
            raise ChildEnded(f"redis ended with exit code {self.redis.process.returncode}; see {self.redis.log}")

    def watch(self, stop: threading.Event) -> None:
        """Return when `stop` is set; raises ChildEnded if a child ends before."""
        while not stop.wait(_POLL_S):
            self.check()

    @property
    def addresses(self) -> Addresses:
        """What listens where, for `up.json` and for people."""
        pids = {process.child.name: process.popen.pid for process in self.processes}
        return Addresses(
            host=client_host(self.settings.host),
            ports={process.child.name: process.place.port for process in self.processes if process.child.serves},
            metrics_ports={process.child.name: process.place.metrics_port for process in self.processes},
            pids=pids if self.redis is None else {**pids, "redis": self.redis.pid},
            supervisor_pid=os.getpid(),
            redis_url=_without_secrets(self.settings.redis_url),
            redis_cluster=self.settings.redis_cluster,
        )


@contextmanager
def running(
    settings: Settings,
    children: Sequence[Child],
    *,
    prepare: Callable[[Settings], None] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Running]:
    """Run Redis (unless the settings name one) and the children until the block ends; all are ready when it begins.

    `prepare` runs while Redis is up and no child is: the place to set a replay's clock or to rebuild the state.
    Setting `stop` ends the waiting for readiness with KeyboardInterrupt. Raises BadInput if another supervisor runs
    in the same directory, ChildEnded or Unavailable if a child does not start.
    """
    with ExitStack() as stack:
        stack.enter_context(only_one(settings.run))
        redis = None
        if settings.redis_url is None:
            redis = stack.enter_context(redis_server(settings.run / "redis"))
            settings = settings.replaced(redis_url=redis.url)
        if prepare is not None:
            prepare(settings)
        started: list[Process] = []
        stack.callback(_stop_all, started)
        for number, child in enumerate(children):
            started.append(_start(child, settings, _place(child, number, settings, stack)))
        up = Running(_with_server(settings, started), tuple(started), redis)
        _wait_until_ready(up, stop or threading.Event())
        write_addresses(settings.run, up.addresses)
        stack.callback(address_file(settings.run).unlink, missing_ok=True)
        yield up


@contextmanager
def only_one(run: Path) -> Iterator[None]:
    """Hold the directory for this process. Raises BadInput if another one holds it."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"opportune already runs in {run}; stop it first, or set OPPORTUNE_HOME to another"
            ) from None
        yield


def _place(child: Child, number: int, settings: Settings, stack: ExitStack) -> Place:
    """Where a child shall listen: on the ports chosen by somebody (metrics from there upward), else on free ones."""
    port = 0
    if child.serves:
        port = settings.port if settings.chosen("port") and settings.port else _free_port(settings, stack)
    metrics_port = settings.metrics_port + number if settings.metrics_port else _free_port(settings, stack)
    return Place(client_host(settings.host), port, metrics_port)


def _free_port(settings: Settings, stack: ExitStack) -> int:
    return stack.enter_context(ReservedPort(settings.host)).port


def _start(child: Child, settings: Settings, place: Place) -> Process:
    own = settings.replaced(port=place.port, metrics_port=place.metrics_port)
    log = settings.run / f"{child.name}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            leashed(child.argv),
            env=own.child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A session of its own: Ctrl-C in the terminal reaches the supervisor, which stops children in order.
            start_new_session=True,
        )
    return Process(child, place, log, popen)


def _without_secrets(url: str | None) -> str | None:
    return None if url is None or "@" in url else url


def _with_server(settings: Settings, started: Sequence[Process]) -> Settings:
    for process in started:
        if process.child.serves:
            return settings.replaced(host=process.place.host, port=process.place.port)
    return settings


def _wait_until_ready(up: Running, stop: threading.Event) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    for process in up.processes:
        while not process.child.ready(process.place):
            up.check()
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{process.child.name} was not ready within {READY_TIMEOUT_S:.0f} s; see {process.log}"
                )
            if stop.wait(_POLL_S):
                raise KeyboardInterrupt
    up.check()


def _stop_all(started: Sequence[Process]) -> None:
    for process in started:
        process.stop()
