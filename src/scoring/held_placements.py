"""The placements that a scorer holds: read anew when their file's bytes change, kept when the new ones are refused."""

import logging
from collections.abc import Callable
from pathlib import Path

from behavior.errors import BadInput
from behavior.plan import Plan
from scoring.placement_file import read_bytes, read_placements, unmade
from scoring.placements import Placements

_log = logging.getLogger("opportune.memory")


class HeldPlacements:
    """Placements of a file, None for the built-in default; `refused` is called for every file that could not be taken.

    Making it raises BadInput for a file that is wrong: a server does not start with one.
    """

    def __init__(self, path: Path | None = None, refused: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._refused = refused
        self._data = b"" if path is None else read_bytes(path)
        self._told = ""
        self._judged = ("", "")
        self.held = Placements() if path is None else read_placements(path, self._data)

    def bring_up(self, plan: Plan) -> None:
        """Take over the file if its bytes have changed.

        Reads a file: call it in a thread. What is refused, and what the plan has no features for, is said once.
        """
        if self._path is None:
            return
        try:
            data = read_bytes(self._path)
            if data != self._data:
                self.held = read_placements(self._path, data)
                self._data = data
                _log.info("placements %s serve", self.held.placements_id)
            self._told = ""
        except BadInput as error:
            if str(error) != self._told:
                self._told = str(error)
                self._refused()
                _log.error("placements %s keep serving: %s", self.held.placements_id, error)
        judged = (self.held.placements_id, plan.fingerprint)
        if judged != self._judged:
            self._judged = judged
            for each in unmade(self.held, plan):
                _log.warning("placements: %s", each)
