"""Many states' numbers at once, taken slot by slot."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from behavior.asked import Asked
from behavior.column import Column
from behavior.window_sums import Windows

# What a slot gives: a raw column for each that was asked, filled when the cursor is done.
Taken = dict[Asked, Column]


class Cursor:
    """Where each of n states is in its numbers and texts, while slot after slot takes what is its own.

    numbers   int64[m], the numbers of all states one after the other
    place     int64[n], the next number of each
    seen_e    int64[n], the greatest event time of each, µs
    unit      int64[n], what the times of each are counted in, µs
    texts     the texts of each state, as bytes that are decoded only if a slot asks
    t         int64[n], the instants that are asked for
    everywhere  bool[n], all true: shared by all columns in which nothing is missing
    """

    def __init__(
        self,
        numbers: np.ndarray,
        place: np.ndarray,
        seen_e: np.ndarray,
        unit: np.ndarray,
        texts: Sequence[bytes],
        t: np.ndarray,
    ) -> None:
        self.numbers = numbers
        self.place = place
        self.seen_e = seen_e
        self.unit = unit
        self.everywhere = np.ones(len(place), dtype=bool)
        self._windows = Windows(seen_e, t)
        self._raw_texts = texts
        self._texts: list[list[str]] | None = None
        self._next_text = [0] * len(texts)

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

    def filled(self, values: np.ndarray) -> Column:
        """A column in which every value is there."""
        return Column(values, self.everywhere)

    def in_windows(self, hop_us: int, heads: np.ndarray, first: np.ndarray, step: int, asked: Sequence[Asked]) -> Taken:
        """What windows hold of runs of hops with amounts, or of hops alone; filled when the cursor is `done`.

        heads   int64[n]: twice the length of each run, 1 more where its first distance is not written; 1 alone stands
                for one amount of 1, of which nothing is written
        first   int64[n], where each run begins in the numbers, or would
        step    2 for distances with amounts, 1 for distances alone: then windows count them
        """
        sums = self._windows.add(hop_us, heads, first, step, asked)
        return {each: self.filled(summed) for each, summed in zip(asked, sums, strict=True)}

    def done(self) -> Callable[[], np.ndarray]:
        """Fill what waits; how to find out, int64[n], the first instant at which a window loses something, or NEVER."""
        return self._windows.sum_up(self.numbers)
