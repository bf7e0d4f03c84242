"""From the log to the archive: a thin consumer whose files are its offset.

    log ──▶ entries in memory ──▶ per partition a file of events, one of what was served ──▶ note in Redis, trim the log
                                        └─▶ now and then: merge small files into larger ones

Any number of archivers share the partitions by leases. Killed at any instant, the next one reads on from the last file;
one that lost its lease without noticing writes what its successor writes too, and readers take each entry once.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from behavior.errors import BadInput, OpportuneError
from behavior.event import Admitted, admit, decode
from behavior.served import EVENT_ENTRY, SERVED_ENTRY
from deployment.archive import Archive
from deployment.clock import Clock, replay_key
from deployment.journal_archive import JournalArchive
from deployment.kept_plans import PlanKeeper
from deployment.keys import Keys
from scoring.consumer_offsets import slowest
from scoring.leases import Leases
from scoring.log import Log, share_of_each
from scoring.trimming import Archived, Trimming

if TYPE_CHECKING:
    import redis

    from deployment.settings import Settings

_log = logging.getLogger("opportune.archive")
# Files are written when this many events, or bytes of served entries, wait or when the last ones are this old (real
# seconds).
FLUSH_EVENTS = 50_000
FLUSH_BYTES = 64 * 1024**2
FLUSH_AFTER_S = 5.0
WAIT_MS = 200
# Files that a partition may collect before they are merged.
MANY_FILES = 64
# How long (real seconds) a merged file stays: somebody may have listed it, and may read for long.
KEPT_S = 3_600.0

ARCHIVED = Counter("opportune_archive_events_total", "Events that are durable in the archive.")
ROUND = Gauge(
    "opportune_archive_round_timestamp_seconds",
    "When the archiver last wrote what waited, if any did, seconds since 1970.",
)


@dataclass(slots=True)
class _Place:
    """One partition owned by this process.

    read             how far its log was read
    event, served    k of the last event, and of the last served entry, that are durable
    files            how many have been written since the last merging
    waiting, shown   events, and served entries by their k, that are to be written
    """

    epoch: int
    read: int
    event: int
    served: int
    files: int
    waiting: list[Admitted] = field(default_factory=list)
    shown: list[tuple[int, bytes]] = field(default_factory=list)


class Archiver:
    """Appends admitted events, and what was served, of the partitions that it owns to the archive, each once.

    keep_plan  called before what was served is written: the plan that it was made under is to be there too
    """

    def __init__(
        self,
        log: Log,
        archive: Archive,
        leases: Leases,
        trimming: Trimming,
        keep_plan: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._archive = archive
        self._journal = JournalArchive(archive.path, archive.partitions)
        self._leases = leases
        self._trimming = trimming
        self._keep_plan = keep_plan
        self._places: dict[int, _Place] = {}
        self._flushed = time.monotonic()
        # Files that nobody needs any more, and since when this process knows (real seconds).
        self._superfluous: dict[Path, float] = {}

    def run(self, stopping: threading.Event, archived: Callable[[int], None] = lambda events: None) -> None:
        """Archive until told to stop; what was read by then is written, and the leases are free, when this returns."""
        while not stopping.is_set():
            self.step(min(WAIT_MS, self._leases.pause_ms))
            if self._is_due():
                archived(self.flush())
        archived(self.flush())
        self._leases.release()

    def step(self, wait_ms: int = 0) -> int:
        """Take in what the log holds beyond what is archived or waiting; the number of entries.

        Raises BadInput if the log was trimmed beyond what this archive holds.
        """
        self._adopt(self._leases.refresh())
        offsets = {number: place.read for number, place in self._places.items()}
        try:
            entries = self._log.read(offsets, wait_ms, share_of_each(len(offsets)))
        except OpportuneError:
            # A successor trims what this process, having slept, has not read yet; then there is nothing to do here.
            if self._adopt(self._leases.refresh(at_once=True)):
                return 0
            raise
        for entry in entries:
            place = self._places[entry.partition]
            place.read = entry.k
            # What a process before this one made durable, and could not note any more, is read again.
            if entry.type == EVENT_ENTRY and entry.k > place.event:
                place.waiting.append(admit(decode(entry.payload), entry.k))
            elif entry.type == SERVED_ENTRY and entry.k > place.served:
                place.shown.append((entry.k, entry.payload))
        return len(entries)

    def flush(self) -> int:
        """Write what waits of each partition, and let the log go behind; how many events were written."""
        if any(place.shown for place in self._places.values()):
            self._keep_plan()
        written = 0
        for number, place in self._places.items():
            if place.shown:
                self._journal.append(number, place.epoch, place.shown)
                place.served = place.shown[-1][0]
                place.shown = []
                place.files += 1
                self._leases.refresh()
            if place.waiting:
                self._archive.append_log(number, place.epoch, place.waiting)
                written += len(place.waiting)
                place.event = place.waiting[-1].k
                place.waiting = []
                place.files += 1
                self._leases.refresh()  # writing many files may take longer than a lease
        lost = self._trimming.note(
            {
                number: (place.epoch, Archived(place.read, place.event, served=place.served))
                for number, place in self._places.items()
            }
        )
        if lost:
            self._adopt(self._leases.refresh(at_once=True))
        self._tidy()
        self._flushed = time.monotonic()
        return written

    def _adopt(self, owned: Mapping[int, int]) -> bool:
        """Begin with the partitions that are new, drop those that are gone; whether there were any."""
        gone = [number for number, place in self._places.items() if owned.get(number) != place.epoch]
        for number in gone:
            del self._places[number]
        new = [number for number in owned if number not in self._places]
        if new:
            noted = self._trimming.archived(new)
            for number in new:
                self._places[number] = self._begin(number, owned[number], noted[number])
            _log.info("archiving %d of %d partitions", len(self._places), self._archive.partitions)
        return bool(gone or new)

    def _begin(self, number: int, epoch: int, noted: Archived) -> _Place:
        event, served = self._archive.covered_until(number), self._journal.covered_until(number)
        files = len(self._archive.files(number)) + len(self._journal.files(number))
        # Up to there both kinds of files have everything; behind that what one of them has is read again, and left out.
        durable = min(event, served)
        if event >= noted.event and served >= noted.served:
            return _Place(epoch, max(durable, noted.until), event, served, files)
        missing = f"{self._archive.path} lacks what was archived of partition {number}: "
        if event < noted.event:
            missing += f"events up to {noted.event}"
            if noted.trimmed > event:
                raise BadInput(
                    f"{missing}, and the log holds them no more; set `archive` to the directory that has them"
                )
        else:
            missing += f"served entries up to {noted.served}"
        _log.warning("%s; what the log still holds of them is archived again", missing)
        return _Place(epoch, max(durable, noted.trimmed), event, served, files)

    def _is_due(self) -> bool:
        waiting = sum(len(place.waiting) for place in self._places.values())
        shown = sum(len(payload) for place in self._places.values() for _, payload in place.shown)
        return waiting >= FLUSH_EVENTS or shown >= FLUSH_BYTES or time.monotonic() - self._flushed >= FLUSH_AFTER_S

    def _tidy(self) -> None:
        """Merge the files of the partition that has most of them, if it has many; remove what was merged long ago."""
        number, place = max(self._places.items(), key=lambda each: each[1].files, default=(0, None))
        if place is None or place.files <= MANY_FILES:
            return
        place.files = 0
        try:
            merged = self._archive.compact(number, place.epoch) + self._journal.compact(number, place.epoch)
        except FileNotFoundError:
            return  # a successor is merging them
        now = time.monotonic()
        folder = self._archive.superfluous(number) | self._journal.superfluous(number)
        _log.info("partition %d: %d files merged", number, merged)
        for path in folder:
            if now - self._superfluous.setdefault(path, now) >= KEPT_S:
                path.unlink(missing_ok=True)
                del self._superfluous[path]


def archiver_of(settings: "Settings", client: "redis.Redis", archive: Archive, holder: str) -> Archiver:
    """An archiver of a deployment, which shares the partitions with all others; `holder` names this process."""
    keys = Keys(settings.redis_prefix, settings.partitions)
    leases = Leases(
        client, keys, "archive", holder, round(settings.lease_s * 1000), keys.meta, epoch_field="epoch:archive"
    )
    trimming = Trimming(
        client,
        keys,
        Clock(client, replay_key(keys, replay=settings.replay)),
        keep_s=settings.log_keep_s,
        most=settings.log_max_entries,
        slowest=lambda partitions: slowest(client, keys, partitions),
    )
    return Archiver(Log(client, keys), archive, leases, trimming, PlanKeeper(client, keys, archive.path).keep)


def tell(events: int) -> None:
    """Tell Prometheus of what was written."""
    ARCHIVED.inc(events)
    ROUND.set_to_current_time()
