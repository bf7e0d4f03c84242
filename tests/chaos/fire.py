"""A deployment under fire: its real processes on a real Redis, killed, put to sleep and started again.

For example::

    with Fleet(settings, names) as fleet:       the processes; one that ends by itself is a failure
        with Tracker(settings, address):        events over gRPC, each sent again until it is acknowledged
            fleet.kill("fold-1"), fleet.sleep("archive-1", 0.7), ...
"""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from behavior.errors import OpportuneError
from behavior.event import HOUR_US, MINUTE_US
from deployment.clock import Clock, advance
from deployment.connections import PASSING, open_blocking
from deployment.keys import Keys
from deployment.leash import leashed
from deployment.ports import ReservedPort
from deployment.redis_server import RedisServer, redis_server
from deployment.settings import Settings
from scoring.client import Client
from scoring.v1 import scoring_pb2 as wire
from tests.properties.strategies import CATEGORIES, DEVICES, ITEMS

# A process that is younger may not have begun to work.
_GROWN_UP_S = 1.5
PEOPLE = tuple(f"person {number}" for number in range(8))


class OneRedis:
    """A Redis of its own that can be killed; it comes back from its files under the same address."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._port = directory, port
        self._running = ExitStack()
        self.server = self._start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.server.url

    def kill(self) -> None:
        """kill -9, and start it again from its append-only file."""
        self.server.process.kill()
        self.server.process.wait()
        self._running.close()
        self.server = self._start()

    def close(self) -> None:
        """End it."""
        self._running.close()

    def _start(self) -> RedisServer:
        return self._running.enter_context(redis_server(self._directory, port=self._port))


@contextmanager
def one_redis(directory: Path) -> Iterator[OneRedis]:
    """A Redis that can be killed until the block ends."""
    with ReservedPort("127.0.0.1") as reserved:
        made = OneRedis(directory, reserved.port)
        try:
            yield made
        finally:
            made.close()


class Fleet:
    """The processes of a deployment by name, `<verb>` or `<verb>-<number>`."""

    def __init__(self, settings: Settings, names: Sequence[str], verbs: dict[str, Sequence[str]] | None = None) -> None:
        self._settings = settings
        self._verbs = verbs or {}
        self._log = (settings.home / "processes.log").open("ab")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._born: dict[str, float] = {}
        self._asleep: dict[str, float] = {}
        for name in names:
            self._start(name)

    def __enter__(self) -> Self:
        """They run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all of them, by their pids."""
        for name in list(self._running):
            self.wake(name)
            self._running[name].terminate()
        for process in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def victims(self) -> list[str]:
        """Those that are awake and at work."""
        self.check()
        now = time.monotonic()
        return [name for name, born in self._born.items() if now - born > _GROWN_UP_S and name not in self._asleep]

    def kill(self, name: str) -> None:
        """kill -9, and start it again."""
        self._running[name].kill()
        self._running[name].wait()
        self._start(name)

    def sleep(self, name: str, seconds: float) -> None:
        """Stop it for so long, as a machine that hangs does; `check` wakes it."""
        self._running[name].send_signal(signal.SIGSTOP)
        self._asleep[name] = time.monotonic() + seconds

    def wake(self, name: str) -> None:
        """Let it go on."""
        self._asleep.pop(name, None)
        self._running[name].send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Wake those who have slept enough; fail if one has ended by itself.

        But a server that is started while Redis is away says so and ends; who supervises it starts it again.
        """
        for name, until in list(self._asleep.items()):
            if time.monotonic() >= until:
                self.wake(name)
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                assert name.startswith("serve"), f"{name} ended by itself: {self.told()}"
                assert "does not answer" in self.told(), f"{name} ended by itself: {self.told()}"
                self._start(name)

    def told(self) -> str:
        """The end of what they have said."""
        self._log.flush()
        return (self._settings.home / "processes.log").read_text(errors="replace")[-3000:]

    def _start(self, name: str) -> None:
        verb = name.partition("-")[0]
        argv = [sys.executable, "-m", *self._verbs.get(verb, ("opportune", verb))]
        self._running[name] = subprocess.Popen(
            leashed(argv), env=self._settings.child_environment(), stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._born[name] = time.monotonic()


class Tracker:
    """Reports events over gRPC from a thread of its own, and lets the clock go on.

    acknowledged    admission instant by message id, of every event that was answered
    """

    def __init__(self, settings: Settings, *, pause_s: float = 0.01) -> None:
        self._settings = settings
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self.acknowledged: dict[str, int] = {}
        self.repeated = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop once everything that was reported is acknowledged."""
        self._stopping.set()
        if kind is None:
            self._thread.join(60)
            assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _guarded(self) -> None:
        try:
            self._track()
        except BaseException as error:
            self._failure = error

    def _track(self) -> None:
        draw, number = random.Random(4), 0
        now = self._advanced(0)
        with Client(f"127.0.0.1:{self._settings.port}", deadline_s=0.7) as client:
            while not self._stopping.is_set():
                batch = [_reported(draw, f"t{number}-{place}", now) for place in range(draw.choice((1, 3, 6)))]
                self._report(client, batch)
                now = self._advanced(draw.choice((0, 0, 1, MINUTE_US, 7 * MINUTE_US, 2 * HOUR_US)))
                number += 1
                time.sleep(self._pause_s)

    def _report(self, client: Client, batch: Sequence[dict[str, Any]]) -> None:
        while True:
            try:
                results = client.track(batch)
                break
            except OpportuneError:  # whatever it is: nothing is known of them, so they are sent again
                self.repeated += 1
                time.sleep(0.02)
        for said, result in zip(batch, results, strict=True):
            assert result.status in (wire.Result.STATUS_ACCEPTED, wire.Result.STATUS_DUPLICATE), result
            self.acknowledged[said["message_id"]] = result.admitted_at.ToMicroseconds()

    def _advanced(self, by: int) -> int:
        """Let the clock go on, though Redis may be away for a while; its now."""
        keys = Keys(self._settings.redis_prefix, self._settings.partitions)
        to = None
        while True:
            try:
                with open_blocking(str(self._settings.redis_url), cluster=self._settings.redis_cluster) as client:
                    to = Clock(client, keys.clock()).now() + by if to is None else to
                    advance(client, keys, to)
                    return to
            except PASSING:
                time.sleep(0.02)


def _reported(draw: random.Random, message_id: str, now: int) -> dict[str, Any]:
    """An event as a client reports it: late or not, with or without consent to personalisation."""
    said = {
        "message_id": message_id, "kind": draw.choice(("purchase", "purchase", "item_view", "refund", "scroll")),
        "user_id": draw.choice(PEOPLE), "event_time": now - draw.choice((0, 0, 1, MINUTE_US, HOUR_US, 46 * HOUR_US)),
        "item": draw.choice((*ITEMS[:-1], None)), "category": draw.choice((*CATEGORIES[:2], None)),
        "value_minor": draw.choice((0, 199, -250, None)), "quantity": draw.choice((None, 0, 1, 3)),
        "order_id": draw.choice((None, "o-1", "o-2")), "device": draw.choice((None, *DEVICES)),
        "page": draw.choice((None, "/")), "utc_offset_s": draw.choice((None, 0, -18_000)),
        "properties": draw.choice(({}, {"stars": 4}, {"stars": 5, "colour": "red"}, {"colour": "null"})),
        "consent": draw.choice((["personalization"], ["personalization", "marketing"], ["analytics"])),
    }  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}
