"""How a behavior view stands in Feast's registry: the tags of the view and of its fields.

Feast keeps names, dtypes and tags; these functions write a `ViewDefinition` into tags and read it back, so that the
registry is the one place where features are defined. They know nothing of Feast.
"""

from collections.abc import Mapping, Sequence

from behavior.errors import BadDefinition
from behavior.event import MINUTE_US
from behavior.kinds import Aggregation
from behavior.plan import FeatureDefinition, ViewDefinition
from behavior.window import parse_span

_SELECTS = "selects"


def is_behavior_view(tags: Mapping[str, str]) -> bool:
    """Whether a feature view with these tags is computed from events."""
    return _SELECTS in tags


def view_tags(definition: ViewDefinition) -> dict[str, str]:
    """The tags of the view: all that is not in its fields."""
    return {
        "entity": definition.entity,
        _SELECTS: " ".join(definition.selects),
        "retention": _span(definition.retention_us),
        "interval": _span(definition.interval_us),
        "personal_data": definition.personal_data,
    }


def field_tags(aggregation: Aggregation) -> dict[str, str]:
    """The tags of one field: its aggregation.

    >>> field_tags(Aggregation("count", "purchase", over="7d"))
    {'kind': 'count', 'event': 'purchase', 'over': '7d'}
    """
    said = {"kind": aggregation.kind, "event": aggregation.event, "field": aggregation.field, "over": aggregation.over}
    return {key: value for key, value in said.items() if value is not None}


def definition_of(
    name: str,
    tags: Mapping[str, str],
    fields: Sequence[tuple[str, str, Mapping[str, str]]],
    *,
    owner: str = "",
    description: str = "",
) -> ViewDefinition:
    """The definition that the tags hold; `fields` are (name, description, tags) in the view's order.

    Raises BadDefinition for a view or a field whose tags are incomplete.
    """
    features = tuple(
        FeatureDefinition(field, _aggregation(name, field, said), description) for field, description, said in fields
    )
    missing = {"entity", "retention", "interval", "personal_data"} - set(tags)
    if missing:
        raise BadDefinition(f"view {name}: the tag {min(missing)!r} is missing; define it with behavior_view()")
    return ViewDefinition(
        name=name,
        entity=tags["entity"],
        selects=tuple(tags[_SELECTS].split()),
        features=features,
        owner=owner,
        description=description,
        personal_data=tags["personal_data"],
        retention_us=parse_span(tags["retention"]),
        interval_us=parse_span(tags["interval"]),
    )


def _aggregation(view: str, field: str, tags: Mapping[str, str]) -> Aggregation:
    if "kind" not in tags or "event" not in tags:
        raise BadDefinition(f"view {view}, feature {field}: it has no aggregation; define it with count(), last(), ...")
    return Aggregation(tags["kind"], tags["event"], tags.get("field"), tags.get("over"))


def _span(span_us: int) -> str:
    """The span as `parse_span` reads it: in days, hours or minutes, the largest that it is whole in."""
    minutes = span_us // MINUTE_US
    if minutes % 1440 == 0:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
