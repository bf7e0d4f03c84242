"""Anomalies: which injected events are found, how late, and how many alarms are false; and a NAB-style score.

Simulated: negative binomial counts of 5 minutes with a daily and a weekly rhythm, a level that drifts, and holidays of
a lower level, at volumes from 0.5 to 500; drops and spikes are injected into half of the series from the third week on.
No figure of it stands in for real data. An event is detectable when the change of its expected sum is at least
DETECTABLE standard deviations of that sum; the others lie within the noise, and are listed apart. It is found when an
anomaly is seen first within it, or within an hour after. What is seen first elsewhere is a false alarm; a holiday may
be one anomaly, and those are counted apart.

Real: the series of the Numenta Anomaly Benchmark in the directory OPPORTUNE_NAB, scored as in its paper (Lavin and
Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015), standard profile: of each window the first
alarm gives s(y) = 2 / (1 + exp(5 y)) - 1, y from -1 at its begin to 0 at its end, divided by s(-1); an alarm elsewhere
gives 0.11 s(y) with y the distance behind the last window in its widths, -0.11 where there is none; a window missed
gives -1. The score is 100 (sum + windows) / (2 windows): 0 without any alarm, 100 at best. Alarms within the first 15 %
of the rows, at most 750, do not count. Beside ours, ADWIN and Page-Hinkley of River on the raw series, as they come.
"""

import csv
import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.progress import track
from rich.table import Table
from river import drift
from scipy.stats import gamma

from behavior.event import HOUR_US, MINUTE_US, SECOND_US
from deployment.zone import offsets_at
from scoring.watching.anomalies import Detector

ZONE = "America/New_York"
START = int(datetime(2024, 2, 5, tzinfo=UTC).timestamp()) * SECOND_US  # the clocks change in the fifth week
WEEKS, QUIET_WEEKS = 10, 2
A_DAY = 288
VOLUMES = (0.5, 2.0, 5.0, 20.0, 100.0, 500.0)
OVERDISPERSION, DRIFT_A_DAY = 0.02, 0.02
HOLIDAYS, HOLIDAY_LEVEL = (24, 45, 61), 0.6
# What expected counts are multiplied by, and for how many intervals.
EVENTS = [(left, n) for left in (0.8, 0.6, 0.4, 0.2, 0.0) for n in (12, 48, 144)] + [
    (times, n) for times in (1.5, 2.0, 4.0, 10.0) for n in (1, 12, 48)
]
DETECTABLE = 6.0
PROBATION, PROBATION_ROWS, FALSE_COSTS = 0.15, 750, 0.11
# A detector: the rows (t, value) to the rows' t at which it alarms.
Alarms = Callable[[Sequence[tuple[int, float]], int], list[int]]


@dataclass(frozen=True, slots=True)
class Found:
    """Of one size and both sides of the noise: how many events there were, were found, and how late."""

    times: float
    detectable: int
    found: int
    within_noise: int
    found_within_noise: int
    median_delay_minutes: float | None


@dataclass(frozen=True, slots=True)
class OfVolume:
    """False alarms of one volume, in series with events and without."""

    mean_per_interval: float
    detectable: int
    found: int
    false_alarms: int
    days: int
    holidays: int
    anomalies_on_holidays: int


@dataclass(frozen=True, slots=True)
class OfNab:
    """One detector on one labelled series."""

    series: str
    detector: str
    windows: int
    hits: int
    false_alarms: int
    score: float


