"""What an answer had to do without: every reason there is, each one entry in one list.

The list is the contract that callers and dashboards read: the comment of `Degradation.reason` in the proto says the
same, and the metric counts by it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from behavior.event import SECOND_US
from behavior.plan import Plan
from deployment.snapshot import Snapshot
from scoring.answer import Degradation
from scoring.placements import Placement
from scoring.recall import Known

# A snapshot that lags by more of its intervals than this is declared stale.
STALE_INTERVALS = 3


class Circumstances(msgspec.Struct, frozen=True, eq=False):
    """What is looked at: how the answer was made.

    vector       float32[n, d], the rows that the model saw
    is_resting   whether the learner rests of the user's persona, after harm
    """

    known: Known
    snapshot: Snapshot
    placement: Placement
    as_of: int
    vector: np.ndarray
    is_resting: bool = False

    @property
    def lag_s(self) -> float:
        """How old the values of the snapshot are."""
        return (self.as_of - self.snapshot.s) / SECOND_US


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: its name, what it means, and the detail of an answer to which it applies (else None)."""

    name: str
    summary: str
    of: Callable[[Circumstances], str | None]


def _state_cached(seen: Circumstances) -> str | None:
    known = seen.known
    if not known.missed or known.age_s is None:
        return None
    return f"{known.missed}; ranked by the state as it was {known.age_s:.1f} s ago"


def _state_unavailable(seen: Circumstances) -> str | None:
    known = seen.known
    if not known.missed or known.age_s is not None:
        return None
    by = f"the persona {known.persona} and " if known.persona else ""
    return f"{known.missed}; ranked by {by}what is known of all"


def _unknown_user(seen: Circumstances) -> str | None:
    if seen.known.state.fields or seen.known.missed:
        return None
    return "nothing is known of this user; ranked by what is known of all"


def _clock_unavailable(seen: Circumstances) -> str | None:
    return None if seen.known.clock_read else "the replay's clock was not read in time; its last known instant is used"


def _snapshot_stale(seen: Circumstances) -> str | None:
    if seen.lag_s * SECOND_US <= STALE_INTERVALS * seen.snapshot.plan.interval_us:
        return None
    return f"values of categories are {seen.lag_s:.0f} s old"


def _view_stale(seen: Circumstances) -> str | None:
    if not seen.placement.max_age_s:
        return None
    return "; ".join(_too_old(seen)) or None


def _too_old(seen: Circumstances) -> Iterator[str]:
    plan: Plan = seen.snapshot.plan
    views = {view.name: view for view in plan.views}
    for name, most_s in seen.placement.max_age_s.items():
        if name not in views:
            yield f"{name} is no view of the plan"
            continue
        age_s = seen.lag_s if views[name].is_snapshot else seen.known.age_s
        if age_s is not None and age_s > most_s:  # what is not there at all is another reason
            yield f"{name} is {age_s:.1f} s old, and at most {most_s:g} s are allowed here"


def _too_much_missing(seen: Circumstances) -> str | None:
    if not seen.known.state.fields or not seen.vector.size:
        return None
    share = np.count_nonzero(np.isnan(seen.vector)) / seen.vector.size
    if share <= seen.placement.max_missing:
        return None
    return f"{share:.0%} of what the model looks at is missing, although the user is known; do not trust the order"


def _learner_resting(seen: Circumstances) -> str | None:
    if not seen.is_resting:
        return None
    return "what the learner knows of this persona was taken back to when it last helped, and nothing is learned now"


REASONS: tuple[Reason, ...] = (
    Reason(
        "unknown_user", "no event with consent is known of this user; everything about the user is missing",
        _unknown_user,
    ),
    Reason(
        "state_cached", "the user's state was not read in time; as it was read a while ago, it stands in",
        _state_cached,
    ),
    Reason(
        "state_unavailable", "the user's state was not read in time, and none is remembered; as of an unknown user, "
        "but that the persona is given if it is remembered",
        _state_unavailable,
    ),
    Reason(
        "clock_unavailable", "in a replay only: its clock was not read in time, and the last instant stands in",
        _clock_unavailable,
    ),
    Reason(
        "snapshot_stale", "values of categories and of everything together are older than three of their intervals",
        _snapshot_stale,
    ),
    Reason(
        "view_stale", "a view is older than the placement allows",
        _view_stale,
    ),
    Reason(
        "too_much_missing", "more of the model's inputs are missing than the placement allows, of a user who is known",
        _too_much_missing,
    ),
    Reason(
        "learner_resting", "what was learned of the persona, or from which labels, did harm: it is as it last helped, "
        "and nothing is learned for a while",
        _learner_resting,
    ),
)  # fmt: skip


def degradations(seen: Circumstances) -> tuple[Degradation, ...]:
    """What the answer had to do without, in the order of the list."""
    return tuple([Degradation(reason.name, detail) for reason in REASONS if (detail := reason.of(seen)) is not None])
