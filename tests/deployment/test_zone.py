"""UTC offsets of a zone, against zoneinfo one instant at a time."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.errors import BadInput
from deployment.zone import offset_at, offsets_at, zone

SECOND = 10**6
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# Half hours, a half-hour summer time, a day left out, far east and west, and the demo's own.
ZONES = (
    "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Kiritimati",
    "America/St_Johns", "Africa/Casablanca", "Asia/Tehran", "UTC",
)  # fmt: skip


def expected(name: str, t: int) -> int:
    """What the standard library says at that one instant."""
    offset = (BEGINNING + timedelta(microseconds=t)).astimezone(ZoneInfo(name)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def changes(name: str, year: int) -> list[int]:
    """The instants of a year at which the zone's offset changes, found by halving days."""
    days = [int(datetime(year, 1, 1, tzinfo=UTC).timestamp() + 86_400 * day) * SECOND for day in range(367)]
    found = []
    for low, high in itertools.pairwise(days):
        if expected(name, low) == expected(name, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if expected(name, middle) == expected(name, high) else (middle, high)
        found.append(high)
    return found


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("year", [1996, 2011, 2017, 2024])
def test_the_offset_changes_at_the_very_microsecond(name: str, year: int) -> None:
    """At each change of the year, the microsecond before has the old offset and the instant itself the new one."""
    edges = changes(name, year)
    t = [edge + shift for edge in edges for shift in (-60 * SECOND, -SECOND, -1, 0, 1, SECOND, 60 * SECOND)]
    assert offsets_at(name, np.array(t, dtype=np.int64)).tolist() == [expected(name, instant) for instant in t]


def test_new_york_of_the_demos_year() -> None:
    """2017: summer time from 12 March 07:00 UTC to 5 November 06:00 UTC, four hours behind; five otherwise."""
    spring = 1_489_302_000 * SECOND
    autumn = 1_509_861_600 * SECOND
    assert changes("America/New_York", 2017) == [spring, autumn]
    t = np.array([spring - 1, spring, autumn - 1, autumn], dtype=np.int64)
    assert offsets_at("America/New_York", t).tolist() == [-18_000, -14_400, -14_400, -18_000]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ZONES), st.lists(st.integers(0, 4_102_444_800 * SECOND - 1), min_size=1, max_size=30))
def test_any_instants_in_any_order(name: str, t: list[int]) -> None:
    """From 1970 to 2100, in any order and repeated, every instant has its own offset; int64[n] comes back."""
    found = offsets_at(name, np.array([*t, *t], dtype=np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [expected(name, instant) for instant in t] * 2
    assert [offset_at(name, instant) for instant in t] == found[: len(t)].tolist()


def test_no_instants_have_no_offsets() -> None:
    """An empty column gives an empty column."""
    assert offsets_at("Europe/Berlin", np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize(
    "name", ["", "Nowhere/No", "../etc/passwd", "/etc/passwd", "america/new_york", "EST5", "New York"]
)
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    """What is no IANA zone is one clear line that repeats it, never a guess."""
    with pytest.raises(BadInput) as refused:
        zone(name)
    assert repr(name) in str(refused.value)


def test_a_known_zone_is_that_zone() -> None:
    """The zone that was asked for comes back."""
    assert zone("Asia/Kathmandu").key == "Asia/Kathmandu"