@dataclass(frozen=True, slots=True)
class AnomalyBench:
    """What was measured; see the module."""

    source: str
    detectable_sd: float
    share_found: float
    false_alarms_a_day: float
    false_alarms_a_day_low: float
    false_alarms_a_day_high: float
    median_delay_minutes: float
    sizes: tuple[Found, ...]
    volumes: tuple[OfVolume, ...]
    nab: tuple[OfNab, ...]
    nab_scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Injected:
    """An event: from one interval to before another one, what its expectation is multiplied by, and how sure it is."""

    first: int
    last: int
    times: float
    deviations: float

    @property
    def is_detectable(self) -> bool:
        """Whether it stands out of the noise."""
        return self.deviations >= DETECTABLE

    def delay(self, alarms: Iterable[tuple[int, int]]) -> int | None:
        """Intervals from its begin until an alarm (interval, sign) of its direction; None if there is none."""
        sign = 1 if self.times > 1.0 else -1
        late = [at - self.first for at, side in alarms if self.first <= at < self.last + 12 and side == sign]
        return min(late) + 1 if late else None


@dataclass(frozen=True, slots=True)
class Watched:
    """One simulated series with what was found in it: intervals of alarms with their signs."""

    volume: float
    injected: tuple[Injected, ...]
    alarms: tuple[tuple[int, int], ...]

    @property
    def false_alarms(self) -> int:
        """Alarms after the quiet weeks outside of events, the hour after each, and holidays."""
        return sum(not self._is_due(at) for at, _ in self.alarms if at >= QUIET_WEEKS * 7 * A_DAY)

    @property
    def on_holidays(self) -> int:
        """Alarms on holidays that no event explains."""
        return sum(self._on_holiday(at) and not self._in_event(at) for at, _ in self.alarms)

    def _is_due(self, at: int) -> bool:
        return self._in_event(at) or self._on_holiday(at)

    def _in_event(self, at: int) -> bool:
        return any(each.first <= at < each.last + 12 for each in self.injected)

    def _on_holiday(self, at: int) -> bool:
        return _local_days()[at] in HOLIDAYS


def measure(home: Path, rounds: int) -> AnomalyBench:
    """As many series of each volume as rounds, with events and without; nothing in the home is needed."""
    cases = [(volume, seed, eventful) for volume in VOLUMES for seed in range(rounds) for eventful in (True, False)]
    watched = [_watch(*case) for case in track(cases, "simulated series")]
    directory = os.environ.get("OPPORTUNE_NAB")
    nab = tuple(_nab(Path(directory))) if directory else ()
    events = [(each, each.delay(one.alarms)) for one in watched for each in one.injected]
    judged = [delay for each, delay in events if each.is_detectable]
    false = sum(one.false_alarms for one in watched)
    days = len(watched) * (WEEKS - QUIET_WEEKS) * 7
    return AnomalyBench(
        "simulated; real where it says NAB", DETECTABLE,
        round(sum(delay is not None for delay in judged) / len(judged), 4),
        *(round(each / days, 4) for each in (false, *_interval(false))),
        _median_minutes(judged) or 0.0,
        tuple(_of_size(times, events) for times in sorted({times for times, _ in EVENTS})),
        tuple(_of_volume(volume, watched) for volume in VOLUMES), nab, _nab_scores(nab),
    )  # fmt: skip


def render(found: AnomalyBench) -> Table:
    """The figures as a table for people."""
    table = Table("what", "found", "within noise, found", "delay", "false alarms", title="anomalies")
    for size in found.sizes:
        delay = "" if size.median_delay_minutes is None else f"{size.median_delay_minutes:.0f} min"
        noise = f"{size.found_within_noise} of {size.within_noise}"
        table.add_row(f"events, x {size.times:.1f}", f"{size.found} of {size.detectable}", noise, delay, "")
    for each in found.volumes:
        holidays = f"{each.anomalies_on_holidays} on {each.holidays} holidays"
        false = f"{each.false_alarms} in {each.days} days; {holidays}"
        table.add_row(f"{each.mean_per_interval} an interval", f"{each.found} of {each.detectable}", "", "", false)
    for one in found.nab:
        name = f"NAB {one.series}, {one.detector}"
        table.add_row(name, f"{one.hits} of {one.windows}", "", f"score {one.score}", f"{one.false_alarms}")
    table.caption = (
        f"found {found.share_found:.1%} of events of {found.detectable_sd} sd, after "
        f"{found.median_delay_minutes:.0f} min; false alarms a day {found.false_alarms_a_day} "
        f"[{found.false_alarms_a_day_low}, {found.false_alarms_a_day_high}]; NAB scores {found.nab_scores}"
    )
    return table


