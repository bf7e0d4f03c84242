"""Sums over windows of many states and several slots in one pass."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from behavior.asked import Asked, length_of
from behavior.ragged import NEVER, Runs


class _Runs(NamedTuple):
    """What one slot has of n rows; see `Cursor.in_windows`. `sums` is where the answers go."""

    hop_us: int
    heads: np.ndarray
    first: np.ndarray
    step: int
    asked: Sequence[Asked]
    sums: list[np.ndarray]


class Windows:
    """Runs of several slots over the same n rows, summed together: numpy's price is per call, not per number."""

    def __init__(self, seen_e: np.ndarray, t: np.ndarray) -> None:
        self._seen_e = seen_e
        self._t = t
        self._slots: list[_Runs] = []

    def add(
        self, hop_us: int, heads: np.ndarray, first: np.ndarray, step: int, asked: Sequence[Asked]
    ) -> list[np.ndarray]:
        """Take a slot's runs, see `Cursor.in_windows`; the sum of each window, int64[n], which `sum_up` fills."""
        sums = [np.empty(len(heads), dtype=np.int64) for _ in asked]
        self._slots.append(_Runs(hop_us, heads, first, step, asked, sums))
        return sums

    def sum_up(self, numbers: np.ndarray) -> Callable[[], np.ndarray]:
        """Fill all sums; see `Cursor.done`."""
        n = len(self._t)
        if not self._slots:
            return lambda: np.full(n, NEVER, dtype=np.int64)
        hops = np.array([each.hop_us for each in self._slots], dtype=np.int64)
        heads = np.concatenate([each.heads for each in self._slots])
        steps = np.array([each.step for each in self._slots], dtype=np.int64).repeat(n)
        runs = Runs(np.maximum(heads >> 1, heads & 1))
        at = runs.places(np.concatenate([each.first for each in self._slots]), steps)
        distances, amounts = numbers[at], numbers[at + 1]
        distances[runs.start[heads & 1 != 0]] = 0
        amounts[runs.start[heads == 1]] = 1
        now = (self._t // hops[:, None]).ravel()
        since = runs.back_from((self._seen_e // hops[:, None]).ravel() - now, distances)
        # The first windows of all slots together, then their second ones, and so on.
        most = max(len(each.asked) for each in self._slots)
        held = [self._nth(nth, runs, since, amounts) for nth in range(most)]

        def leaves() -> np.ndarray:
            hop_us = hops.repeat(n)[runs.row]
            hop = now[runs.row] + since
            ends = [np.where(inside, (hop + length) * hop_us, NEVER) for inside, length in held]
            least: np.ndarray = runs.least(np.minimum.reduce(ends)).reshape(len(hops), n).min(axis=0)
            return least

        return leaves

    def _nth(self, nth: int, runs: Runs, since: np.ndarray, amounts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fill the nth window's sums of each slot that has so many; per entry whether it is inside, and its length."""
        n = len(self._t)
        asked = [(each, each.asked[nth]) if nth < len(each.asked) else None for each in self._slots]
        # A window of no length holds nothing.
        lengths = np.array([length_of(one[1]) // one[0].hop_us if one else 0 for one in asked], dtype=np.int64)
        length = lengths.repeat(n)[runs.row]
        inside = since > -length
        counts = np.array([one is not None and (one[1].hops or one[0].step == 1) for one in asked], dtype=bool)
        if np.count_nonzero(counts):
            amounts = np.where(counts.repeat(n)[runs.row], 1, amounts)
        found = runs.sums(amounts * inside).reshape(len(asked), n)
        for summed, one in zip(found, asked, strict=True):
            if one:
                one[0].sums[nth][:] = summed
        return inside, length
