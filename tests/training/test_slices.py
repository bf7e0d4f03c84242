"""Parts of rows: by the user's own hour, and by how long the user has been there."""

import numpy as np

from behavior.column import Column
from behavior.event import DAY_US, HOUR_US, SECOND_US
from behavior.moment import Moment
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import age, count
from training.slices import slicers, together

NOON = 17_440 * DAY_US + 12 * HOUR_US
FIRST = ViewDefinition(
    "people", "user", ("purchase",),
    (FeatureDefinition("n", count("purchase")), FeatureDefinition("since", age("purchase", since="first"))),
)  # fmt: skip


def test_hours_are_local() -> None:
    """An instant is parted by the hour on the user's own clock."""
    (hour,) = slicers(Plan([]))
    moment = Moment(np.full(4, NOON), np.array([0, -7, 5, 12]) * HOUR_US // SECOND_US)
    assert hour.of({}, moment).tolist() == ["afternoon 12-17", "night 0-5", "afternoon 12-17", "night 0-5"]


def test_tenure_is_told_by_the_first_purchase() -> None:
    """Edges belong to the longer tenure; a user of whom nothing is known has none."""
    tenure = next(each for each in slicers(Plan([FIRST])) if each.name == "tenure")
    assert tenure.needs == ("people:since",)
    day = DAY_US // SECOND_US
    ages = Column(np.array([0, 90 * day - 1, 90 * day, 270 * day, 5], np.float32), np.array([1, 1, 1, 1, 0], bool))
    found = tenure.of({"people:since": ages}, Moment(np.full(5, NOON), np.zeros(5, np.int64)))
    assert found.tolist() == ["under 90 days", "under 90 days", "90 to 180 days", "over 270 days", "unknown"]


def test_slices_of_consecutive_rows_are_joined_in_order() -> None:
    """Nothing gets lost where rows were read in parts."""
    parts = [{"hour": np.array(["a", "b"], object)}, {"hour": np.array(["c"], object)}]
    assert together(parts)["hour"].tolist() == ["a", "b", "c"]
    assert together([]) == {}
