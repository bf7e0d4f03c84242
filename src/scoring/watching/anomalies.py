"""Anomalies in a series: what differs from its profile by more than chance allows, as one episode each.

    value ── tail probability given the profile ──▶ sudden drop or spike ─┐
      └──── residual ── Page-Hinkley ──▶ slow, or few events ─────────────┴─▶ episode: start .. end

An interval is sudden when the negative binomial leaves less than a share of FALSE_A_DAY to what was seen or worse. The
standardised residual, clipped and divided by what makes its hourly sums as wide as seen, feeds Page-Hinkley, whose
threshold follows from the same rate. An episode ends when Page's test of the episode's own ratio of seen to expected
against 1 finds for 1, so a holiday is one episode with its night. Nothing is set per series.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

import msgspec
from scipy.special import betainc, gammainc, gammaincc

from behavior.event import DAY_US, SECOND_US
from scoring.learners import Numbers, apart, joined
from scoring.watching.floods import Flood
from scoring.watching.page_hinkley import PageHinkley, threshold_of
from scoring.watching.profile import Expected, Profile

# False alarms a day of one series: half by sudden intervals, half by Page-Hinkley, and of each half above and below.
FALSE_A_DAY = 0.05
# What Page-Hinkley lets pass, and up to where a residual counts, in standard deviations.
ALLOWED, COUNTED = 0.25, 3.0
# The share of what is expected that Page-Hinkley lets pass: no profile knows better.
TOLERATED = 0.1
# Intervals whose residuals are summed to see how much they go together, and for how many such sums half is forgotten.
BLOCK, BLOCKS_HALF = 12, 168.0
# What an interval teaches the profile at least while an episode lasts: from LASTING_D days on it is the rule, whole.
TEACHES, LASTING_D = 0.02, 2.0
# Evidence that an episode is over, in nats, and what one interval can give.
OVER, MOST = 7.0, 4.0
# The first part of the profile's keys in a detector's state.
_PROFILE = "profile"


class Kind(StrEnum):
    """How an anomaly was seen."""

    DROP = "drop"
    SPIKE = "spike"
    SLOW = "slow"


class Severity(StrEnum):
    """How much of what was expected is missing, or came beside it."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class Part(msgspec.Struct, frozen=True):
    """One source or kind's part of the difference; shares of all parts sum to 1."""

    name: str
    difference: float
    share: float


class Anomaly(msgspec.Struct, frozen=True):
    """One episode; times in microseconds UTC, `end` is 0 while it lasts, `found` when it was seen first."""

    metric: str
    kind: Kind
    severity: Severity
    start: int
    found: int
    end: int
    expected: float
    seen: float
    contributions: tuple[Part, ...] = ()
    flood: Flood | None = None


def contributions(expected: Mapping[str, float], seen: Mapping[str, float]) -> tuple[Part, ...]:
    """The difference of seen and expected, split over its parts; the largest first.

    >>> [(each.name, each.share) for each in contributions({"app": 90, "web": 10}, {"app": 10, "web": 10})]
    [('app', 1.0), ('web', 0.0)]
    """
    found = {name: seen.get(name, 0.0) - expected.get(name, 0.0) for name in {*expected, *seen}}
    whole = sum(found.values())
    parts = [Part(name, each, each / whole if each and whole else 0.0) for name, each in found.items()]
    return tuple(sorted(parts, key=lambda part: (-abs(part.difference), part.name)))


def tails(expected: Expected, value: float) -> tuple[float, float]:
    """The probabilities of at most and of at least the value: negative binomial in units of phi, Poisson if alpha is 0.

    >>> low, high = tails(Expected(10.0, 1.0, 0.0), 0.0)
    >>> round(low, 6), high
    (4.5e-05, 1.0)
    """
    unit = expected.phi
    if unit <= 1e-9 * expected.mean:  # no grain at all: a gamma
        shape = 1.0 / max(expected.alpha, 1e-9)
        x = value * shape / max(expected.mean, 1e-12)
        return float(gammainc(shape, x)), float(gammaincc(shape, x))
    mean, y = expected.mean / unit, value / unit
    if expected.alpha < 1e-6:
        return float(gammaincc(y + 1.0, mean)), float(gammainc(y, mean)) if y > 0.0 else 1.0
    size = 1.0 / expected.alpha
    p = size / (size + mean)
    return float(betainc(size, y + 1.0, p)), float(betainc(y, size, 1.0 - p)) if y > 0.0 else 1.0


