"""From the log to the archive: a thin consumer whose files are its offset."""

import logging
import threading
import time
from collections.abc import Callable

from behavior.event import Admitted, admit, decode
from behavior.served import EVENT_ENTRY
from deployment.archive import Archive
from scoring.log import Log, share_of_each

_log = logging.getLogger("opportune.archive")
# A file per partition is written when this many events wait or the oldest has waited this long (real seconds).
FLUSH_EVENTS = 5_000
FLUSH_AFTER_S = 5.0
WAIT_MS = 200


class Archiver:
    """Appends admitted events of all partitions to the archive, each once."""

    def __init__(self, log: Log, archive: Archive) -> None:
        self._log = log
        self._archive = archive
        spans = {number: archive.logged_span(number) for number in range(archive.partitions)}
        self._offsets = {number: span[1] if span else 0 for number, span in spans.items()}
        self._waiting: dict[int, list[Admitted]] = {}
        self._waiting_since: float | None = None

    def run(self, stopping: threading.Event, archived: Callable[[int], None] = lambda events: None) -> None:
        """Archive until told to stop; what was read by then is written before this returns."""
        while not stopping.is_set():
            self.step(WAIT_MS)
            if self._is_due():
                archived(self.flush())
        archived(self.flush())

    def step(self, wait_ms: int = 0) -> int:
        """Take in what the log holds beyond what is archived or waiting; the number of entries."""
        entries = self._log.read(self._offsets, wait_ms, share_of_each(self._archive.partitions))
        for entry in entries:
            self._offsets[entry.partition] = entry.k
            if entry.type == EVENT_ENTRY:
                self._waiting.setdefault(entry.partition, []).append(admit(decode(entry.payload), entry.k))
                self._waiting_since = self._waiting_since or time.monotonic()
        return len(entries)

    def flush(self) -> int:
        """Write one file per partition that has waiting events; the number of events that are durable now."""
        written = sum(len(events) for events in self._waiting.values())
        for number, events in self._waiting.items():
            # Epoch 0: there is one archiver until partitions are leased.
            self._archive.append_log(number, 0, events)
        self._waiting = {}
        self._waiting_since = None
        return written

    def _is_due(self) -> bool:
        waiting = sum(len(events) for events in self._waiting.values())
        overdue = self._waiting_since is not None and time.monotonic() - self._waiting_since >= FLUSH_AFTER_S
        return waiting >= FLUSH_EVENTS or overdue
