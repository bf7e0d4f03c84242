"""Visits: as many as declared, when declared in local time, and the same whatever else is asked for."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US
from tests.training.simulation.worlds import FAR, chi_square, day, first_days, small
from training.simulation.rhythm import MOST_PAGES, relative_rate
from training.simulation.world import World

ZONES = ("America/New_York", "Asia/Kolkata", "Europe/Berlin")


def busy(**given: object) -> World:
    """A world with many sessions."""
    return small(**{"users": 150, "zones": ZONES, "sessions_per_day": 3.0, "pages": 1.0} | given)


def local(visit: object) -> datetime:
    """The visit's local time by the standard library alone."""
    t = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=visit.t)  # type: ignore[attr-defined]
    return t.astimezone(ZoneInfo(visit.zone))  # type: ignore[attr-defined]


def test_each_user_comes_as_often_as_declared() -> None:
    """Sessions of a whole number of weeks are Poisson counts with the user's own mean."""
    world = busy()
    counts = np.bincount([visit.user for visit in first_days(world, 28)], minlength=150)
    mean = world.people.sessions_per_day * 28
    assert abs((counts.sum() - mean.sum()) / np.sqrt(mean.sum())) < FAR
    assert abs((((counts - mean) ** 2 / mean).sum() - 150) / np.sqrt(2 * 150)) < FAR


@pytest.mark.parametrize("zone", ZONES)
def test_hours_and_weekdays_are_local(zone: str) -> None:
    """In each zone local hours and weekdays are as frequent as the declared rate says."""
    world = busy()
    visits = [visit for visit in first_days(world, 56) if visit.zone == zone]
    hours = np.bincount([local(visit).hour for visit in visits], minlength=24)
    expected = relative_rate(world.parameters, np.arange(7 * 24 * 60) * 60_000_000)
    by_hour = expected.reshape(7, 24, 60).mean(axis=(0, 2))
    assert abs(chi_square(hours, by_hour / by_hour.sum() * len(visits))) < FAR
    weekdays = np.bincount([local(visit).weekday() for visit in visits], minlength=7)
    weights = np.array([1, 1, 1, 1, 1, 1.5, 1.5])
    assert abs(chi_square(weekdays, weights / weights.sum() * len(visits))) < FAR
    assert hours[20] > 3 * hours[8]


def test_the_clocks_change_in_the_middle_of_a_week() -> None:
    """Offsets are the zone's at each visit; after the change people come as early by the clock, not by the sun."""
    world = busy(start="2024-03-17", zones=["Europe/Berlin"], users=60, sessions_per_day=10.0)
    visits = first_days(world, 28)
    offsets = Counter(visit.utc_offset_s for visit in visits)
    assert set(offsets) == {3600, 7200}
    for visit in visits:
        assert visit.utc_offset_s == local(visit).utcoffset().total_seconds()  # type: ignore[union-attr]
        assert (visit.hour, visit.weekday) == (local(visit).hour, local(visit).weekday())
    peaks = []
    for offset in (3600, 7200):
        hours = np.array([visit.t % DAY_US for visit in visits if visit.utc_offset_s == offset]) / DAY_US * 2 * np.pi
        peaks.append(np.angle(np.exp(1j * hours).mean()) / (2 * np.pi) * 24 % 24)
    assert peaks[0] == pytest.approx(19, abs=0.3)
    assert peaks[1] == pytest.approx(18, abs=0.3)


def test_sessions_have_the_declared_length() -> None:
    """Visits in a session are geometric with the declared mean, in the order of time, and begin at home."""
    world = busy(pages=3.0, sessions_per_day=1.0)
    visits = first_days(world, 28)
    sessions: dict[tuple[int, int], list[object]] = {}
    for visit in visits:
        sessions.setdefault((visit.user, visit.session), []).append(visit)
    lengths = np.array([len(each) for each in sessions.values()])
    assert abs(lengths.mean() - 3) < FAR * lengths.std() / np.sqrt(len(lengths)) + 3 * (2 / 3) ** MOST_PAGES
    assert abs((lengths == 1).mean() - 1 / 3) < FAR * np.sqrt(2 / 9 / len(lengths))
    assert all(each[0].page == "home" for each in sessions.values())  # type: ignore[attr-defined]
    assert len({(visit.user, visit.number) for visit in visits}) == len(visits)
    pauses = [b.t - a.t for each in sessions.values() for a, b in pairwise(each)]  # type: ignore[attr-defined]
    assert min(pauses) > 0
    assert abs(np.mean(pauses) / 45e6 - 1) < FAR / np.sqrt(len(pauses))


def test_two_spans_make_one() -> None:
    """What happens in a span does not depend on where it was cut, in the middle of a week and of a day."""
    world = busy(pages=3.0)
    p = world.parameters
    start, middle, end = day(p, 0), day(p, 3) + 12_345_678, day(p, 10)
    cut = world.visits(start, middle) + world.visits(middle, end)
    assert sorted(cut, key=lambda visit: (visit.t, visit.user, visit.number)) == world.visits(start, end)


def test_more_users_leave_the_first_as_they_are() -> None:
    """What one user does does not depend on how many others there are."""
    few, many = busy(users=20), busy(users=40)
    assert first_days(few, 7) == [visit for visit in first_days(many, 7) if visit.user < 20]


def test_there_is_nothing_before_the_world() -> None:
    """A span that begins before is refused, and one without length is empty."""
    world = busy()
    with pytest.raises(BadInput, match="begins on 2024-01-01"):
        world.visits(day(world.parameters, -1), day(world.parameters, 1))
    assert first_days(world, 0) == []
