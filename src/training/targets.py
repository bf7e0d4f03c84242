"""What can be predicted: each target one entry in one list."""

from dataclasses import dataclass

from behavior.errors import BadInput
from behavior.event import DAY_US


@dataclass(frozen=True, slots=True)
class Target:
    """A yes-or-no question about a user and a category at an instant.

    The label at instant t is 1 iff an event of `event` with t <= e < t + `horizon_us` exists for the pair. Candidates
    are the `candidates` categories with the most distinct users of that event in the `popular_us` before the latest
    cut-off; a user takes part in a cut-off iff it had such an event in the `active_us` before it.
    """

    name: str
    question: str
    event: str
    horizon_us: int
    service: str
    entity: str = "user_category"
    candidates: int = 100
    popular_us: int = 30 * DAY_US
    active_us: int = 60 * DAY_US


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "purchase_7d", "will this user buy in this category within 7 days?", "purchase", 7 * DAY_US, "purchase_7d"
        ),
    )
}


def target_named(name: str) -> Target:
    """The target of that name.

    Raises BadInput that lists the targets there are.
    """
    if name not in TARGETS:
        raise BadInput(f"there is no target {name}; there is {', '.join(TARGETS)}")
    return TARGETS[name]
