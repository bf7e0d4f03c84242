"""What a trace says: rates, differences of two policies, curves of regret, and how a policy recovers from a shock.

Intervals hold 95 % and resample users: visits of one user are not independent of each other. Two traces of the same
visits are resampled alike, so that a difference is judged by its own interval.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from behavior.errors import BadInput
from training.evaluation import REPLICATES, Estimate
from training.metrics import interval, user_replicates
from training.simulation.running import Trace

POINTS = 50
# A measure of visits is a ratio of two sums: what is added up of each visit, and what that is measured against.
Measure = Callable[[Trace], tuple[np.ndarray, np.ndarray]]


def click_rate(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Clicks per visit, as they happened."""
    return trace.clicks, np.ones(len(trace))


def expected_click_rate(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Clicks per visit that could be expected of what was shown: the same mean with much less noise."""
    return trace.expected, np.ones(len(trace))


def share_of_best(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Expected clicks as a share of those of the best rankings: what tastes have to give is divided out."""
    return trace.expected, trace.best


@dataclass(frozen=True, slots=True)
class Around:
    """A persona's rate before an instant and from it on."""

    persona: int
    before: Estimate
    after: Estimate


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far a policy that adapts came back after a shock, beside one that is frozen; rates of one persona.

    before     what the adapting policy had before the shock
    lost_to    what the frozen one has in the visits that are judged
    reached    what the adapting one has in these visits
    share      (reached − lost_to) / (before − lost_to): 0 as the frozen one, 1 all that was lost is back
    visits     how many visits are judged
    """

    before: Estimate
    lost_to: Estimate
    reached: Estimate
    share: Estimate
    visits: int


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Sums over all visits up to each of some instants; regret has its interval.

    t                            int64[p], µs UTC
    visits, clicks               int64[p]
    expected, best               float64[p]
    regret, low, high            float64[p], best − expected
    """

    t: np.ndarray
    visits: np.ndarray
    clicks: np.ndarray
    expected: np.ndarray
    best: np.ndarray
    regret: np.ndarray
    low: np.ndarray
    high: np.ndarray


def rate(trace: Trace, measure: Measure = click_rate, *, replicates: int = REPLICATES, seed: int = 1) -> Estimate:
    """The measure over all visits. Raises BadInput if there are none."""
    if not len(trace):
        raise BadInput("there are no visits to measure; simulate a longer time, or more users")
    users, place = np.unique(trace.user, return_inverse=True)
    above, below = _per_user(trace, measure, place, len(users))
    return _ratio(above, below, user_replicates(len(users), replicates, seed))


def around(
    trace: Trace, at: int, measure: Measure = click_rate, *, replicates: int = REPLICATES, seed: int = 1
) -> tuple[Around, ...]:
    """Each persona's rate before an instant (µs) and from it on. Raises BadInput if one of them has no visits."""
    return tuple(
        Around(
            int(persona),
            rate(trace.where((trace.persona == persona) & (trace.t < at)), measure, replicates=replicates, seed=seed),
            rate(trace.where((trace.persona == persona) & (trace.t >= at)), measure, replicates=replicates, seed=seed),
        )
        for persona in np.unique(trace.persona)
    )


def more_clicks(
    first: Trace, second: Trace, measure: Measure = click_rate, *, replicates: int = REPLICATES, seed: int = 1
) -> Estimate:
    """How much more of the measure the first policy has over all visits together, such as cumulative clicks.

    Raises BadInput if the two are not of the same visits.
    """
    _refuse_others(first, second)
    users, place = np.unique(first.user, return_inverse=True)
    ours, _ = _per_user(first, measure, place, len(users))
    theirs, _ = _per_user(second, measure, place, len(users))
    drawn = user_replicates(len(users), replicates, seed) @ (ours - theirs)
    return Estimate(float((ours - theirs).sum()), *interval(drawn))


def recovery(
    adapting: Trace,
    frozen: Trace,
    *,
    persona: int,
    at: int,
    after_events: int,
    measure: Measure = expected_click_rate,
    replicates: int = REPLICATES,
    seed: int = 1,
) -> Recovery:
    """How much of what the persona lost at a shock (µs) is back once so many events of that persona have come.

    Events are those of the adapting policy's visits, impressions included. All later visits are judged. Raises BadInput
    if the two traces are not of the same visits, or none are left before the shock or after the events.
    """
    _refuse_others(adapting, frozen)
    theirs = adapting.persona == persona
    since = theirs & (adapting.t >= at)
    came = np.cumsum(np.where(since, adapting.events, 0))
    judged, earlier = since & (came > after_events), theirs & (adapting.t < at)
    if not judged.any() or not earlier.any():
        raise BadInput(f"persona {persona} has no visits before the shock, or none {after_events} events after it")
    users, place = np.unique(adapting.user, return_inverse=True)
    parts = [
        _per_user(trace.where(chosen), measure, place[chosen], len(users))
        for trace, chosen in ((adapting, earlier), (frozen, judged), (adapting, judged))
    ]
    drawn = user_replicates(len(users), replicates, seed)
    before, lost_to, reached = (_ratio(*part, drawn) for part in parts)
    share = _share(*(np.append(_ratios(*part, drawn), part[0].sum() / part[1].sum()) for part in parts))
    return Recovery(before, lost_to, reached, Estimate(float(share[-1]), *interval(share[:-1])), int(judged.sum()))


def curve(trace: Trace, *, points: int = POINTS, replicates: int = REPLICATES, seed: int = 1) -> Curve:
    """Cumulative clicks and regret at instants that have equally many visits between them."""
    n = len(trace)
    ends = np.unique(np.linspace(0, n, points + 1).astype(np.int64)[1:])
    ends = ends[ends > 0]
    users, place = np.unique(trace.user, return_inverse=True)
    part = np.searchsorted(ends, np.arange(n), side="right")
    cells = np.bincount(place * len(ends) + part, weights=trace.regret, minlength=len(users) * len(ends))
    drawn = user_replicates(max(len(users), 1), replicates, seed)[:, : len(users)]
    replicated = (drawn @ cells.reshape(len(users), len(ends))).cumsum(axis=1)
    low, high = np.quantile(replicated, [0.025, 0.975], axis=0)
    return Curve(
        trace.t[ends - 1], ends, trace.clicks.cumsum()[ends - 1], trace.expected.cumsum()[ends - 1],
        trace.best.cumsum()[ends - 1], trace.regret.cumsum()[ends - 1], low, high,
    )  # fmt: skip


def _per_user(trace: Trace, measure: Measure, place: np.ndarray, users: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sums of a measure for each user, float64[users]; `place` says whose each visit is."""
    above, below = measure(trace)
    return np.bincount(place, weights=above, minlength=users), np.bincount(place, weights=below, minlength=users)


def _ratios(above: np.ndarray, below: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The ratio in each replicate; NaN where nothing was drawn to measure against."""
    against = drawn @ below
    found: np.ndarray = np.divide(drawn @ above, against, out=np.full(len(drawn), np.nan), where=against > 0)
    return found


def _ratio(above: np.ndarray, below: np.ndarray, drawn: np.ndarray) -> Estimate:
    return Estimate(float(above.sum() / below.sum()), *interval(_ratios(above, below, drawn)))


def _share(before: np.ndarray, lost_to: np.ndarray, reached: np.ndarray) -> np.ndarray:
    lost = before - lost_to
    found: np.ndarray = np.divide(reached - lost_to, lost, out=np.full(len(lost), np.nan), where=lost != 0)
    return found


def _refuse_others(first: Trace, second: Trace) -> None:
    if not (np.array_equal(first.t, second.t) and np.array_equal(first.user, second.user)):
        raise BadInput("the two traces are not of the same visits; run both policies on the same ones")
