"""The promotion gate: whether a challenger may take the place of the current model, and if not, why not.

Four questions, each answered from measured rows with users resampled:

1. Does it order at all?      its AUC lies above 0.5 beyond chance (a model of shuffled labels does not)
2. Can it be believed?        its calibration error is small on all rows, and in every slice that is large enough
3. Is it truly better?        its log loss is lower than the current one's beyond chance, and no other metric is worse
4. Is anybody worse off?      no metric is worse beyond chance in any declared slice that is large enough

Log loss decides because it is a proper score (Gneiting and Raftery, JASA 2007) of what is served, the propensity
itself; every row has a say, so its paired interval is the narrowest. A tie is not better: it is a risk without a gain.

Every slice and metric of question 4 is one more chance of a false alarm. They share one error (Bonferroni): each of m
comparisons is held against `error` / m. So small a chance cannot be read off a few hundred replicates; the bound is
then the value ± z standard errors of the replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from training.compare import paired
from training.evaluation import REPLICATES, TITLES, Estimate
from training.measured import ALL, HIGHER_IS_BETTER, Figure, Measured, Slice, figures


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate allows.

    calibration_error         greatest on all rows
    slice_calibration_error   greatest in a judged slice
    chance_auc                the AUC of knowing nothing, which must be exceeded beyond chance
    error                     chance of refusing for a harm that is none, over all comparisons of slices together
    replicates, seed          of the bootstrap
    """

    calibration_error: float = 0.02
    slice_calibration_error: float = 0.05
    chance_auc: float = 0.5
    error: float = 0.05
    replicates: int = REPLICATES
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to promote; one sentence per reason: every one against it, or those for it."""

    promote: bool
    reasons: tuple[str, ...]


def judge(challenger: Measured, current: Measured | None, limits: Limits = Limits()) -> Verdict:
    """Hold the challenger against the limits, and against the current model on the same rows if there is one.

    Raises BadInput if the two were not measured on the same rows.
    """
    if current is None:
        ours = figures(challenger, replicates=limits.replicates, seed=limits.seed)
        pairs = None
    else:
        pairs = paired(challenger, current, replicates=limits.replicates, seed=limits.seed)
        ours = [first for first, _ in pairs]
    against = [*_orders_nothing(ours[0], limits), *_not_calibrated(ours, limits)]
    if pairs is not None:
        against += [*_not_better(*pairs[0]), *_worse_in_a_slice(pairs[1:], limits)]
    if against:
        return Verdict(False, tuple(against))
    auc = ours[0].figures["auc"].estimate
    if pairs is None:
        return Verdict(True, (f"There is no current model; AUC is {_told(auc)} on {ours[0].rows:,} rows.",))
    gain = _difference("log_loss", *pairs[0]).estimate
    judged = sum(each.judged for each in ours[1:])
    return Verdict(
        True, (f"Log loss is lower by {_told(_turned(gain))}, and no metric is worse in {judged} judged slices.",)
    )


def _orders_nothing(everything: Slice, limits: Limits) -> list[str]:
    auc = everything.figures["auc"].estimate
    if auc.low > limits.chance_auc:
        return []
    return [f"On all rows the AUC {_told(auc)} is not above {limits.chance_auc} beyond chance: it orders nothing."]


def _not_calibrated(ours: Sequence[Slice], limits: Limits) -> list[str]:
    reasons = []
    for each in ours:
        limit = limits.calibration_error if each.of == ALL else limits.slice_calibration_error
        error = each.figures["calibration_error"].value
        if error > limit and (each.judged or each.of == ALL):
            reasons.append(f"On {each.title} the calibration error {error:.4f} is above {limit} ({each.rows:,} rows).")
    return reasons


def _not_better(ours: Slice, theirs: Slice) -> list[str]:
    reasons = []
    gain = _difference("log_loss", ours, theirs).estimate
    if not gain.high < 0:
        reasons.append(f"On all rows log loss changes by {_told(gain, '+')}, which is not lower beyond chance.")
    for metric in ("auc", "ndcg_10"):
        if metric in ours.figures:
            change = _difference(metric, ours, theirs).estimate
            if change.high < 0:
                reasons.append(f"On all rows {TITLES[metric]} is worse: it changes by {_told(change, '+')}.")
    return reasons


def _worse_in_a_slice(pairs: Sequence[tuple[Slice, Slice]], limits: Limits) -> list[str]:
    compared = [
        (ours, metric, _difference(metric, ours, theirs))
        for ours, theirs in pairs
        if ours.judged
        for metric in ("log_loss", "auc", "ndcg_10")
        if metric in ours.figures
    ]
    reasons = []
    for ours, metric, difference in compared:
        change = difference.within(limits.error / len(compared))
        worse = change.high < 0 if HIGHER_IS_BETTER[metric] else change.low > 0
        if worse:
            reasons.append(
                f"In {ours.title} {TITLES[metric]} is worse: it changes by {_told(change, '+')} "
                f"({ours.rows:,} rows, {ours.users:,} users; one of {len(compared)} comparisons)."
            )
    return reasons


def _difference(metric: str, ours: Slice, theirs: Slice) -> Figure:
    return ours.figures[metric].less(theirs.figures[metric])


def _turned(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def _told(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
