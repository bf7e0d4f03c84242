"""A fold process that kills itself in the middle of its first commit of states; for the negative control.

    python -m tests.chaos.torn_fold torn     the offset is committed by one call, the states would be by a second one
    python -m tests.chaos.torn_fold whole    the script as it is; killed when it has answered

With `torn` it dies between the two.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from opportune.verbs.consumers import fold
from scoring.fold import Fold
from scoring.scripts import Run, Script


class _Dying(Script):
    """The commit, in one step or in two, which nobody survives."""

    def __init__(self, client: Any, text: str, *, torn: bool) -> None:
        super().__init__(client, text)
        self._torn = torn

    def run(self, runs: Sequence[Run]) -> list[Any]:
        """Commit, in part, and die."""
        # No deltas, no users: two counts of 0 fields.
        offsets_only = [Run(run.keys[:2], [*run.args[:4], 0, 0]) for run in runs]
        super().run(offsets_only if self._torn else runs)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def main() -> None:
    """Fold until the first commit."""
    torn = sys.argv[1] == "torn"
    original = Fold.__init__

    def made(self: Fold, client: Any, *args: Any) -> None:
        original(self, client, *args)
        self._commit = _Dying(client, self._commit._text, torn=torn)

    Fold.__init__ = made  # type: ignore[method-assign]
    fold()


if __name__ == "__main__":
    main()
