"""What a series of counts or amounts per interval is expected to be: a level that moves slowly, times the hour's shape.

    expected = level x shape(local hour of the week)        variance = phi expected + alpha expected^2

Level and shapes are sums of what was seen over sums of what was to be expected, both fading: the discounted gamma and
Poisson model (West and Harrison, "Bayesian Forecasting and Dynamic Models", 2nd ed. 1997, section 10.8). The shape of
an hour of the week is shrunk to that of the hour of the day, and that to 1, so that few events give one soon.
Between the middles of two hours it is interpolated. Hours are local: the zone's offset at that very instant counts.

The variance is that of a negative binomial for counts (phi 1), and of a compound Poisson for amounts (phi the size of
one); phi and alpha are moments of the residuals of forecasts, so they hold what the forecast itself does not know.
Pure; the state is plain numbers.
"""

import math
from dataclasses import dataclass

from behavior.event import HOUR_US, SECOND_US
from deployment.zone import offset_at
from scoring.learners import Numbers

HOURS_OF_DAY, HOURS_OF_WEEK = 24, 168
# 1970-01-01 was a Thursday: so many hours after a Monday's midnight.
_EPOCH_HOUR = 72
# What counts half: the level after so many days, an hour of the day and of the week after so many of its like.
LEVEL_HALF_D, DAY_HALF, WEEK_HALF = 2.0, 7.0, 5.0
SPREAD_HALF_D = 7.0
# Shapes are shrunk as if so many events had come beside, as many as were to be expected.
SHRUNK = 20.0
# Until an hour of the week was seen, it differs from its hour of the day by about this share; two visits settle it.
UNSEEN, SETTLED = 0.3, 2.0
# Residuals count up to so many standard deviations.
CLIPPED = 4.0
# Forecasts are made from so many days on.
WARM_D = 2.0

# Hours of the week with their shares of an interval.
Hours = tuple[tuple[int, float], tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an interval is expected to hold: variance phi mean + alpha mean^2."""

    mean: float
    phi: float
    alpha: float

    @property
    def variance(self) -> float:
        """The variance of the interval's value, above 0."""
        return max(self.phi * self.mean + self.alpha * self.mean**2, 1e-12)

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.variance)


class Profile:
    """Learns one series in the order of time: intervals of `interval_s` seconds that begin at `t`, in microseconds."""

    def __init__(self, zone: str, interval_s: int) -> None:
        self.zone, self.interval_s = zone, interval_s
        self.intervals_a_day = 86_400 / interval_s
        self._seen = 0.0
        self._whole = 1.0  # until a fraction was seen: a count cannot vary less than Poisson's
        self._level = [0.0, 0.0]
        self._day = [[0.0, 0.0] for _ in range(HOURS_OF_DAY)]
        self._week = [[0.0, 0.0, 0.0] for _ in range(HOURS_OF_WEEK)]
        self._moments = [0.0] * 5

    @property
    def is_warm(self) -> bool:
        """Whether enough was seen to forecast at all."""
        return self._seen >= WARM_D * self.intervals_a_day

    def expect(self, t: int) -> Expected:
        """The interval that begins at t, from what was learned so far."""
        phi, alpha = self._spread()
        hours = self._hours(t)
        unknown = sum(share * SETTLED / (SETTLED + self._week[hour][2]) for hour, share in hours)
        return Expected(self._rate() * self._shape(hours, phi), phi, alpha + (UNSEEN * unknown) ** 2)

    def learn(self, t: int, value: float, weight: float = 1.0) -> None:
        """Learn what the interval at t held, 0 or more, for `weight` of one; at most CLIPPED deviations of it count."""
        expected = self.expect(t)
        if self.is_warm:
            most = CLIPPED * expected.sd
            value = min(max(value, expected.mean - most), expected.mean + most)
        elif value != math.floor(value):
            self._whole = 0.0
        self._learn_spread(value, expected.mean, weight)
        self._learn_shape(t, value, weight, expected.phi)
        self._seen += 1.0

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return {
            "seen": (self._seen, self._whole),
            "level": tuple(self._level),
            "moments": tuple(self._moments),
            "day": tuple(each for sums in self._day for each in sums),
            "week": tuple(each for sums in self._week for each in sums),
        }

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        self._seen, self._whole = numbers["seen"]
        self._level, self._moments = list(numbers["level"]), list(numbers["moments"])
        day, week = numbers["day"], numbers["week"]
        self._day = [list(day[at : at + 2]) for at in range(0, len(day), 2)]
        self._week = [list(week[at : at + 3]) for at in range(0, len(week), 3)]

    def _hours(self, t: int) -> Hours:
        """The two hours of the week between whose middles the middle of the interval lies, with their shares."""
        middle = t + self.interval_s * SECOND_US // 2
        local = (middle + offset_at(self.zone, middle) * SECOND_US) / HOUR_US
        before = math.floor(local - 0.5)
        share = local - 0.5 - before
        first = (before + _EPOCH_HOUR) % HOURS_OF_WEEK
        return (first, 1.0 - share), ((first + 1) % HOURS_OF_WEEK, share)

    def _rate(self) -> float:
        return self._level[0] / self._level[1] if self._level[1] > 0.0 else 0.0

    def _shape(self, hours: Hours, phi: float) -> float:
        shape, shrunk = 0.0, SHRUNK * phi
        for hour, share in hours:
            seen, due = self._day[hour % HOURS_OF_DAY]
            of_day = (seen + shrunk) / (due + shrunk) if due + shrunk > 0.0 else 1.0
            seen, due, _ = self._week[hour]
            shape += share * ((seen + shrunk * of_day) / (due + shrunk) if due + shrunk > 0.0 else of_day)
        return shape

    def _learn_shape(self, t: int, value: float, weight: float, phi: float) -> None:
        level, hours = self._rate(), self._hours(t)
        shape = self._shape(hours, phi)
        an_hour = 3600 / self.interval_s
        for hour, share in hours if level > 0.0 else ():
            part = share * weight
            visits = part / an_hour
            _fade(self._day[hour % HOURS_OF_DAY], 0.5 ** (visits / DAY_HALF), part * value, part * level)
            _fade(self._week[hour], 0.5 ** (visits / WEEK_HALF), part * value, part * level, visits)
        fading = 0.5 ** (weight / (LEVEL_HALF_D * self.intervals_a_day))
        _fade(self._level, fading, weight * value, weight * shape)

    def _learn_spread(self, value: float, mean: float, weight: float) -> None:
        if mean <= 0.0:
            return
        square = (value - mean) ** 2
        fading = 0.5 ** (weight / (SPREAD_HALF_D * self.intervals_a_day))
        _fade(self._moments, fading, *(weight * each for each in (1.0, mean, mean * mean, square, square / mean)))

    def _spread(self) -> tuple[float, float]:
        """Phi and alpha, so that both the squares and the squares over their means come out as seen."""
        count, mean, mean_square, square, relative = self._moments
        least = 1.0 if self._whole else 0.0
        if count < 1.0:
            return least, 1.0
        varied = mean_square - mean * mean / count
        alpha = (square - relative * mean / count) / varied if varied > 0.05 * mean_square else 0.0
        alpha = min(max(alpha, 0.0), square / mean_square)
        phi = max((relative - alpha * mean) / count, least)
        alpha = max((square - phi * mean) / mean_square, 0.0)
        return phi, alpha


def _fade(sums: list[float], fading: float, *added: float) -> None:
    for place, more in enumerate(added):
        sums[place] = sums[place] * fading + more
