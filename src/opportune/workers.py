"""The workers of `opportune serve`: several server processes on one port, supervised.

    start ─▶ each serves ─┬─ one dies ─▶ started again, after a pause that grows while it keeps dying
                          ├─ SIGHUP ───▶ one after the other: a new one beside it, which serves ─▶ the old one drains
                          └─ SIGTERM ──▶ all drain

The kernel spreads connections over all that listen (SO_REUSEPORT). So a worker that starts beside others which serve
listens only when it can answer as they do, and a port at which somebody else listens is refused before the first.
"""

import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from prometheus_client import CollectorRegistry, Counter, Gauge

from behavior.errors import OpportuneError
from deployment.leash import leashed
from deployment.ports import ReservedPort, require_free
from deployment.settings import Settings
from opportune.readiness import Place, metrics_of
from opportune.supervise import READY_TIMEOUT_S, client_host
from opportune.worker_metrics import WorkerMetrics
from scoring.process import expose_metrics, log_to_stderr, stop_signals

_log = logging.getLogger("opportune.workers")
_POLL_S = 0.1
# Longer than a worker's own drain, shorter than what `opportune up` and containers allow the supervisor.
_STOP_TIMEOUT_S = 12.0
# A worker that dies younger than this may die again at once: each time it has to wait twice as long.
_GROWN_UP_S = 10.0
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


class WorkerEnded(OpportuneError):
    """A worker ended before it ever listened; its own words are above."""


class Worker:
    """One running process."""

    def __init__(self, settings: Settings, *, when_ready: bool) -> None:
        self._reserved = ReservedPort(settings.host)
        self.born = time.monotonic()
        self.place = Place(client_host(settings.host), settings.port, self._reserved.port)
        self.popen = subprocess.Popen(
            leashed([sys.executable, "-m", "opportune.worker", *(["when-ready"] if when_ready else [])]),
            env=settings.replaced(metrics_port=self._reserved.port).child_environment(),
            stdin=subprocess.DEVNULL,
            # Ctrl-C in the terminal reaches the supervisor, which lets the workers drain.
            start_new_session=True,
        )

    @property
    def ended(self) -> bool:
        """Whether it runs no more; its port is given back then."""
        if self.popen.poll() is None:
            return False
        self._reserved.__exit__(None, None, None)
        return True

    @property
    def listens(self) -> bool:
        """Whether it takes connections."""
        return self._says("opportune_listening")

    @property
    def serves(self) -> bool:
        """Whether its health is SERVING. Not asked over gRPC: any worker might answer that."""
        return self._says("opportune_serving")

    def stop(self, deadline: float) -> None:
        """End it: politely, then, at the deadline (time.monotonic), not."""
        if not self.ended:
            with suppress(subprocess.TimeoutExpired):
                self.popen.terminate()
                self.popen.wait(max(0.0, deadline - time.monotonic()))
        if not self.ended:
            self.popen.kill()
            self.popen.wait()

    def _says(self, gauge: str) -> bool:
        page = metrics_of(self.place)
        return page is not None and re.search(rf"^{gauge} 1\.0$", page, re.MULTILINE) is not None


class Workers:
    """The workers by number, each replaced when it has ended."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._workers: list[Worker] = []
        self._deaths = [0] * settings.workers
        self._restarts = Counter(
            "opportune_worker_restarts", "Workers that ended by themselves and were started again.", registry=registry
        )
        Gauge("opportune_workers", "Workers that run.", registry=registry).set_function(
            lambda: sum(not each.ended for each in self._workers)
        )
        registry.register(WorkerMetrics(self.pages))

    def pages(self) -> dict[str, str]:
        """What `/metrics` of each worker says now; none of one that does not answer."""
        pages = {str(number): metrics_of(each.place) for number, each in enumerate(self._workers)}
        return {number: page for number, page in pages.items() if page is not None}

    def start(self, stopping: threading.Event) -> None:
        """Start all of them, the first one alone, so that what is wrong is said once.

        Raises WorkerEnded if one ends before it listens.
        """
        for _ in range(self._settings.workers):
            self._workers.append(self._started(len(self._workers)))
            while not stopping.is_set() and not self._workers[-1].listens:
                if self._workers[-1].ended:
                    raise WorkerEnded(f"a worker ended with exit code {self._workers[-1].popen.returncode}; see above")
                stopping.wait(_POLL_S)

    def mend(self) -> None:
        """Start again those that have ended by themselves."""
        for number, worker in enumerate(self._workers):
            if not worker.ended:
                continue
            young = time.monotonic() - worker.born < _GROWN_UP_S + _PAUSES_S[-1]
            deaths = min(self._deaths[number] + 1, len(_PAUSES_S) - 1) if young else 0
            if young and time.monotonic() < worker.born + _PAUSES_S[deaths]:
                continue
            self._deaths[number] = deaths
            _log.error("worker %d (pid %d) %s; starting it again", number, worker.popen.pid, _how(worker))
            self._restarts.inc()
            self._workers[number] = self._started(number)

    def replace(self, stopping: threading.Event) -> None:
        """Put a new process in the place of each, one after the other; the old one drains when the new one answers.

        If a new one does not come to answer, the old ones stay.
        """
        for number in range(len(self._workers)):
            old = self._workers[number]
            waits = self._one_serves()
            new = self._started(number)
            if not self._ready(new, stopping, serving=waits):
                new.stop(time.monotonic() + _STOP_TIMEOUT_S)
                if not stopping.is_set():
                    _log.error("the new worker %d does not serve (see above); the old ones stay", number)
                return
            self._workers[number] = new
            old.stop(time.monotonic() + _STOP_TIMEOUT_S)
            _log.info("worker %d is replaced, pid %d by %d", number, old.popen.pid, new.popen.pid)

    def stop(self) -> None:
        """Let all drain, at the same time."""
        for worker in self._workers:
            if not worker.ended:
                worker.popen.terminate()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for worker in self._workers:
            worker.stop(deadline)

    def _ready(self, new: Worker, stopping: threading.Event, *, serving: bool) -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not stopping.is_set() and not new.ended and time.monotonic() < deadline:
            if new.serves if serving else new.listens:
                return True
            self.mend()
            stopping.wait(_POLL_S)
        return False

    def _started(self, number: int) -> Worker:
        worker = Worker(self._settings, when_ready=self._one_serves())
        _log.info("worker %d starts, pid %d", number, worker.popen.pid)
        return worker

    def _one_serves(self) -> bool:
        return any(not each.ended and each.serves for each in self._workers)


def supervise(settings: Settings) -> None:
    """Run the workers until SIGTERM or Ctrl-C: `opportune serve` with `workers` from 2 on.

    Raises BadInput if somebody listens on the port, WorkerEnded if a worker cannot start.
    """
    log_to_stderr()
    require_free(settings.host, settings.port)
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_signals())
        replacing = stack.enter_context(_hang_up())
        if not settings.port:
            settings = settings.replaced(port=stack.enter_context(ReservedPort(settings.host)).port)
        registry = CollectorRegistry()
        workers = Workers(settings, registry)
        expose_metrics(settings, registry)
        stack.callback(workers.stop)
        workers.start(stopping)
        _log.info("%d workers listen on %s:%d", settings.workers, settings.host, settings.port)
        while not stopping.wait(_POLL_S):
            workers.mend()
            if replacing.is_set():
                replacing.clear()
                workers.replace(stopping)
    _log.info("stopped")


@contextmanager
def _hang_up() -> Iterator[threading.Event]:
    """An event that SIGHUP sets."""
    asked = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


def _how(worker: Worker) -> str:
    code = worker.popen.returncode
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
