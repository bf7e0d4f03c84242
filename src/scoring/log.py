"""The log: ordered partitions of admitted events and served entries, each entry at its admission instant.

One stream per partition, entry id `<k>-0`. Nothing is known of it but partitions, order and offsets: an offset is the k
of the last entry that was taken, and 0 is before everything. Writers append through one script per partition, which
admits, de-duplicates and counts in one step; readers read on from the offsets that they keep with their own state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import redis
import redis.asyncio

from behavior import event as events
from behavior import served as served_entries
from behavior.errors import Unavailable
from behavior.event import HOUR_US, Event
from behavior.served import EVENT_ENTRY, SERVED_ENTRY, Served
from deployment.keys import Keys

ACCEPTED = "accepted"
DUPLICATE = "duplicate"
REJECTED = "rejected"
DROPPED = "dropped"
SERVED = "served"

# Entries that a reader takes at once, over all partitions: enough to amortise a commit, few enough to bound memory,
# since one served entry can have 20 kB.
READ_AT_ONCE = 4_096
_LEAST_OF_EACH = 16

APPEND = files("scoring").joinpath("append.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that a partition is offered; make it with the functions below.

    what         e, s, rejected or dropped, as append.lua reads them
    message_id   of an event, what a repetition is recognised by
    client_time  of an event, µs UTC
    body         bytes of the entry, else the reason
    """

    what: bytes
    body: bytes
    message_id: str = ""
    client_time: int = 0


class Fate(NamedTuple):
    """What became of an offer: its status, why, and the admission instant k (0 if it has none)."""

    status: str
    reason: str = ""
    k: int = 0


class Entry(NamedTuple):
    """One entry of the log as readers get it: `type` is EVENT_ENTRY or SERVED_ENTRY of `behavior.served`."""

    partition: int
    k: int
    type: bytes
    payload: bytes


def share_of_each(partitions: int) -> int:
    """How many entries a reader of so many partitions takes of each at once.

    >>> share_of_each(64)
    64
    """
    return max(_LEAST_OF_EACH, READ_AT_ONCE // partitions)


def offer_event(event: Event) -> Offer:
    """An event that keeps every rule of admission."""
    return Offer(EVENT_ENTRY, events.encode(event), event.message_id, event.client_time)


def offer_served(served: Served) -> Offer:
    """What was shown to a user."""
    return Offer(SERVED_ENTRY, served_entries.encode(served))


def offer_rejected(reason: str) -> Offer:
    """An event that was refused before it got to the log: only counted."""
    return Offer(REJECTED.encode(), reason.encode())


def offer_dropped(purpose: str) -> Offer:
    """An event that nobody consented to keep: only counted."""
    return Offer(DROPPED.encode(), purpose.encode())


class LogWriter:
    """Appends to the log, inside an event loop.

    `lateness_horizon_h` is how old an event may be at admission, in hours.
    """

    def __init__(self, client: "redis.asyncio.Redis", keys: Keys, lateness_horizon_h: int) -> None:
        self._append = client.register_script(APPEND)
        self._keys = keys
        self._horizon_us = lateness_horizon_h * HOUR_US

    async def append(self, partition: int, offers: Sequence[Offer], now: int) -> list[Fate]:
        """What became of each offer, in their order; all of them in one step, at or after `now`.

        Raises Unavailable if the log did not answer or refused: then some of the offers may have been taken, and
        offering them again is safe.
        """
        try:
            names = _keys(self._keys, partition, offers)
            raw = await self._append(keys=names, args=_args(now, self._horizon_us, offers))
        except (redis.RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"the log could not take events ({type(error).__name__}); try again") from error
        return [_fate(status, detail) for status, detail in raw]


class Log:
    """Reads the log on from given offsets; for processes that own partitions."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def read(self, offsets: Mapping[int, int], block_ms: int, count: int) -> list[Entry]:
        """The next entries after the offset of each partition, at most `count` of each, in order within each.

        Waits up to `block_ms` for the first one if there are none (0 does not wait); the client's socket timeout
        must be longer. Raises redis.RedisError.
        """
        if not offsets:
            return []
        partitions = {self._keys.stream(partition): partition for partition in offsets}
        wanted: dict[Any, Any] = {
            stream: f"{offsets[partition]}-{2**64 - 1}" for stream, partition in partitions.items()
        }
        found = self._client.xread(wanted, count=count, block=block_ms or None)
        streams: Any = found.items() if isinstance(found, dict) else found
        return [
            Entry(partitions[stream], int(entry_id.partition(b"-")[0]), fields[b"t"], fields[b"b"])
            for stream, entries in streams
            for entry_id, fields in _flat(entries)
        ]


def _keys(keys: Keys, partition: int, offers: Sequence[Offer]) -> list[bytes]:
    seen = [keys.dedupe(partition, offer.message_id) for offer in offers if offer.what == EVENT_ENTRY]
    return [keys.stream(partition), keys.meta(partition), keys.counts(partition), *seen]


def _args(now: int, horizon_us: int, offers: Sequence[Offer]) -> list[bytes | int]:
    flat: list[bytes | int] = [now, horizon_us]
    for offer in offers:
        flat += (offer.what, offer.client_time, offer.body)
    return flat


def _fate(status: bytes, detail: bytes) -> Fate:
    name = status.decode()
    if name in (REJECTED, DROPPED):
        return Fate(name, detail.decode())
    return Fate(name, k=int(detail))


def _flat(entries: Any) -> Any:
    """redis-py nests the entries once more when the server speaks RESP3."""
    return entries[0] if entries and isinstance(entries[0], list) else entries