def expected_counts(volume: float, rng: np.random.Generator) -> np.ndarray:
    """What each interval is expected to hold, float64[n]: rhythm, drift and holidays, no events."""
    hours = _local_hours()
    of_day = np.exp(0.9 * np.sin(2 * np.pi * (hours - 9.0) / 24) + 0.3 * np.sin(4 * np.pi * (hours - 7.0) / 24))
    of_week = np.where(_local_days() % 7 >= 5, 0.7, 1.0)
    drifting = np.exp(np.cumsum(rng.normal(0.0, DRIFT_A_DAY / math.sqrt(A_DAY), len(hours))))
    level = np.where(np.isin(_local_days(), HOLIDAYS), HOLIDAY_LEVEL, 1.0)
    return np.asarray(volume * of_day / of_day.mean() * of_week * drifting * level)


def injected(expected: np.ndarray, rng: np.random.Generator) -> tuple[Injected, ...]:
    """Events of all sizes in an order of their own, two days apart, none on a holiday; `expected` is changed."""
    found = []
    first = QUIET_WEEKS * 7 * A_DAY
    for place in rng.permutation(len(EVENTS)).tolist():
        times, lasting = EVENTS[place]
        first += int(rng.integers(A_DAY // 4, A_DAY))
        while np.isin(_local_days()[first - A_DAY : first + lasting + A_DAY // 2], HOLIDAYS).any():
            first += A_DAY // 4
        if first + lasting >= len(expected):
            break
        usual = expected[first : first + lasting].copy()
        noise = math.sqrt(float(np.sum(usual + OVERDISPERSION * usual**2)))
        found.append(Injected(first, first + lasting, times, abs(times - 1.0) * float(usual.sum()) / noise))
        expected[first : first + lasting] *= times
        first += lasting + A_DAY
    return tuple(found)


def _watch(volume: float, seed: int, eventful: bool) -> Watched:
    rng = np.random.default_rng((seed, int(10 * volume), int(eventful)))
    expected = expected_counts(volume, rng)
    events = injected(expected, rng) if eventful else ()
    counts = rng.poisson(expected * rng.gamma(1 / OVERDISPERSION, OVERDISPERSION, len(expected)))
    detector = Detector("simulated", ZONE, 300)
    alarms: list[tuple[int, int]] = []
    for at, (t, count) in enumerate(zip(_times().tolist(), counts.tolist(), strict=True)):
        begun = [each for each in detector.observe(t, float(count)) if not each.end]
        alarms += [(at, 1 if each.seen > each.expected else -1) for each in begun]
    return Watched(volume, events, tuple(alarms))


def _times() -> np.ndarray:
    return START + np.arange(WEEKS * 7 * A_DAY, dtype=np.int64) * 5 * MINUTE_US


def _local_hours() -> np.ndarray:
    return np.asarray((_times() + offsets_at(ZONE, _times()) * SECOND_US) / HOUR_US % 24)


_DAYS: list[np.ndarray] = []


def _local_days() -> np.ndarray:
    if not _DAYS:
        _DAYS.append((_times() + offsets_at(ZONE, _times()) * SECOND_US - START) // (24 * HOUR_US))
    return _DAYS[0]


def _median_minutes(delays: Iterable[int | None]) -> float | None:
    late = [5.0 * delay for delay in delays if delay is not None]
    return statistics.median(late) if late else None


def _interval(count: int) -> tuple[float, float]:
    """The exact 95 % interval of a Poisson mean (Garwood 1936)."""
    return float(gamma.ppf(0.025, count)) if count else 0.0, float(gamma.ppf(0.975, count + 1))


def _of_size(times: float, events: Sequence[tuple[Injected, int | None]]) -> Found:
    clear = [delay for each, delay in events if each.times == times and each.is_detectable]
    noise = [delay for each, delay in events if each.times == times and not each.is_detectable]
    found = [sum(delay is not None for delay in delays) for delays in (clear, noise)]
    return Found(times, len(clear), found[0], len(noise), found[1], _median_minutes(clear))


def _of_volume(volume: float, watched: Sequence[Watched]) -> OfVolume:
    ours = [one for one in watched if one.volume == volume]
    clear = [each.delay(one.alarms) for one in ours for each in one.injected if each.is_detectable]
    return OfVolume(
        volume, len(clear), sum(delay is not None for delay in clear), sum(one.false_alarms for one in ours),
        len(ours) * (WEEKS - QUIET_WEEKS) * 7, len(ours) * len(HOLIDAYS), sum(one.on_holidays for one in ours),
    )  # fmt: skip


def ours(rows: Sequence[tuple[int, float]], interval_s: int) -> list[int]:
    """Where episodes of our detector are seen first; the hours are those that the file writes."""
    detector = Detector("nab", "UTC", interval_s)
    changes = [each for t, value in rows for each in detector.observe(t, value)]
    return [each.found for each in changes if not each.end]


def _rivers(kind: type[drift.ADWIN] | type[drift.PageHinkley]) -> Alarms:
    def alarms(rows: Sequence[tuple[int, float]], interval_s: int) -> list[int]:
        detector, found = kind(), []
        for t, value in rows:
            detector.update(value)
            if detector.drift_detected:
                found.append(t)
        return found

    return alarms


# What is compared, by name.
DETECTORS: dict[str, Alarms] = {
    "ours": ours,
    "ADWIN": _rivers(drift.ADWIN),
    "PageHinkley": _rivers(drift.PageHinkley),
}


def nab_score(alarms: Sequence[int], windows: Sequence[tuple[int, int]]) -> tuple[float, int, int]:
    """The sum of what alarms and windows give (see the module), windows hit, and alarms outside."""
    total, hits, false = 0.0, 0, 0
    for first, last in windows:
        within = [t for t in alarms if first <= t <= last]
        hits += bool(within)
        total += _sigmoid((within[0] - last) / (last - first)) / _sigmoid(-1.0) if within else -1.0
    for t in alarms:
        if any(first <= t <= last for first, last in windows):
            continue
        before = [(first, last) for first, last in windows if last < t]
        false += 1
        behind = (t - before[-1][1]) / (before[-1][1] - before[-1][0]) if before else math.inf
        total += FALSE_COSTS * (_sigmoid(behind) if behind < 3.0 else -1.0)
    return total, hits, false


def _sigmoid(y: float) -> float:
    return 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0


def _nab(directory: Path) -> Iterable[OfNab]:
    labels = json.loads((directory / "labels.json").read_text())
    for name in sorted(labels):
        with (directory / name).open() as lines:
            rows = [(_at(row["timestamp"]), float(row["value"])) for row in csv.DictReader(lines)]
        windows = [(_at(first), _at(last)) for first, last in labels[name]["windows"]]
        interval_s = round(statistics.median(b[0] - a[0] for a, b in pairwise(rows)) / SECOND_US)
        judged_from = rows[min(int(PROBATION * len(rows)), PROBATION_ROWS)][0]
        for detector, alarms in DETECTORS.items():
            total, hits, false = nab_score([t for t in alarms(rows, interval_s) if t >= judged_from], windows)
            score = round(50 * (total + len(windows)) / len(windows), 1)
            yield OfNab(name.removesuffix(".csv"), detector, len(windows), hits, false, score)


def _nab_scores(found: Sequence[OfNab]) -> dict[str, float]:
    """The score of all series together, by detector: every window counts alike."""
    scores = {}
    for detector in DETECTORS if found else ():
        theirs = [each for each in found if each.detector == detector]
        windows = sum(each.windows for each in theirs)
        scores[detector] = round(sum(each.score * each.windows for each in theirs) / windows, 1)
    return scores


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US
