"""An archiver as a process of its own, to be killed: it flushes all the time, and can die at a chosen moment.

    python -m tests.scoring.archiver_process <redis url> <prefix> <archive> <holder> <ms of a lease> [<flushes>]

With the last argument it kills itself between the files and the note of the so-manieth flush.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import redis

from deployment.archive import Archive
from scoring import archiver
from scoring.trimming import Trimming
from tests.scoring.raw_log import RawLog


def main() -> None:
    """Archive until killed."""
    url, prefix, path, holder, ttl_ms, *dies = sys.argv[1:]
    archiver.FLUSH_AFTER_S = 0.02
    archiver.MANY_FILES = 8
    archiver.KEPT_S = 0.1
    if dies:
        _die_before_note(int(dies[0]))
    log = RawLog(redis.Redis.from_url(url), prefix)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    archive = Archive(Path(path), log.keys.partitions)
    log.archiver(archive, holder, ttl_ms=int(ttl_ms), most=20).run(stopping)


def _die_before_note(flush: int) -> None:
    """With files written by the flush: others are not interesting."""
    original = Trimming.note
    before: dict[int, int] = {}
    left = flush

    def note(self: Trimming, archived: Any) -> set[int]:
        nonlocal left
        events = {number: mark.event for number, (_, mark) in archived.items()}
        if before and any(events[number] > before.get(number, events[number]) for number in events):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        before.update(events)
        return original(self, archived)

    Trimming.note = note  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
