"""A log that tests write directly: entries at instants of their choice, without admission, and the states' offsets."""

from collections.abc import Iterable
from typing import Any

import redis

from behavior import served as served_entries
from behavior.event import Event, encode
from behavior.served import Served
from deployment.archive import Archive
from deployment.clock import Clock, advance
from deployment.journal_archive import JournalArchive
from deployment.keys import Keys
from scoring.archiver import Archiver
from scoring.consumer_offsets import slowest
from scoring.leases import Leases
from scoring.log import Log
from scoring.trimming import Trimming


class RawLog:
    """The log under one prefix, with a replay clock that stands at 0 until it is moved."""

    def __init__(self, client: "redis.Redis", prefix: str, partitions: int = 4) -> None:
        self.client = client
        self.keys = Keys(prefix, partitions)
        self.clock = Clock(client, self.keys.clock())
        advance(client, self.keys, 0)
        # What was written: message id by instant, of each partition; of served entries the request id.
        self.events: dict[int, dict[int, str]] = {number: {} for number in range(partitions)}
        self.served: dict[int, dict[int, str]] = {number: {} for number in range(partitions)}

    def append(self, partition: int, ks: Iterable[int], *, served: bool = False) -> None:
        """Append an entry at each instant, in order."""
        with self.client.pipeline(transaction=False) as together:
            for k in ks:
                said = Event(f"m{partition}-{k}", "purchase", "k1-a", k, value=k % 7)
                entry: Any = {"t": b"s", "b": shown(partition, k)} if served else {"t": b"e", "b": encode(said)}
                together.xadd(self.keys.stream(partition), entry, id=f"{k}-0")
                (self.served if served else self.events)[partition][k] = said.message_id
            together.execute()

    def fold_reached(self, partition: int, offset: int, generation: int = 1) -> None:
        """As if the fold of a generation had committed up to the offset."""
        self.client.hset(self.keys.place(partition, generation), "offset", str(offset))

    def stored(self, partition: int) -> list[int]:
        """The instants of the entries that the log holds."""
        found: Any = self.client.xrange(self.keys.stream(partition))
        return [int(entry_id.partition(b"-")[0]) for entry_id, _ in found]

    def meta(self, partition: int, field: str) -> int:
        """A number of the partition's meta hash, 0 if it is not there."""
        return int(self.client.hget(self.keys.meta(partition), field) or 0)

    def leases(self, holder: str, ttl_ms: int = 60_000) -> Leases:
        """Leases of an archiver."""
        return Leases(self.client, self.keys, "archive", holder, ttl_ms, self.keys.meta, epoch_field="epoch:archive")

    def archiver(
        self, archive: Archive, holder: str = "a", *, ttl_ms: int = 60_000, keep_s: float = 0, most: int = 1_000_000
    ) -> Archiver:
        """An archiver of the log."""
        trimming = Trimming(
            self.client, self.keys, self.clock, keep_s=keep_s, most=most,
            slowest=lambda partitions: slowest(self.client, self.keys, partitions),
        )  # fmt: skip
        return Archiver(Log(self.client, self.keys), archive, self.leases(holder, ttl_ms), trimming)

    def expire_leases(self) -> None:
        """As if the time of every archiver's lease were over."""
        for partition in range(self.keys.partitions):
            self.client.delete(self.keys.lease(partition, "archive"))
        self.client.delete(self.keys.members("archive"))


def shown(partition: int, k: int) -> bytes:
    """A served entry whose request id says where it stands."""
    return served_entries.encode(Served(f"m{partition}-{k}", "k1-a", k, 0, 0, "b", 0, ()))


def journalled(archive: Archive, partition: int) -> dict[int, str]:
    """Request id by instant of what is archived of the journal; asserts that each entry is there once and in order."""
    found = list(JournalArchive(archive.path, archive.partitions).read(partition))
    ks = [k for k, _ in found]
    assert ks == sorted(set(ks))
    return {k: served_entries.decode(data).request_id for k, data in found}


def drain(archiver: Archiver) -> int:
    """Archive all there is; how many events were written."""
    while archiver.step():
        pass
    return archiver.flush()


def archived(archive: Archive, partition: int) -> dict[int, str]:
    """Message id by instant of what is archived; asserts that each event is there once and in order."""
    rows = archive.read(partition, columns=["k", "message_id"]).to_pylist()
    ks = [row["k"] for row in rows]
    assert ks == sorted(set(ks))
    return {row["k"]: row["message_id"] for row in rows}
