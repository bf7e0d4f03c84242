"""Rows of different lengths in one array, summed with cumulative sums: exact in int64."""

import numpy as np

NEVER = np.iinfo(np.int64).max


class Runs:
    """Ragged runs: entry j belongs to row `row[j]`; a row's entries lie between `start` and `end`."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.end: np.ndarray = np.add.accumulate(lengths)
        self.start: np.ndarray = self.end - lengths
        self.row: np.ndarray = np.arange(len(lengths)).repeat(lengths)

    def places(self, first: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Where each entry is, if a row's entries begin at `first` and are `step` apart, int64[n] both."""
        found: np.ndarray = (first - step * self.start)[self.row] + step[self.row] * np.arange(len(self.row))
        return found

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        """The sum of each row's amounts, int64[n]; 0 for an empty row."""
        total = _running(amounts)
        summed: np.ndarray = total[self.end] - total[self.start]
        return summed

    def back_from(self, first: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Each row's value `first` less all of the row's distances up to each entry."""
        total = _running(distances)
        found: np.ndarray = (first + total[self.start])[self.row] - total[1:]
        return found

    def least(self, amounts: np.ndarray) -> np.ndarray:
        """The least of each row's amounts, int64[n]; NEVER for an empty row."""
        found = np.full(len(self.start), NEVER, np.int64)
        filled = self.end > self.start
        if len(amounts):
            found[filled] = np.minimum.reduceat(amounts, self.start[filled])
        return found


def _running(amounts: np.ndarray) -> np.ndarray:
    """int64[m + 1]: the sum of all amounts before each place."""
    total = np.empty(len(amounts) + 1, dtype=np.int64)
    total[0] = 0
    np.add.accumulate(amounts, out=total[1:])
    return total
