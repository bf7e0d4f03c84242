"""Values with their absences: what every table of features is made of."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np


class Column(msgspec.Struct, frozen=True, eq=False):
    """n values and whether each is there; a value that is not there is arbitrary and never read.

    values   int64[n], float32[n], or object[n] of str (string) or of lists of str (texts)
    valid    bool[n]
    """

    values: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, raw: Sequence[Any], dtype: str) -> "Column":
        """A column of Python values; `dtype` is int64, float32, string or texts."""
        valid = np.array([value is not None for value in raw], dtype=bool)
        if dtype in ("string", "texts"):
            values = np.empty(len(raw), dtype=object)
            values[:] = raw
            return cls(values, valid)
        return cls(np.array([0 if value is None else value for value in raw], dtype=dtype), valid)

    def __len__(self) -> int:
        return len(self.values)

    def where(self, present: np.ndarray) -> "Column":
        """The same values, there only where `present` too."""
        return Column(self.values, self.valid & present)

    def and_missing(self) -> "Column":
        """The same values and one row more at the end that is not there: it stands for whatever is unknown."""
        n = len(self.values)
        values, valid = np.empty(n + 1, dtype=self.values.dtype), np.zeros(n + 1, dtype=bool)
        values[:n], values[n:] = self.values, None if self.values.dtype == object else 0
        valid[:n] = self.valid
        return Column(values, valid)

    def to_float32(self) -> np.ndarray:
        """float32[n] with NaN for what is not there."""
        return np.where(self.valid, self.values.astype(np.float32), np.float32(np.nan))
