"""The request's own context: instants and UTC offsets, one row per request."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from behavior.column import Column
from behavior.event import DAY_US, HOUR_US, SECOND_US


@dataclass(frozen=True)
class Moment:
    """Instants with the user's offset at each.

    t              int64[n], microseconds UTC
    utc_offset_s   int64[n], seconds east of Greenwich
    """

    t: np.ndarray
    utc_offset_s: np.ndarray

    @cached_property
    def _local_us(self) -> np.ndarray:
        shift: np.ndarray = self.utc_offset_s * SECOND_US
        local: np.ndarray = self.t + shift
        return local

    @cached_property
    def hour(self) -> np.ndarray:
        """Local hour of the day, 0 to 23, int64[n]."""
        return self._local_us // HOUR_US % 24

    @cached_property
    def weekday(self) -> np.ndarray:
        """Local day of the week, Monday = 0, int64[n]."""
        return (self._local_us // DAY_US + 3) % 7  # 1970-01-01 was a Thursday


def choose_offset(stated: Column, last_known: Column, source_zone: np.ndarray) -> np.ndarray:
    """The offset that the request states, else the user's last known, else the source's zone; int64[n]."""
    fallback = np.where(last_known.valid, last_known.values, source_zone)
    return np.where(stated.valid, stated.values, fallback).astype(np.int64)
