"""The server: gRPC at the edge of scoring. Score, Track, health and reflection on one event loop.

    start ─ agree on plan ─ NOT_SERVING ─ bundle + snapshot + Redis ─▶ SERVING ─ SIGTERM ─▶ NOT_SERVING ─ 1 s ─ stop

Track is answered from the first moment on, Score as soon as there is something to score with. One of several workers on
one port (`opportune/workers.py`) that starts beside others which serve does not listen before it can answer as they do.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from behavior.errors import BadInput, Unavailable
from deployment.bundles import Bundles
from deployment.clock import AsyncClock, replay_key
from deployment.connections import PASSING, connect, connect_serving
from deployment.generations import Plans
from deployment.keys import Keys
from deployment.ports import require_free
from deployment.pseudonym import Pseudonyms
from deployment.sealing import Sealing
from deployment.settings import Settings
from scoring import metrics
from scoring.accounting import Accounting, exposed
from scoring.calls import SERVICE, Servicer, handlers
from scoring.collect import Collect
from scoring.entry import join_in
from scoring.journal import Journal
from scoring.log_writer import LogWriter
from scoring.memory import Memory, NotReady
from scoring.pressure import Pressure
from scoring.process import expose_metrics, is_cancelled, log_to_stderr
from scoring.score import Scoring

_log = logging.getLogger("opportune.serve")
POLL_S = 0.2
# Clients need this long to notice NOT_SERVING before connections go away; without it some calls fail.
NOTICE_S = 1.0
GRACE_S = 5.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Against overload by one caller: the rest of its calls wait on its own connection.
    ("grpc.max_concurrent_streams", 100),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Server:
    """One server of a deployment.

    shares_port   other workers of the same deployment may listen on the port
    when_ready    listen only once there is everything that an answer needs

    Making it raises BadInput (no plan, no key, another plan in Redis) or Unavailable (no Redis).
    """

    def __init__(self, settings: Settings, *, shares_port: bool = False, when_ready: bool = False) -> None:
        self._settings = settings
        self._shares_port = shares_port
        self._when_ready = when_ready
        self._keys = Keys(settings.redis_prefix, settings.partitions)
        self._pseudonyms = Pseudonyms.load(settings.key_file)
        self._sealing = Sealing.load(settings.sealing_key_file)
        _join_in(settings)
        self._health = health.aio.HealthServicer()
        self._is_serving = False

    async def run(self, stopping: asyncio.Event, started: Callable[[int], None] = lambda port: None) -> None:
        """Serve until `stopping` is set, then drain; `started` is called with the port that it listens on.

        Raises BadInput if the port is taken.
        """
        settings = self._settings
        client = connect_serving(settings)
        clock = AsyncClock(client, replay_key(self._keys, replay=settings.replay))
        pressure = Pressure(client, settings.redis_high_water)
        accounting = Accounting(client, self._keys)
        log = LogWriter(
            client, self._keys, settings.lateness_horizon_h, settings.dead_letters, check_room=pressure.check
        )
        journal = Journal(log, settings.partitions, metrics.SERVED_LOST.inc)
        plans = Plans(self._keys)
        memory = Memory(
            client,
            self._keys,
            plans,
            Bundles.of(settings),
            settings.residual_bound,
            metrics.load_timed,
            lambda _: metrics.BUNDLES_REFUSED.inc(),
            settings.target,
        )
        states = metrics.TimedStates(client, self._keys, plans)
        scoring = Scoring(states, clock, memory, journal)
        server = grpc.aio.server(options=_OPTIONS)
        collect = Collect(log, clock, self._pseudonyms, self._sealing, settings)
        servicer = Servicer(scoring, collect, self._pseudonyms)
        if self._when_ready and not await _ready(memory, stopping):
            await client.aclose()
            return
        port = await self._start(server, servicer)
        rooms = (journal.run(), pressure.run(), accounting.run(), self._keep_fresh(memory, clock))
        tasks = [asyncio.create_task(room) for room in rooms]
        try:
            with exposed(pressure, accounting):
                started(port)
                await stopping.wait()
                await self._drain(server)
                await journal.drain(GRACE_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(None)
            await client.aclose()

    async def _start(self, server: Any, servicer: Servicer) -> int:
        server.add_generic_rpc_handlers((handlers(servicer),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = bind(server, self._settings.host, self._settings.port, shared=self._shares_port)
        await server.start()
        metrics.LISTENING.set(1)
        _log.info("listening on %s:%d, not serving yet", self._settings.host, port)
        return port

    async def _keep_fresh(self, memory: Memory, clock: AsyncClock) -> None:
        """Poll for what has changed, and say SERVING once there is everything that an answer needs."""
        answered = True
        while not is_cancelled():
            try:
                await memory.refresh()
                now = await clock.now()
                answered = True
                with suppress(NotReady):
                    metrics.observe_held(memory.held(), now)
                    await self._serving()
            except Exception as error:  # whatever it is: what is held goes on serving, and the next poll may succeed
                metrics.REFRESH_FAILED.inc()
                if answered:
                    _log.warning("cannot look for changes (%s: %s); trying on", type(error).__name__, error)
                answered = False
            await asyncio.sleep(POLL_S)

    async def _serving(self) -> None:
        if not self._is_serving:
            self._is_serving = True
            # What has been loaded stays for good: a full collection would walk over it in the middle of a request.
            gc.collect()
            gc.freeze()
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


def bind(server: Any, host: str, port: int, *, shared: bool = False) -> int:
    """Let the server listen; returns the port, chosen freely for 0.

    Raises BadInput if another process listens there, unless the port is `shared` among workers whose supervisor has
    asked `require_free` before the first of them.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not shared:
        require_free(host, port)
    try:
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
