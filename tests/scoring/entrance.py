"""The writing side of a small deployment: its collect, and what it has put into Redis."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

from behavior.event import Event, decode
from behavior.served import EVENT_ENTRY
from deployment.clock import AsyncClock, advance
from deployment.keys import Keys
from deployment.pseudonym import Pseudonyms, make_key
from deployment.sealing import Sealing, make_sealing_key
from deployment.settings import Settings, load
from scoring.accounting import Accounts, accounts
from scoring.collect import Collect, Outcome
from scoring.dead_letters import DeadLetters
from scoring.log import Log
from scoring.log_writer import LogWriter
from scoring.messages import event
from scoring.v1 import scoring_pb2 as wire

START = 1_508_040_000_000_000  # 2017-10-15T04:00:00Z
PARTITIONS = 4
RAW_USER = "household number 42"
RAW_COOKIE = "cookie number 43"
PROPERTIES = {"rating": {"scale": 2}, "colour": {"kind": "text"}}


class Entrance:
    """One deployment's collect, and what it put into the log."""

    def __init__(self, home: Path, redis_url: str, prefix: str, **changes: Any) -> None:
        self.settings = load(
            home=home, redis_url=redis_url, redis_prefix=prefix, partitions=PARTITIONS, properties=PROPERTIES,
            **{"replay": True} | changes,
        )  # fmt: skip
        make_key(self.settings.key_file)
        make_sealing_key(self.settings.sealing_key_file)
        self.sealing = Sealing.load(self.settings.sealing_key_file)
        self.keys = Keys(prefix, PARTITIONS)
        self.client = redis.Redis.from_url(redis_url)
        self.letters = DeadLetters(self.client, self.keys)
        advance(self.client, self.keys, START)

    def collect(self, client: "redis.asyncio.Redis", check_room: Callable[[], None] = lambda: None) -> Collect:
        """Its collect, on a client of the running event loop."""
        return collect(client, self.settings, check_room)

    def track(self, messages: Sequence[wire.Event], url: str | None = None) -> list[Outcome]:
        """What Track would answer."""

        async def tracked() -> list[Outcome]:
            async with redis.asyncio.Redis.from_url(url or str(self.settings.redis_url)) as client:
                settings = self.settings.replaced(replay=False) if url else self.settings
                return await collect(client, settings).track(messages)

        return asyncio.run(tracked())

    def stored(self) -> list[Event]:
        """The events in the log."""
        entries = Log(self.client, self.keys).read(dict.fromkeys(range(PARTITIONS), 0), 0, 100_000)
        return [decode(entry.payload) for entry in entries if entry.type == EVENT_ENTRY]

    def counted(self) -> dict[str, int]:
        """The counters of all partitions together."""
        counts: dict[str, int] = {}
        for partition in range(PARTITIONS):
            for name, n in self.client.hgetall(self.keys.counts(partition)).items():
                counts[name.decode()] = counts.get(name.decode(), 0) + int(n)
        return counts

    def accounts(self, partition: int) -> Accounts:
        """The accounts of one partition, read in one step."""
        return accounts([self.client.hgetall(self.keys.counts(partition))])


def collect(
    client: "redis.asyncio.Redis", settings: Settings, check_room: Callable[[], None] = lambda: None
) -> Collect:
    """A deployment's collect, as the server puts it together."""
    keys = Keys(settings.redis_prefix, settings.partitions)
    return Collect(
        LogWriter(client, keys, settings.lateness_horizon_h, settings.dead_letters, check_room),
        AsyncClock(client, keys.clock() if settings.replay else None),
        Pseudonyms.load(settings.key_file),
        Sealing.load(settings.sealing_key_file),
        settings,
    )


def reported(message_id: str = "m1", **changes: Any) -> wire.Event:
    """An event as a client reports it."""
    fields: dict[str, Any] = {
        "kind": "purchase", "user_id": RAW_USER, "event_time": START - 5, "consent": ["personalization"],
    }  # fmt: skip
    return event(message_id=message_id, **fields | changes)
