"""Which revision of the feature definitions a model was trained with, as git tells."""

import subprocess
from pathlib import Path

_DIRTY = "+dirty"
_WAIT_S = 10.0


def git_revision(directory: Path) -> str | None:
    """The commit that the directory stands at, with `+dirty` behind it if anything in it was changed since.

    None if the directory is in no repository, in one without a commit, or if there is no git.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    changes = _git(directory, "status", "--porcelain", "--", ".")
    if not commit or changes is None:
        return None
    return commit + _DIRTY if changes else commit


def _git(directory: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *words],  # noqa: S607 - whichever git the user works with
            capture_output=True, text=True, timeout=_WAIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
