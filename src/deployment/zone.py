"""The UTC offset of a zone at instants."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from behavior.errors import BadInput
from behavior.event import MINUTE_US, SECOND_US


def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory of the database, or a name too long
        raise BadInput(f"{name!r} is no IANA time zone; write one such as America/New_York") from None


def offsets_at(name: str, t: np.ndarray) -> np.ndarray:
    """Seconds east of Greenwich at each instant, int64[n]; zones change their offset on whole minutes (since 1972)."""
    minutes, places = np.unique(np.asarray(t, dtype=np.int64) // MINUTE_US, return_inverse=True)
    where = zone(name)
    offsets = [_offset_s(where, minute) for minute in minutes.tolist()]
    return np.array(offsets, dtype=np.int64)[places]


def offset_at(name: str, t: int) -> int:
    """Seconds east of Greenwich at one instant, as `offsets_at` gives them."""
    return _offset_of(name, t // MINUTE_US)


@lru_cache(maxsize=1024)  # requests of the same minute name the same few zones
def _offset_of(name: str, minute: int) -> int:
    return _offset_s(zone(name), minute)


def _offset_s(where: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * MINUTE_US / SECOND_US, UTC).astimezone(where).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
