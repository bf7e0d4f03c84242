"""Many states' numbers at once: rows of different lengths in one array, taken slot by slot.

Each of n rows has a place in the array `numbers`; a slot takes what is its own from every row and moves the places on.
What one row has of a run (buckets, distinct values) is ragged, and is summed with cumulative sums: exact in int64.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

NEVER = np.iinfo(np.int64).max


class Cursor:
    """Where each of n states is in its numbers and texts.

    numbers   int64[m], the numbers of all states one after the other
    place     int64[n], the next number of each
    seen_e    int64[n], the greatest event time of each, µs
    unit      int64[n], what the times of each are counted in, µs
    texts     the texts of each state, as bytes that are decoded only if a slot asks
    """

    def __init__(
        self, numbers: np.ndarray, place: np.ndarray, seen_e: np.ndarray, unit: np.ndarray, texts: Sequence[bytes]
    ) -> None:
        self.numbers = numbers
        self.place = place
        self.seen_e = seen_e
        self.unit = unit
        self._raw_texts = texts
        self._texts: list[list[str]] | None = None
        self._next_text = [0] * len(texts)

    def __len__(self) -> int:
        return len(self.place)

    def take(self, count: int | np.ndarray = 1) -> np.ndarray:
        """The next number of each row; the places move on by `count`."""
        found: np.ndarray = self.numbers[self.place]
        self.place = self.place + count
        return found

    def take_texts(self, row: int, count: int) -> list[str]:
        """The next texts of one row."""
        if self._texts is None:
            self._texts = [msgspec.msgpack.decode(each, type=list[str]) if each else [] for each in self._raw_texts]
        start = self._next_text[row]
        self._next_text[row] = start + count
        return self._texts[row][start : start + count]


class Runs:
    """Ragged runs: entry j belongs to row `row[j]`; a row's entries lie between `start` and `end`."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.end: np.ndarray = np.cumsum(lengths)
        self.start: np.ndarray = self.end - lengths
        self.row: np.ndarray = np.repeat(np.arange(len(lengths)), lengths)

    def places(self, first: np.ndarray, step: int) -> np.ndarray:
        """Where each entry is, if a row's entries begin at `first` and are `step` apart."""
        found: np.ndarray = (first - step * self.start)[self.row] + step * np.arange(len(self.row))
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
    np.cumsum(amounts, out=total[1:])
    return total
