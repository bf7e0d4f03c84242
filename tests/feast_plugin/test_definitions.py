"""The words of `views.py`: what they make of a list of aggregations, and what Feast would take but is refused."""

from datetime import timedelta
from typing import Any

import pytest
from feast import Entity, ValueType
from feast.types import Array, Float32, Int64, String

from behavior.errors import BadDefinition
from behavior.plan import View
from feast_plugin.definitions import DTYPES, behavior_view, plain_source, view_of
from tests.properties.strategies import ENTITIES, SELECTED, features_of, view_definition

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
CATEGORY = Entity(name="category", join_keys=["category"], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=["item"], value_type=ValueType.STRING)
ALL = Entity(name="all", join_keys=["all_id"], value_type=ValueType.STRING)
FEAST = {"user": USER, "user_category": (USER, CATEGORY), "item": ITEM, "category": CATEGORY, "all": ALL}


@pytest.mark.parametrize("entity", ENTITIES)
def test_the_view_that_is_read_back_is_the_one_that_was_written(entity: str) -> None:
    """Of every kind and entity, with all that changes a value: the fingerprints are the same."""
    definition = view_definition(entity)
    made = behavior_view(
        definition.name, entity=FEAST[entity], owner="o", selects=SELECTED, features=features_of(entity),
        retention="40d", interval="5m",
    )  # fmt: skip
    found = view_of(made)
    assert [each.fingerprint for each in found.features] == [each.fingerprint for each in View(definition).features]
    assert found.definition.entity == entity
    assert [field.name for field in made.features] == [feature.name for feature in definition.features]
    assert [field.dtype for field in made.features] == [DTYPES[each.dtype] for each in found.features]
    assert all(field.description for field in made.features)


def test_a_view_is_one_field_per_aggregation() -> None:
    """Fields carry the final dtype, in order; the view never expires, is not materialized and has no created column."""
    specs = [each for each in features_of("user") if each.name in ("purchase_count", "purchase_age_s", "recent_3")]
    specs += [each for each in features_of("user") if each.name == "purchase_category_last"]
    made = behavior_view("v", entity=USER, owner="o", selects=SELECTED, features=specs)
    assert [(field.name, field.dtype) for field in made.features] == [
        ("purchase_count", Int64), ("purchase_age_s", Float32), ("recent_3", Array(String)),
        ("purchase_category_last", String),
    ]  # fmt: skip
    assert made.ttl == timedelta(0)
    assert made.online is False
    assert made.batch_source is not None
    assert made.batch_source.created_timestamp_column == ""
    assert plain_source("p").created_timestamp_column == "created"


def test_tags_hold_what_is_said_of_the_view() -> None:
    """Spans, class of personal data, owner and description, whatever order the kinds of events are given in."""
    made = behavior_view(
        "v", entity=(USER, CATEGORY), owner="o", selects=["refund", "purchase"], retention="36h", interval="5m",
        personal_data="aggregate", description="d", features=features_of("user_category")[:1],
    )  # fmt: skip
    definition = view_of(made).definition
    assert definition.selects == ("refund", "purchase")
    assert definition.retention_us == 36 * 3_600_000_000
    assert definition.interval_us == 300_000_000
    assert definition.personal_data == "aggregate"
    assert (made.owner, made.description) == ("o", "d")


@pytest.mark.parametrize("entity", [(CATEGORY, USER), (USER, USER), (USER, ITEM), ()])
def test_entities_that_have_no_state_are_refused(entity: tuple[Entity, ...]) -> None:
    """The sentence names the view and what would be understood."""
    with pytest.raises(BadDefinition, match=r"view v: .*must be one of user, user and category, item, category, all"):
        behavior_view("v", entity=entity, owner="o", selects=["purchase"], features=features_of("user")[:1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": ["purchase"]}, "feature number 1: 'purchase' is no aggregation"),
        ({"features": []}, "at least one"),
        ({"selects": "purchase"}, r"a list of kinds of events, such as \('purchase',\)"),
        ({"selects": ["purchase", "*"]}, "one by one"),
        ({"selects": ["bought it"]}, "'bought it', which is no kind of event"),
        ({"selects": ["item_view"]}, "feature purchase_count: it counts 'purchase', which the view does not select"),
        ({"retention": "1w"}, "'1w' is no time span"),
        ({"interval": "90s"}, "'90s' is no time span"),
        ({"entity": ITEM, "features": features_of("user")}, "feature any_item_distinct_7d: distinct: for item"),
        ({"entity": CATEGORY, "features": [each for each in features_of("user") if each.kind == "recent"]},
         "feature recent_3: recent is not computed for category"),
        ({"entity": USER, "features": [each for each in features_of("user_category") if each.kind == "affinity"]},
         "feature affinity_30d: affinity is not computed for user"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_with_its_view(changes: dict[str, Any], said: str) -> None:
    """And with the feature, when it is one that is wrong."""
    fine: dict[str, Any] = {"entity": USER, "selects": SELECTED, "features": features_of("user")[:1]}
    behavior_view("v", owner="o", **fine)
    with pytest.raises(BadDefinition, match=f"^view v.*{said}"):
        behavior_view("v", owner="o", **{**fine, **changes})
