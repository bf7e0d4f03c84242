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
        self.nth: np.ndarray = np.arange(len(self.row)) - self.start[self.row]

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        """The sum of each row's amounts, int64[n]; 0 for an empty row."""
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(amounts)])
        summed: np.ndarray = total[self.end] - total[self.start]
        return summed

    def cumulative(self, amounts: np.ndarray) -> np.ndarray:
        """Running sums within each row."""
        running = np.cumsum(amounts)
        before = np.concatenate([np.zeros(1, np.int64), running])[self.start]
        within: np.ndarray = running - before[self.row]
        return within

    def least(self, amounts: np.ndarray) -> np.ndarray:
        """The least of each row's amounts, int64[n]; NEVER for an empty row."""
        found = np.full(len(self.start), NEVER, np.int64)
        filled = self.end > self.start
        if len(amounts):
            found[filled] = np.minimum.reduceat(amounts, self.start[filled])
        return found
