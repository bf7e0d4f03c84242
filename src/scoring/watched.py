"""Files that somebody may replace while a process runs."""

from pathlib import Path


class Watched:
    """Tells whether one of some files was written, replaced or removed since it was last asked."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: object = None

    def changed(self) -> bool:
        """Whether anything is new; true the first time."""
        now = [_stamp(path) for path in self._paths]
        before, self._seen = self._seen, now
        return now != before


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