def severity_of(expected: float, seen: float) -> Severity:
    """By the ratio of both, in either direction: five times and more is critical, from 1.6 times on major.

    >>> severity_of(100.0, 10.0).value, severity_of(100.0, 60.0).value, severity_of(100.0, 130.0).value
    ('critical', 'major', 'minor')
    """
    ratio = abs(math.log(max(seen, 1e-9) / max(expected, 1e-9)))
    if ratio >= math.log(5.0):
        return Severity.CRITICAL
    return Severity.MAJOR if ratio >= math.log(1.6) else Severity.MINOR


class Detector:
    """Watches one metric, interval by interval, in the order of time."""

    def __init__(self, metric: str, zone: str, interval_s: int) -> None:
        self.metric = metric
        self.profile = Profile(zone, interval_s)
        each = FALSE_A_DAY / 4 / self.profile.intervals_a_day
        self._least = each
        self._slow = PageHinkley(threshold_of(each, ALLOWED))
        self._block = [0.0, 0.0, 1.0]  # residuals of this block: how many, their sum; the variance of one by blocks
        self._episode: Anomaly | None = None
        self._sign = 0
        self._over, self._normal_since = 0.0, 0
        # What the intervals since Page-Hinkley's sums were 0 expected and held, above and below.
        self._since = [0.0] * 4
        self._after = [0.0, 0.0]  # what the intervals expected and held that may lie behind the episode

    @property
    def episode(self) -> Anomaly | None:
        """The episode that lasts, if there is one."""
        return self._episode

    def observe(self, t: int, value: float) -> tuple[Anomaly, ...]:
        """Take the interval that begins at t; the anomalies that end and begin with it, in this order."""
        changed: tuple[Anomaly, ...] = ()
        expected = self.profile.expect(t)
        if self.profile.is_warm and self._episode:
            changed = self._go_on(t, value, expected, self._episode)
        elif self.profile.is_warm:
            changed = self._look(t, value, expected)
        self.profile.learn(t, value, self._teaches(t))
        return changed

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        found = {joined(_PROFILE, key): each for key, each in self.profile.numbers().items()}
        found["slow"] = self._slow.numbers()
        found["detector"] = (*self._block, *self._since, *self._after, *self._ending)
        if self._episode:
            it = self._episode
            place = float(list(Kind).index(it.kind))
            found["episode"] = (place, float(it.start), float(it.found), it.expected, it.seen)
        return found

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        self.profile.restore(apart(numbers)[_PROFILE])
        self._slow.restore(numbers["slow"])
        state = numbers["detector"]
        self._block, self._since = list(state[:3]), list(state[3:7])
        self._after = list(state[7:9])
        self._sign, self._over, self._normal_since = int(state[9]), state[10], int(state[11])
        self._episode = None
        if "episode" in numbers:
            kind, start, found, expected, seen = numbers["episode"]
            self._episode = self._anomaly(list(Kind)[int(kind)], (int(start), int(found), 0), expected, seen)

    @property
    def _ending(self) -> tuple[float, float, float]:
        return float(self._sign), self._over, float(self._normal_since)

    def _teaches(self, t: int) -> float:
        if not self._episode:
            return 1.0
        lasted_d = (t - self._episode.start) / DAY_US
        return min(1.0, max(TEACHES, (lasted_d / LASTING_D) ** 2))

    def _look(self, t: int, value: float, expected: Expected) -> tuple[Anomaly, ...]:
        slow = self._slowly(t, value, expected)
        sign = self._suddenly(value, expected)
        if sign:
            return (self._begin(sign, t, value, expected),)
        if not slow:
            return ()
        self._sign, self._over = slow, 0.0
        start = self._slow.above_since if slow > 0 else self._slow.below_since
        sums = self._since[:2] if slow > 0 else self._since[2:]
        self._episode = self._anomaly(Kind.SLOW, (int(start), t, 0), sums[0], sums[1])
        return (self._episode,)

    def _slowly(self, t: int, value: float, expected: Expected) -> int:
        """What Page-Hinkley says of the residual: 1 up, -1 down, 0 neither."""
        residual = min(max((value - expected.mean) / expected.sd, -COUNTED), COUNTED)
        self._learn_width(residual)
        width = math.sqrt(max(self._block[2], 1.0))
        delta = max(ALLOWED, TOLERATED * expected.mean / expected.sd / width)
        slow = self._slow.update(residual / width, t, delta)
        self._sum_up(value, expected.mean)
        return slow

    def _suddenly(self, value: float, expected: Expected) -> int:
        """Whether this one interval is too high (1) or too low (-1) for chance, else 0."""
        low, high = tails(expected, value)
        if min(low, high) >= self._least:
            return 0
        return -1 if low < high else 1

    def _sum_up(self, value: float, mean: float) -> None:
        for place, gap in ((0, self._slow.above), (2, self._slow.below)):
            self._since[place] = self._since[place] + mean if gap > 0.0 else 0.0
            self._since[place + 1] = self._since[place + 1] + value if gap > 0.0 else 0.0

    def _learn_width(self, residual: float) -> None:
        count, total, width = self._block
        self._block[:2] = count + 1.0, total + residual
        if count + 1.0 >= BLOCK:
            fading = 0.5 ** (1.0 / BLOCKS_HALF)
            self._block[:] = 0.0, 0.0, width * fading + (1.0 - fading) * (total + residual) ** 2 / BLOCK

    def _begin(self, sign: int, t: int, value: float, expected: Expected) -> Anomaly:
        self._sign, self._over = sign, 0.0
        kind = Kind.SPIKE if sign > 0 else Kind.DROP
        self._episode = self._anomaly(kind, (t, t, 0), expected.mean, value)
        return self._episode

    def _go_on(self, t: int, value: float, expected: Expected, it: Anomaly) -> tuple[Anomaly, ...]:
        if self._over <= 0.0:
            self._normal_since = t
        sign = self._suddenly(value, expected)
        if sign and self._is_another(sign, t, value, expected, it):
            return self._ended(it), self._begin(sign, t, value, expected)
        self._over = max(0.0, self._over + self._for_normal(value, expected, it))
        if self._over >= OVER:
            return (self._ended(it),)
        self._after = [self._after[0] + expected.mean, self._after[1] + value]
        if self._over <= 0.0:  # so it went on until now
            sums = it.expected + self._after[0], it.seen + self._after[1]
            self._episode, self._after = self._anomaly(it.kind, (it.start, it.found, 0), *sums), [0.0, 0.0]
        return ()

    def _is_another(self, sign: int, t: int, value: float, expected: Expected, it: Anomaly) -> bool:
        """Whether a sudden interval is an episode of its own: of the other direction, or beyond a slow or old one."""
        if sign != self._sign:
            return True
        is_old = t - it.start >= BLOCK * self.profile.interval_s * SECOND_US
        as_episode = replace(expected, mean=self._ratio(it) * expected.mean)
        return (is_old or it.kind is Kind.SLOW) and self._suddenly(value, as_episode) == sign

    def _ended(self, it: Anomaly) -> Anomaly:
        self._episode = None
        self._slow.rest()
        self._since, self._after = [0.0] * 4, [0.0, 0.0]
        end = max(self._normal_since, it.start + self.profile.interval_s * SECOND_US)
        return self._anomaly(it.kind, (it.start, it.found, end), it.expected, it.seen)

    def _ratio(self, it: Anomaly) -> float:
        """Seen to expected of the episode, at least as far from 1 as is tolerated."""
        ratio = it.seen / it.expected if it.expected > 0.0 else 1.0
        return min(ratio, 1.0 - TOLERATED) if self._sign < 0 else max(ratio, 1.0 + TOLERATED)

    def _for_normal(self, value: float, expected: Expected, it: Anomaly) -> float:
        """The log of the likelihood of 1 over that of the episode's ratio, normal with the profile's variance."""
        as_episode, as_normal = (value - self._ratio(it) * expected.mean) ** 2, (value - expected.mean) ** 2
        width = 2.0 * expected.variance * max(self._block[2], 1.0)
        return min(max((as_episode - as_normal) / width, -MOST), MOST)

    def _anomaly(self, kind: Kind, times: tuple[int, int, int], expected: float, seen: float) -> Anomaly:
        return Anomaly(self.metric, kind, severity_of(expected, seen), *times, expected, seen)
