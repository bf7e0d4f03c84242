"""What can be predicted: each target one entry in one list.

    entity           a question is about                     the label is 1 iff, with t <= e < t + horizon,
    user             a user at an instant                    the user has such an event (negated: has none)
    user_category    a user and a category at an instant     the user has such an event in the category
    exposure         what was shown to a user, just after    the user has such an event about the very same item

Instants are like those of real requests: *cut-offs*, the local midnights at which a week's active users are all asked;
*activity*, just after an event; *exposures*, just after one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from behavior.errors import BadInput
from behavior.event import DAY_US


@dataclass(frozen=True, slots=True)
class Target:
    """A yes-or-no question, with what may be asked it and when.

    event            the kind of event that answers it
    negated          yes means that no such event came
    exposure         the kind of event that asks the question, for entity `exposure`
    service          the feature service that offers a model its inputs
    candidates       of a user_category: the categories with the most distinct users of the event in the `popular_us`
                     before the latest cut-off
    active_us        eligible at a cut-off is who had such an event in so long before it
    activity_share   share of the training instants that are just after an event; the rest are cut-offs
    valid_us         the newest labelled span: half of its users say when to stop, the other half calibrate
    least_positives  fewer positive (or negative) answers than this in a slice of training rows teach nothing: refused
    """

    name: str
    question: str
    event: str
    horizon_us: int
    service: str
    entity: str = "user_category"
    negated: bool = False
    exposure: str | None = None
    candidates: int = 100
    popular_us: int = 30 * DAY_US
    active_us: int = 60 * DAY_US
    activity_share: float = 0.5
    valid_us: int = 14 * DAY_US
    least_positives: int = 100

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events without which there is nothing to learn from: what answers, then what asks."""
        return (self.event,) if self.exposure is None else (self.event, self.exposure)


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "purchase_7d", "will this user buy in this category within 7 days?", "purchase", 7 * DAY_US, "purchase_7d"
        ),
        Target(
            "purchase_14d", "will this user buy anything within 14 days?", "purchase", 14 * DAY_US, "purchase_14d",
            entity="user",
        ),
        Target(
            "churn_30d", "will this user, who bought within 60 days, buy nothing for 30?", "purchase", 30 * DAY_US,
            "churn_30d", entity="user", negated=True,
        ),
        Target(
            "redeem", "will this user redeem a coupon of the campaign within 30 days of being shown it?", "redemption",
            30 * DAY_US, "redeem", entity="exposure", exposure="exposure", valid_us=60 * DAY_US,
        ),
    )
}  # fmt: skip


def target_named(name: str) -> Target:
    """The target of that name.

    Raises BadInput that lists the targets there are.
    """
    if name not in TARGETS:
        raise BadInput(f"there is no target {name}; there is {', '.join(TARGETS)}")
    return TARGETS[name]
