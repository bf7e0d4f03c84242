"""The evaluation of a candidate: its value by each estimator, beside what the log earned, and what to beware of."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.evaluation import Estimate
from training.journal_rows import Accounting
from training.ope import estimators
from training.ope.decisions import Decisions
from training.ope.diagnostics import Diagnostics, diagnosed
from training.ope.reward_model import cross_fitted

# Below these, intervals are less sure than they say: outcomes and answers of equal weight, and the share of the latter.
# In simulated logs 95 % intervals of values covered 95 % with 150 such outcomes, 94 % with 60 and 92 to 94 % with 20.
FEW_OUTCOMES, FEW_ANSWERS, SMALL_SHARE = 100, 200, 0.1
# A mean weight so many standard errors from 1 is no chance.
FAR = 4.0


@dataclass(frozen=True, slots=True)
class Value:
    """The candidate's value by one estimator, and how much that is more than the log's: of DR, than the log's by DR."""

    estimator: str
    value: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Values are mean sums of rewards of an answer, with 95 % intervals over users.

    candidate    in words
    rewards      {kind of outcome: reward}
    window_us    how long after it was shown an outcome counts
    accounting   what became of the served entries; None where the decisions come from elsewhere
    answers, users   of the decisions that were evaluated
    pool         how many were drawn from, the median
    logged       what the log earned
    values       by IPS, SNIPS, DR
    caveats      sentences
    """

    candidate: str
    rewards: Mapping[str, float]
    window_us: int
    accounting: Accounting | None
    answers: int
    users: int
    pool: float
    logged: Estimate
    values: tuple[Value, ...]
    diagnostics: Diagnostics
    caveats: tuple[str, ...]

    def of(self, estimator: str) -> Value:
        """The value by the estimator of that name."""
        return next(each for each in self.values if each.estimator == estimator)


def valued(decisions: Decisions, clip: float | None = None) -> tuple[Estimate, tuple[Value, ...]]:
    """What the log earned, and the candidate's value by each estimator."""
    logged = estimators.logged(decisions)
    to_come = cross_fitted(decisions)
    found = (
        (estimators.IPS, estimators.ips(decisions, clip), logged),
        (estimators.SNIPS, estimators.snips(decisions, clip), logged),
        (estimators.DR, estimators.dr(decisions, to_come, clip), estimators.dr_of_log(decisions, to_come)),
    )
    values = (Value(name, each.estimate(least=0.0), each.less(log).estimate()) for name, each, log in found)
    return logged.estimate(least=0.0), tuple(values)


def evaluated(
    decisions: Decisions,
    *,
    candidate: str,
    rewards: Mapping[str, float],
    window_us: int,
    pool: float,
    accounting: Accounting | None = None,
    clip: float | None = None,
) -> Evaluated:
    """Everything that decisions tell of the candidate."""
    logged, values = valued(decisions, clip)
    diagnostics = diagnosed(decisions, clip)
    return Evaluated(
        candidate, rewards, window_us, accounting, len(decisions), int(decisions.user.max()) + 1, pool, logged, values,
        diagnostics, caveats(len(decisions), pool, diagnostics),
    )  # fmt: skip


def caveats(answers: int, pool: float, found: Diagnostics) -> tuple[str, ...]:
    """What to beware of, a sentence each; the last always holds."""
    said = []
    if found.effective_outcomes < FEW_OUTCOMES:
        said.append(
            f"Few outcomes: {found.outcomes:,} rewarded positions count as {found.effective_outcomes:,.0f} of equal "
            f"weight, below {FEW_OUTCOMES}; the intervals may be too narrow."
        )
    if found.effective < max(FEW_ANSWERS, SMALL_SHARE * answers):
        said.append(
            f"Little overlap: {answers:,} answers count as {found.effective:,.0f} of equal weight "
            f"({found.effective / answers:.1%}); fewer positions, or a candidate nearer to the log, are told better."
        )
    if found.unsupported > 0:
        said.append(
            f"The candidate shows with chance {found.unsupported:.2%} what the log gave no chance to; of that "
            "nothing is known, and no estimator corrects it."
        )
    if found.clip is None:
        said += [
            f"Up to position {each.position} weights have the mean {each.mean:.2f} ± {each.error:.2f}, and 1 was to be "
            "expected: great weights that are rare have not come up, or the chances are not those that drew."
            for each in found.positions
            if abs(each.mean - 1) > FAR * each.error
        ]
    else:
        said.append(
            f"Clipping at {found.clip:g} cuts off {found.clipped:.2%} of the candidate's answers: IPS is too low by at "
            "most that share of the greatest value an answer can have, SNIPS leans towards what the log does, DR "
            "towards its model."
        )
    said.append(
        f"The candidate orders what the log drew from, {pool:,.0f} in the median answer; what it would have found "
        "outside of the pools is not in its value."
    )
    return tuple(said)
