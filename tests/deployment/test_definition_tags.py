"""Definitions as tags of Feast's registry: what was written is read, and what cannot be read is told."""

import pytest

from behavior.errors import BadDefinition
from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.plan import FeatureDefinition, ViewDefinition
from deployment.definition_tags import definition_of, field_tags, is_behavior_view, view_tags
from tests.properties.strategies import ENTITIES, FEATURES, view_definition


def through_tags(definition: ViewDefinition) -> ViewDefinition:
    """The definition as the registry gives it back."""
    fields = [(each.name, each.description, field_tags(each.aggregation)) for each in definition.features]
    return definition_of(
        definition.name, view_tags(definition), fields, owner=definition.owner, description=definition.description
    )


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_definition_survives_its_tags(entity: str) -> None:
    """Every kind with all that it says: windows, predicates, priors, weights in their order, caps, kinds, names."""
    definition = view_definition(entity)
    assert through_tags(definition) == definition


@pytest.mark.parametrize(
    ("span", "said"),
    [(400 * DAY_US, "400d"), (36 * HOUR_US, "36h"), (90 * MINUTE_US, "90m"), (48 * HOUR_US, "2d"), (MINUTE_US, "1m")],
)
def test_spans_are_written_as_people_write_them(span: int, said: str) -> None:
    """In the largest unit that they are whole in."""
    features = (FeatureDefinition("f", FEATURES[0], "How many."),)
    definition = ViewDefinition("v", "user", ("a", "b"), features, "o", "d", "none", span, span)
    assert view_tags(definition) == {
        "entity": "user", "selects": "a b", "retention": said, "interval": said, "personal_data": "none",
    }  # fmt: skip
    assert through_tags(definition) == definition


def test_tags_are_texts() -> None:
    """Feast keeps nothing else; a tag that is not said is not there."""
    for spec in FEATURES:
        tags = field_tags(spec)
        assert all(isinstance(value, str) for value in tags.values())
        assert tags["kind"] == spec.kind
        assert ("over" in tags) == (spec.over is not None)


def test_a_view_without_kinds_of_events_is_none_of_ours() -> None:
    """Whatever other tags it has."""
    assert is_behavior_view({"selects": "purchase"})
    assert not is_behavior_view({"entity": "user", "owner": "o"})


VIEW = {"entity": "user", "selects": "purchase", "retention": "40d", "interval": "1m", "personal_data": "none"}


@pytest.mark.parametrize(
    ("view", "field", "said"),
    [
        ({}, {}, "feature f: it has no aggregation"),
        ({}, {"kind": "count", "prior": "["}, "feature f: its tags cannot be read"),
        ({}, {"kind": "rate", "prior": "[1.5,2]"}, "feature f: its tags cannot be read"),
        ({}, {"kind": "distinct", "cap": "many"}, "feature f: its tags cannot be read"),
        ({}, {"kind": "affinity", "weights": '{"purchase":1}'}, "feature f: its tags cannot be read"),
        ({"retention": None}, {"kind": "count"}, "the tag 'retention' is missing"),
        ({"entity": None}, {"kind": "count"}, "the tag 'entity' is missing"),
        ({"interval": "1s"}, {"kind": "count"}, "'1s' is no time span"),
    ],
)
def test_tags_that_cannot_be_read_are_told(view: dict[str, str | None], field: dict[str, str], said: str) -> None:
    """With the view and the feature: somebody has changed them by hand, or another version wrote them."""
    tags = {name: value for name, value in {**VIEW, **view}.items() if value is not None}
    with pytest.raises(BadDefinition, match=f"view v.*{said}"):
        definition_of("v", tags, [("f", "", field)])
