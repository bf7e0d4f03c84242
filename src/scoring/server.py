"""The server: gRPC at the edge of scoring. Score, Track, Explain, health and reflection on one event loop.

    start ─ agree on plan ─ NOT_SERVING ─ bundle + snapshot + Redis ─▶ SERVING ─ SIGTERM ─▶ NOT_SERVING ─ 1 s ─ stop

Track is answered from the first moment on, Score as soon as there is something to score with. One of several workers on
one port (`opportune/workers.py`) that starts beside others which serve does not listen before it can answer as they do.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from behavior.errors import BadInput, Unavailable
from deployment.bundles import Bundles
from deployment.clock import AsyncClock, replay_key
from deployment.connections import PASSING, connect, connect_serving, converse
from deployment.generations import Plans
from deployment.journal_seal import JournalSeal
from deployment.keys import Keys
from deployment.ports import require_free
from deployment.pseudonym import Pseudonyms
from deployment.sealing import Sealing
from deployment.settings import Settings
from scoring import metrics
from scoring.accounting import Accounting, exposed
from scoring.calls import SERVICE, Servicer, handlers
from scoring.circuit import Circuits
from scoring.collect import Collect
from scoring.door import Door
from scoring.entry import join_in
from scoring.entry_search import EntrySearch
from scoring.explaining import Explaining
from scoring.feed import Feed
from scoring.held_placements import HeldPlacements
from scoring.journal import Journal
from scoring.journal_entry import entry_of
from scoring.limits import SERVER_OPTIONS
from scoring.log_writer import LogWriter
from scoring.memory import Memory, NotReady
from scoring.pressure import Pressure
from scoring.process import expose_metrics, is_cancelled, keep_for_good, log_to_stderr
from scoring.recall import Recall
from scoring.reflection import add_reflection
from scoring.score import Scoring
from scoring.stages import STAGES
from scoring.tls import refuse_exposed, server_credentials

_log = logging.getLogger("opportune.serve")
POLL_S = 0.2
# Containers after which Python looks for cycles. gRPC leaves one of four behind at each call: those of 200 calls are
# taken away within half a millisecond, while those of 5,000 would keep whoever asks just then waiting for ten.
GARBAGE = 1_000
# The longest that the event loop waits for a thread that runs Python: one that makes a new snapshot ready, or loads a
# bundle. A request that meets one waits for it at each answer of Redis; Python's own 5 ms would be too long.
TURN_S = 0.001
# Clients need this long to notice NOT_SERVING before connections go away; without it some calls fail.
NOTICE_S = 1.0
GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Rooms:
    """What a server runs, over the connections of one run."""

    servicer: Servicer
    clock: AsyncClock
    memory: Memory
    feed: Feed
    journal: Journal
    pressure: Pressure
    accounting: Accounting


class Server:
    """One server of a deployment.

    shares_port   other workers of the same deployment may listen on the port
    when_ready    listen only once there is everything that an answer needs

    Making it raises BadInput (no plan, no key, wrong placements, another plan in Redis, a bad certificate or access
    file, an address that is open to all) or Unavailable (no Redis).
    """

    def __init__(self, settings: Settings, *, shares_port: bool = False, when_ready: bool = False) -> None:
        refuse_exposed(settings)
        self._settings = settings
        self._shares_port = shares_port
        self._when_ready = when_ready
        self._door = Door(settings, metrics.observe_passage, metrics.ACCESS_REFUSED.inc)
        self._credentials = server_credentials(settings, metrics.CERTIFICATE_EXPIRES.set)
        self._keys = Keys(settings.redis_prefix, settings.partitions)
        self._pseudonyms = Pseudonyms.load(settings.key_file)
        self._sealing = Sealing.load(settings.sealing_key_file)
        self._placements = HeldPlacements(settings.placements, metrics.PLACEMENTS_REFUSED.inc)
        self._seal = JournalSeal(self._sealing)
        _join_in(settings)
        self._health = health.aio.HealthServicer()
        self._is_serving = False

    async def run(self, stopping: asyncio.Event, started: Callable[[int], None] = lambda port: None) -> None:
        """Serve until `stopping` is set, then drain; `started` is called with the port that it listens on.

        Raises BadInput if the port is taken.
        """
        client = connect_serving(self._settings)
        # Connections of their own: what waits to be written on a slow Redis never keeps an answer from being read.
        reading, recording, following = (converse(self._settings) for _ in range(3))
        try:
            await self._serve(self._furnished(client, reading, recording, following), stopping, started)
        finally:
            for each in (client, reading, recording, following):
                await each.aclose()

    def _furnished(self, client: Any, reading: Any, recording: Any, following: Any) -> "_Rooms":
        settings, keys = self._settings, self._keys
        clock = AsyncClock(reading, replay_key(keys, replay=settings.replay))
        pressure = Pressure(client, settings.redis_high_water)
        log = LogWriter(
            client, keys, settings.lateness_horizon_h, settings.dead_letters, check_room=pressure.check,
            circuits=Circuits.of(settings.partitions, cluster=settings.redis_cluster),
        )  # fmt: skip
        # Nobody waits for the journal, so it waits for Redis: entries are lost only if that takes long.
        patient = LogWriter(recording, keys, settings.lateness_horizon_h, check_room=pressure.check)
        journal = metrics.TimedJournal(
            patient, settings.partitions, metrics.observe_lost, partial(entry_of, seal=self._seal)
        )
        plans, bundles = Plans(keys), Bundles.of(settings)
        feed = Feed(recording, keys, settings.residual_bound, following)
        memory = Memory(
            client, keys, plans, bundles, feed,
            partial(metrics.load_timed, evaluator=settings.evaluator),
            lambda _: metrics.BUNDLES_REFUSED.inc(), settings.target, self._placements, recording,
        )  # fmt: skip
        states = metrics.TimedStates(reading, keys, plans)
        recall = Recall(Circuits.of(settings.partitions, cluster=settings.redis_cluster))
        search = EntrySearch(client, keys, settings.archive, self._seal)
        servicer = Servicer(
            Scoring(states, clock, memory, journal, recall),
            Collect(log, clock, self._pseudonyms, self._sealing, settings),
            self._pseudonyms,
            Explaining(client, keys, plans, bundles, search, settings.archive),
        )
        return _Rooms(servicer, clock, memory, feed, journal, pressure, Accounting(recording, keys))

    async def _serve(self, rooms: "_Rooms", stopping: asyncio.Event, started: Callable[[int], None]) -> None:
        if self._when_ready and not await _ready(rooms.memory, stopping):
            return
        server = grpc.aio.server(options=SERVER_OPTIONS)
        port = await self._start(server, rooms.servicer)
        kept = (
            rooms.journal.run(), rooms.pressure.run(), rooms.accounting.run(), rooms.feed.run(),
            self._keep_fresh(rooms),
        )  # fmt: skip
        tasks = [asyncio.create_task(each) for each in kept]
        try:
            with exposed(rooms.pressure, rooms.accounting):
                started(port)
                await stopping.wait()
                await self._drain(server)
                await rooms.journal.drain(GRACE_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(None)

    async def _start(self, server: Any, servicer: Servicer) -> int:
        server.add_generic_rpc_handlers((handlers(servicer, self._door),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        if self._settings.reflection:
            add_reflection(server, (SERVICE, health.SERVICE_NAME), self._door)
        port = bind(server, self._settings.host, self._settings.port, self._credentials, shared=self._shares_port)
        await server.start()
        metrics.LISTENING.set(1)
        _log.info("listening on %s:%d, not serving yet", self._settings.host, port)
        return port

    async def _keep_fresh(self, rooms: "_Rooms") -> None:
        """Poll for what has changed, and say SERVING once there is everything that an answer needs."""
        answered, told = True, None
        while not is_cancelled():
            metrics.LEARNER_AGE.set(rooms.feed.age_s)
            try:
                self._door.refresh()
                await rooms.memory.refresh()
                now = await rooms.clock.now()
                answered = True
                with suppress(NotReady):
                    held = rooms.memory.held()
                    metrics.observe_age(held, now)
                    if held is not told:
                        metrics.observe_held(held)
                        told = held
                    await self._serving()
            except Exception as error:  # whatever it is: what is held goes on serving, and the next poll may succeed
                metrics.REFRESH_FAILED.inc()
                if answered:
                    _log.warning("cannot look for changes (%s: %s); trying on", type(error).__name__, error)
                answered = False
            STAGES.settle()
            await asyncio.sleep(POLL_S)

    async def _serving(self) -> None:
        if not self._is_serving:
            self._is_serving = True
            keep_for_good()
            gc.set_threshold(GARBAGE)
            sys.setswitchinterval(TURN_S)
            for name in ("", SERVICE):
                await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
            metrics.SERVING.set(1)
            _log.info("serving")

    async def _drain(self, server: Any) -> None:
        _log.info("draining")
        metrics.SERVING.set(0)
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(NOTICE_S)
        await server.stop(GRACE_S)


def bind(server: Any, host: str, port: int, credentials: Any = None, *, shared: bool = False) -> int:
    """Let the server listen, with TLS if there are credentials; returns the port, chosen freely for 0.

    Raises BadInput if another process listens there, unless the port is `shared` among workers whose supervisor has
    asked `require_free` before the first of them.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not shared:
        require_free(host, port)
    try:
        if credentials is not None:
            return int(server.add_secure_port(target, credentials))
        return int(server.add_insecure_port(target))
    except RuntimeError:
        raise BadInput(
            f"cannot listen on {target}; set OPPORTUNE_HOST and OPPORTUNE_PORT to what is free here"
        ) from None


def serve(settings: Settings, *, shares_port: bool = False, when_ready: bool = False) -> None:
    """Run one server until SIGTERM or Ctrl-C: `opportune serve`, or one of its workers."""
    log_to_stderr()
    server = Server(settings, shares_port=shares_port, when_ready=when_ready)
    expose_metrics(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(server))
    _log.info("stopped")


async def _until_signalled(server: Server) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await server.run(stopping)


async def _ready(memory: Memory, stopping: asyncio.Event) -> bool:
    """Wait until there is everything that an answer needs; False if told to stop before."""
    told = ""
    while not stopping.is_set():
        try:
            await memory.refresh()
            memory.held()
            return True
        except NotReady as error:
            why = str(error)
        except PASSING as error:
            why = f"Redis does not answer ({type(error).__name__})"
        if why != told:
            told = why
            _log.warning("not listening yet: %s", why)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), POLL_S)
    return False


def _join_in(settings: Settings) -> None:
    try:
        with connect(settings) as client:
            join_in(settings, client)
    except PASSING as error:
        raise Unavailable(f"Redis at {settings.redis_address} does not answer ({type(error).__name__})") from error
