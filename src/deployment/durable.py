"""Making what was written survive a power cut."""

import os
import uuid
from pathlib import Path


def flush(path: Path) -> None:
    """Force a file's bytes, or a directory's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, data: bytes) -> None:
    """Let the file hold these bytes, whole and on disk, or what it held before."""
    staging = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        staging.write_bytes(data)
        flush(staging)
        staging.replace(path)
        flush(path.parent)
    finally:
        staging.unlink(missing_ok=True)
