"""One writer at a time in a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from behavior.errors import Unavailable


@contextmanager
def alone_in(folder: Path, work: str = "import into") -> Iterator[None]:
    """Hold off others who do the same work in the folder, which is made if need be; the lock dies with the process.

    Raises Unavailable if another holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".import.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another {work} {folder} is running; try again when it is done") from None
        yield
