"""A small deployment that runs: its log, its states and snapshot, its clock, and its server on a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import redis
import redis.asyncio

from behavior.event import Event
from behavior.partition import partition_of
from deployment.clock import Clock, advance
from deployment.generations import agree
from deployment.keys import Keys
from deployment.settings import Settings
from scoring.folding import Folding
from scoring.log import Log
from scoring.log_writer import Fate, LogWriter, Offer, offer_event
from scoring.server import Server
from tests.scoring.deployments import drain
from tests.scoring.small import PARTITIONS, PLAN, START


class Online:
    """What stands in Redis for one deployment; every call happens at the replay clock's now."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.redis_prefix, settings.partitions)
        self.client = redis.Redis.from_url(str(settings.redis_url))
        self.log = Log(self.client, self.keys)
        self.clock = Clock(self.client, self.keys.clock())
        advance(self.client, self.keys, START)
        agree(self.client, self.keys, lambda: PLAN)

    def offer(self, user_id: str, offers: Sequence[Offer]) -> list[Fate]:
        """Append to the partition of a user."""

        async def appended() -> list[Fate]:
            async with redis.asyncio.Redis.from_url(str(self.settings.redis_url)) as client:
                writer = LogWriter(client, self.keys, self.settings.lateness_horizon_h)
                return await writer.append(partition_of(user_id, PARTITIONS), offers, self.clock.now())

        return asyncio.run(appended())

    def append(self, events: Sequence[Event]) -> None:
        """Append events, each to its partition."""
        for event in events:
            assert self.offer(event.user_id, [offer_event(event)])[0].status == "accepted"

    def fold(self) -> None:
        """Fold all there is, and publish the snapshot of the last whole interval."""
        folding = Folding(self.client, self.keys, self.log, self.clock, "online", 60_000)
        drain(folding)
        folding.release()

    def advance(self, to: int) -> None:
        """Move the clock."""
        advance(self.client, self.keys, to)

    def entries(self, kind: bytes) -> list[bytes]:
        """The payloads of one type in the log."""
        entries = self.log.read(dict.fromkeys(range(PARTITIONS), 0), 0, 10_000)
        return [entry.payload for entry in entries if entry.type == kind]


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the server on a thread until the block ends, then drain it; gives its address.

    The drain gives no notice, since whoever called has ended; `test_server` holds a real process to it.
    """
    ready = threading.Event()
    shared: dict[str, Any] = {}

    async def run() -> None:
        shared["loop"], shared["stopping"] = asyncio.get_running_loop(), asyncio.Event()

        def started(port: int) -> None:
            shared["port"] = port
            ready.set()

        await Server(settings).run(shared["stopping"], started)

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"127.0.0.1:{shared['port']}"
    finally:
        with patch("scoring.server.NOTICE_S", 0.0):
            shared["loop"].call_soon_threadsafe(shared["stopping"].set)
            thread.join(30)
        assert not thread.is_alive()
