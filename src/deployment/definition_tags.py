"""How a behavior view stands in Feast's registry: the tags of the view and of its fields.

Feast keeps names, dtypes and tags; these functions write a `ViewDefinition` into tags and read it back, so that the
registry is the one place where features are defined. They know nothing of Feast.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from behavior.aggregation import Aggregation
from behavior.errors import BadDefinition
from behavior.event import MINUTE_US
from behavior.plan import FeatureDefinition, ViewDefinition
from behavior.window import parse_span

_SELECTS = "selects"
# What is more than a text in an aggregation stands in its tag as JSON.
_STRUCTURED = ("prior", "weights", "cap", "size", "events")


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
    said = msgspec.to_builtins(aggregation)
    return {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode() for key, value in said.items()
    }


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
        retention_us=_span_of(name, tags["retention"]),
        interval_us=_span_of(name, tags["interval"]),
    )


def _aggregation(view: str, field: str, tags: Mapping[str, str]) -> Aggregation:
    if "kind" not in tags:
        raise BadDefinition(f"view {view}, feature {field}: it has no aggregation; define it with count(), last(), ...")
    try:
        said = {key: _untagged(key, tags[key]) for key in Aggregation.__struct_fields__ if key in tags}
        return msgspec.convert(said, Aggregation)
    except msgspec.DecodeError as error:  # of a part that is no JSON, or is of another type
        raise BadDefinition(
            f"view {view}, feature {field}: its tags cannot be read ({error}); define it anew"
        ) from None


def _untagged(key: str, text: str) -> Any:
    return msgspec.json.decode(text) if key in _STRUCTURED else text


def _span_of(view: str, text: str) -> int:
    try:
        return parse_span(text)
    except BadDefinition as error:
        raise BadDefinition(f"view {view}: {error}") from None


def _span(span_us: int) -> str:
    """The span as `parse_span` reads it: in days, hours or minutes, the largest that it is whole in."""
    minutes = span_us // MINUTE_US
    if minutes % 1440 == 0:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
