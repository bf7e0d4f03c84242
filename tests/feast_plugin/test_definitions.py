"""The words of `views.py`: what they make of a list of aggregations."""

from datetime import timedelta

import pytest
from feast import Entity, ValueType
from feast.types import Float32, Int64, String

from behavior.errors import BadDefinition
from behavior.kinds import age, count, last
from feast_plugin.definitions import behavior_view, view_of

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
CATEGORY = Entity(name="category", join_keys=["category"], value_type=ValueType.STRING)


def test_a_view_is_one_field_per_aggregation() -> None:
    """Fields carry the final dtype, in order; the view never expires, is not materialized and has no created column."""
    made = behavior_view(
        "v", entity=USER, owner="o", selects=["purchase"],
        features=[count("purchase", over="7d"), age("purchase"), last("purchase.category"), last("*.utc_offset_s")],
    )  # fmt: skip
    assert [(field.name, field.dtype) for field in made.features] == [
        ("purchase_count_7d", Int64),
        ("purchase_age_s", Float32),
        ("purchase_category_last", String),
        ("any_utc_offset_s_last", Int64),
    ]
    assert made.ttl == timedelta(0)
    assert made.online is False
    assert made.batch_source is not None
    assert made.batch_source.created_timestamp_column == ""


def test_tags_hold_the_whole_definition() -> None:
    """The view that is read back from Feast's object is the one that was written."""
    made = behavior_view(
        "v", entity=(USER, CATEGORY), owner="o", selects=["purchase", "refund"], retention="36h", interval="5m",
        personal_data="aggregate", features=[count("refund", over="24h")],
    )  # fmt: skip
    definition = view_of(made).definition
    assert definition.entity == "user_category"
    assert definition.selects == ("purchase", "refund")
    assert definition.retention_us == 36 * 3_600_000_000
    assert definition.interval_us == 300_000_000
    assert definition.personal_data == "aggregate"
    assert definition.features[0].aggregation == count("refund", over="24h")


@pytest.mark.parametrize("entity", [(CATEGORY, USER), (USER, USER), ()])
def test_entities_that_have_no_state_are_refused(entity: tuple[Entity, ...]) -> None:
    """The sentence names the view and what would be understood."""
    with pytest.raises(BadDefinition, match=r"view v: .*must be one of user, user and category"):
        behavior_view("v", entity=entity, owner="o", selects=["purchase"], features=[count("purchase")])
