"""Tallies by window of event time and by placement, and of all placements together: bounded, mergeable, plain numbers.

    t ──▶ window number t // span: the newest WINDOWS are held        placement ──▶ all together, and its own

A row that is older than all held windows is left out. Beyond PLACEMENTS that have rows in held windows, another
placement counts only in all together. So the state is at most (PLACEMENTS + 1) × WINDOWS tallies; at 3 judged, 24 kB
each, 6.5 MB.
"""

from behavior.event import DAY_US
from scoring.learners import Numbers, key_of, parts_of
from scoring.watching.quality_tally import Tally

WINDOWS = 8
PLACEMENTS = 32
_ALL, _PLACEMENT = "all", "placement"


class QualityWindows:
    """The tallies of tumbling windows; who judges rows, and adds them to what `open` gives, is built on it.

    judged    how many of `Judged` the tallies are of, from the first on
    span_us   how long a window is, µs of event time
    """

    def __init__(self, judged: int, span_us: int = DAY_US) -> None:
        self._judged = judged
        self._span_us = span_us
        self._together: dict[int, Tally] = {}
        self._apart: dict[str, dict[int, Tally]] = {}
        # Keys of tallies that differ from when this was last asked for.
        self._changed: set[str] = set()
        self._left_out = 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many rows all held windows have, and how many positives."""
        held = self._together.values()
        return sum(each.rows for each in held), sum(each.positives for each in held)

    @property
    def placements(self) -> tuple[str, ...]:
        """The placements that have rows in held windows, by name."""
        return tuple(sorted(self._apart))

    def take_left_out(self) -> int:
        """How many rows were left out since this was last asked."""
        left_out, self._left_out = self._left_out, 0
        return left_out

    def open(self, placement: str, t: int) -> tuple[Tally, ...]:
        """The tallies that rows of this placement and time belong to; empty if they are older than what is held."""
        window = t // self._span_us
        if self._together and window <= max(self._together) - WINDOWS:
            return ()
        together = self._opened(self._together, window, key_of(_ALL, str(window)))
        if placement not in self._apart and len(self._apart) >= PLACEMENTS:
            return (together,)
        windows = self._apart.setdefault(placement, {})
        return together, self._opened(windows, window, key_of(_PLACEMENT, placement, str(window)))

    def over(self, placement: str | None = None, since: int | None = None) -> Tally:
        """The tally of all held windows that begin at `since` (µs) or later, of a placement or of all together."""
        windows = self._together if placement is None else self._apart.get(placement, {})
        total = Tally(self._judged)
        for window, tally in windows.items():
            if since is None or window * self._span_us >= since:
                total.merge(tally)
        return total

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""
        tallies = self._tallies()
        found = {key: tallies[key].numbers() if key in tallies else None for key in self._changed}
        self._changed = set()
        return found

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return {key: tally.numbers() for key, tally in self._tallies().items()}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        self._together, self._apart, self._changed = {}, {}, set()
        self.merge(numbers)
        self._changed = set()

    def merge(self, numbers: Numbers) -> None:
        """Add the state of another with windows as long: what both have seen, in whatever order it is merged."""
        for key, values in sorted(numbers.items()):  # where placements have no room, not by the order of a dict
            match parts_of(key):
                case name, window if name == _ALL:
                    self._merge(self._together, int(window), key, values)
                case name, placement, window if name == _PLACEMENT:
                    if placement in self._apart or len(self._apart) < PLACEMENTS:
                        self._merge(self._apart.setdefault(placement, {}), int(window), key, values)
        self._forget()

    def _merge(self, windows: dict[int, Tally], window: int, key: str, values: tuple[float, ...]) -> None:
        self._changed.add(key)
        windows.setdefault(window, Tally(self._judged)).merge(Tally.of(self._judged, values))

    def _opened(self, windows: dict[int, Tally], window: int, key: str) -> Tally:
        self._changed.add(key)
        if window not in windows:
            windows[window] = Tally(self._judged)
            self._forget()
        return windows[window]

    def _forget(self) -> None:
        """Forget the windows that are older than the newest WINDOWS, and placements without any."""
        oldest = max(self._together, default=0) - WINDOWS + 1
        for key, (windows, window) in self._places().items():
            if window < oldest:
                del windows[window]
                self._changed.add(key)
        self._apart = {placement: windows for placement, windows in self._apart.items() if windows}

    def _tallies(self) -> dict[str, Tally]:
        return {key: windows[window] for key, (windows, window) in self._places().items()}

    def _places(self) -> dict[str, tuple[dict[int, Tally], int]]:
        """Where each tally is, by its key."""
        places = {key_of(_ALL, str(window)): (self._together, window) for window in self._together}
        for placement, windows in self._apart.items():
            places |= {key_of(_PLACEMENT, placement, str(window)): (windows, window) for window in windows}
        return places
