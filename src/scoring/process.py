"""What every long-running process here does the same: log, expose metrics, outlast a silent Redis, stop when asked."""

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import prometheus_client

from behavior.errors import BadInput
from deployment.connections import PASSING
from deployment.settings import Settings

_log = logging.getLogger("opportune.process")
# How long a consumer waits before it asks a silent Redis again.
RETRY_S = 1.0


def log_to_stderr() -> None:
    """Plain lines on stderr: time, level, who, what."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def expose_metrics(
    settings: Settings, registry: prometheus_client.CollectorRegistry = prometheus_client.REGISTRY
) -> int:
    """Serve `/metrics` on the settings' host and metrics port; returns the port, which the settings may leave free."""
    try:
        server, _ = prometheus_client.start_http_server(settings.metrics_port, addr=settings.host, registry=registry)
    except OSError as error:
        raise BadInput(
            f"metrics cannot be served on {settings.host}:{settings.metrics_port} ({error.strerror}); "
            "set OPPORTUNE_METRICS_PORT to a free port, or to 0"
        ) from None
    port = int(server.server_port)
    _log.info("metrics on http://%s:%d/metrics", settings.host, port)
    return port


def keep_for_good() -> None:
    """What has been loaded stays: a collection would walk over all of it in the middle of something."""
    gc.collect()
    gc.freeze()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, so that a step in progress is finished before the process ends."""
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_cancelled() -> bool:
    """Whether somebody has cancelled the running task.

    A loop that talks to Redis asks before it goes on: now and then redis-py answers a cancellation with an error of its
    own, and the task would run for ever.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def persevere(once: Callable[[threading.Event], None], stopping: threading.Event) -> None:
    """Run a consumer until told to stop; when Redis does not answer, begin anew from what it has stored."""
    while not stopping.is_set():
        try:
            once(stopping)
        except PASSING as error:
            _log.warning("Redis: %s: %s; trying again in %g s", type(error).__name__, error, RETRY_S)
            stopping.wait(RETRY_S)
