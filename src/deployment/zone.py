"""The UTC offset of a zone at many instants."""

from datetime import UTC, datetime
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
    offsets = [_offset_s(where, int(minute) * MINUTE_US) for minute in minutes]
    return np.array(offsets, dtype=np.int64)[places]


def _offset_s(where: ZoneInfo, t: int) -> int:
    offset = datetime.fromtimestamp(t / SECOND_US, UTC).astimezone(where).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
