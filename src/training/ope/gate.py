"""The gate of an off-policy evaluation: whether a candidate may be tried, and if not, why not.

1. Can the log tell?      enough answers and outcomes of equal weight, and hardly anything that it never showed
2. Is it no worse?        the lower bound of the difference of DR to the log is above −margin

DR decides: it is unbiased whatever its model is. Where outcomes are few its interval misses more often than it says,
but by lying too low: great weights that have not come up are missing. So the gate errs by refusing.
"""

from dataclasses import dataclass

from training.gate import Verdict
from training.ope.estimators import DR
from training.ope.evaluation import Evaluated


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate allows.

    margin               how much worse than the log the candidate may be, in rewards per answer
    effective            least answers of equal weight
    effective_outcomes   least rewarded positions of equal weight
    unsupported          greatest chance of an answer with something that the log gave no chance to
    """

    margin: float = 0.0
    effective: float = 200.0
    effective_outcomes: float = 30.0
    unsupported: float = 0.01


def judge(found: Evaluated, limits: Limits = Limits()) -> Verdict:
    """Hold the evaluation against the limits; every reason against it, or the one for it."""
    known, change = found.diagnostics, found.of(DR).difference
    least = 0 - limits.margin
    told = f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
    against = []
    if known.effective < limits.effective:
        against.append(
            f"{found.answers:,} answers count as {known.effective:,.0f} of equal weight, below {limits.effective:,.0f}."
        )
    if known.effective_outcomes < limits.effective_outcomes:
        against.append(
            f"{known.outcomes:,} rewarded positions count as {known.effective_outcomes:,.0f} of equal weight, below "
            f"{limits.effective_outcomes:,.0f}."
        )
    if known.unsupported > limits.unsupported:
        against.append(
            f"The candidate shows with chance {known.unsupported:.2%} what the log gave no chance to, above "
            f"{limits.unsupported:.2%}."
        )
    if not change.low > least:
        against.append(f"By {DR} the value changes by {told}, and the lower bound is not above {least:g}.")
    if against:
        return Verdict(False, tuple(against))
    return Verdict(True, (f"By {DR} the value changes by {told}, and the lower bound is above {least:g}.",))
