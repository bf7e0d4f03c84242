"""When users come: sessions by an inhomogeneous Poisson process in their own local time, and the visits within each.

    rate(t) = the user's sessions per day x (1 + daily cos(2π (hour − peak_hour) / 24)) x the weekday's weight

Both factors have mean 1 over a week. Starts are made by thinning (Lewis and Shedler, Naval Research Logistics 26,
1979): candidates at the greatest rate, each kept with the chance rate(t) / greatest. They are drawn week by week, from
a stream for each user and week, so that any span of time can be asked for on its own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from behavior.event import DAY_US, MILLISECOND_US, SECOND_US
from deployment.zone import offset_at, offsets_at
from training.simulation.parameters import Parameters
from training.simulation.streams import SESSION, STARTS, uniforms
from training.simulation.tastes import DEVICES, People

WEEK_US = 7 * DAY_US
PAGES = ("home", "listing", "product")
# A session is not longer than this many visits; fewer than 2 in 1000 would be, at the default of 3 on average.
MOST_PAGES = 16
_WEEK_S = WEEK_US // SECOND_US
_SATURDAY = 5
_THURSDAY = 3  # 1970-01-01, Monday is 0
_STARTS_BITS, _PAGES_BITS = 20, 5


@dataclass(frozen=True, slots=True)
class Visit:
    """One moment at which something can be shown to a user.

    user            0, 1, ...
    number          unique among the user's visits, whatever span was asked for
    session         unique among the user's sessions
    t               µs UTC, whole milliseconds
    zone            where the user lives; utc_offset_s is that zone's then
    page, device    where, and on what
    """

    user: int
    number: int
    session: int
    t: int
    zone: str
    utc_offset_s: int
    page: str
    device: str

    @property
    def hour(self) -> int:
        """The local hour, 0 to 23."""
        return (self.t + self.utc_offset_s * SECOND_US) % DAY_US // (DAY_US // 24)

    @property
    def weekday(self) -> int:
        """The local weekday, Monday is 0."""
        return ((self.t + self.utc_offset_s * SECOND_US) // DAY_US + _THURSDAY) % 7


def relative_rate(parameters: Parameters, local: np.ndarray) -> np.ndarray:
    """How many times the user's mean rate there is at local instants (µs, int64[n]), float64[n].

    >>> hours = np.arange(7 * 24) * (DAY_US // 24)
    >>> round(float(relative_rate(Parameters(), hours).mean()), 12)
    1.0
    """
    hour = local % DAY_US / (DAY_US / 24)
    of_day = 1 + parameters.daily * np.cos(2 * np.pi * (hour - parameters.peak_hour) / 24)
    rate: np.ndarray = of_day * _weights(parameters)[(local // DAY_US + _THURSDAY) % 7]
    return rate


def visits_between(parameters: Parameters, people: People, since: int, until: int) -> list[Visit]:
    """All visits of sessions that begin at since <= t < until (µs UTC), by time and then by user."""
    visits = [
        visit
        for place, zone in enumerate(parameters.zones)
        for user, session, t in _sessions(parameters, people, place, since, until)
        for visit in _within(parameters, people, Visit(user, session << _PAGES_BITS, session, t, zone, 0, PAGES[0], ""))
    ]
    return sorted(visits, key=lambda visit: (visit.t, visit.user, visit.number))


def _sessions(
    parameters: Parameters, people: People, zone: int, since: int, until: int
) -> Iterator[tuple[int, int, int]]:
    """User, number and start of each session of those who live in the zone."""
    users = np.flatnonzero(people.zone == zone).tolist()
    weeks = range(since // WEEK_US, (until - 1) // WEEK_US + 1) if since < until else range(0)
    peak = (1 + parameters.daily) * float(_weights(parameters).max())
    drawn = [_candidates(parameters, people, user, week, peak) for user in users for week in weeks]
    if not drawn:
        return
    user, number, t, chance = (np.concatenate(column) for column in zip(*drawn, strict=True))
    local = t + offsets_at(parameters.zones[zone], t) * SECOND_US
    kept = (chance * peak < relative_rate(parameters, local)) & (since <= t) & (t < until)
    yield from zip(user[kept].tolist(), number[kept].tolist(), t[kept].tolist(), strict=True)


def _candidates(parameters: Parameters, people: People, user: int, week: int, peak: float) -> tuple[np.ndarray, ...]:
    """Users, numbers and instants (µs) of all candidates of a week at the greatest rate, each with one of [0, 1).

    They are whole seconds apart: rounded before they are added up, they are the same on every machine.
    """
    rate_s = float(people.sessions_per_day[user]) * peak / (DAY_US // SECOND_US)
    enough = int(rate_s * _WEEK_S * 1.2) + 10
    while True:
        drawn = uniforms(parameters.seed, user, STARTS, week, 2 * enough).reshape(-1, 2).T
        after_s = np.cumsum(np.round(-np.log(1.0 - drawn[0]) / rate_s).astype(np.int64))
        n = int(np.searchsorted(after_s, _WEEK_S))
        if n < enough:
            break
        enough *= 2
    numbers = (week << _STARTS_BITS) + np.arange(n)
    return np.full(n, user), numbers, week * WEEK_US + after_s[:n] * SECOND_US, drawn[1, :n]


def _within(parameters: Parameters, people: People, first: Visit) -> Iterator[Visit]:
    """The visits of a session: after each the user goes on with one and the same chance, a while later."""
    seed = parameters.seed
    device, *drawn = uniforms(seed, first.user, SESSION, first.session, 1 + 3 * (MOST_PAGES - 1)).tolist()
    device = DEVICES[0] if device < people.phone[first.user] else DEVICES[1]
    t, goes_on = first.t, 1 - 1 / parameters.pages
    yield _placed(first, 0, t, first.page, device)
    for place in range(1, MOST_PAGES):
        on, pause, page = drawn[3 * place - 3 : 3 * place]
        if on >= goes_on:
            return
        t += max(1, int(-math.log(1 - pause) * parameters.pause_s * 1000)) * MILLISECOND_US
        yield _placed(first, place, t, PAGES[1 + int(page * (len(PAGES) - 1))], device)


def _placed(first: Visit, place: int, t: int, page: str, device: str) -> Visit:
    offset = offset_at(first.zone, t)
    return Visit(first.user, first.number + place, first.session, t, first.zone, offset, page, device)


def _weights(parameters: Parameters) -> np.ndarray:
    """The relative rate of each weekday, Monday first, float64[7], with mean 1."""
    weights = np.where(np.arange(7) < _SATURDAY, 1.0, parameters.weekend)
    found: np.ndarray = weights / weights.mean()
    return found
