"""The words that `feature_repo/views.py` is written with: a behavior view is a list of aggregations.

A behavior view becomes a Feast `FeatureView` whose fields are the final values and whose tags carry the aggregations,
so that Feast's registry is the only place where a feature is defined.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource
from feast.types import Array, FeastType, Float32, Int64, String

from behavior.aggregation import Aggregation
from behavior.errors import BadDefinition
from behavior.kinds import KINDS
from behavior.plan import Feature, FeatureDefinition, View, ViewDefinition
from behavior.window import parse_span
from behavior.words import affinity, age, count, days, distinct, ever, first, last, mean, rate, recent, total
from deployment.definition_tags import definition_of, field_tags, view_tags

__all__ = [
    "DTYPES", "affinity", "age", "behavior_view", "count", "days", "distinct", "ever", "first", "last", "mean",
    "plain_source", "rate", "recent", "total", "view_of",
]  # fmt: skip

DTYPES: dict[str, FeastType] = {"int64": Int64, "float32": Float32, "string": String, "texts": Array(String)}
# Feast's names of entities, one by one, and what the plan calls them together.
_ENTITIES = {
    ("user",): "user",
    ("user", "category"): "user_category",
    ("item",): "item",
    ("category",): "category",
    ("all",): "all",
}


def behavior_view(
    name: str,
    *,
    entity: Entity | Sequence[Entity],
    selects: Iterable[str],
    features: Sequence[Aggregation],
    owner: str,
    description: str = "",
    personal_data: str = "pseudonymous",
    retention: str = "400d",
    interval: str = "1m",
) -> FeatureView:
    """A view that is computed from events: one field per aggregation, named after it.

    entity         `user`, `(user, category)`, `item`, `category` or `all`
    selects        the kinds of events that make an entity present; the aggregations count among them
    retention      an entity without an event for this long is missing, and starts afresh with the next
    interval       how often a view of `item`, `category` or `all` changes, in whole minutes
    personal_data  the class of what the view holds, for whoever must account for it
    Raises BadDefinition, naming the view and the feature, for what cannot be compiled into a plan.
    """
    entities = [entity] if isinstance(entity, Entity) else list(entity)
    _refuse_others(name, features)
    if isinstance(selects, str):
        raise BadDefinition(f"view {name}: `selects` is a list of kinds of events, such as ({selects!r},)")
    definition = ViewDefinition(
        name=name,
        entity=_entity_name(name, entities),
        selects=tuple(selects),
        features=tuple(FeatureDefinition(each.name, each, _description(each)) for each in features),
        owner=owner,
        description=description,
        personal_data=personal_data,
        retention_us=_span(name, retention),
        interval_us=_span(name, interval),
    )
    return FeatureView(
        name=name,
        entities=entities,
        schema=[_field(feature) for feature in View(definition).features],
        source=FileSource(name=f"{name}_table", path=f"{name}.parquet", timestamp_field="ts"),
        # A change-point row holds until the next one; what expires is the retention, at the row's own instant.
        ttl=timedelta(0),
        # Not materialized: the online store answers from the state itself.
        online=False,
        owner=owner,
        description=description,
        tags=view_tags(definition),
    )


def plain_source(name: str) -> FileSource:
    """The table of a view that is not computed from events: `<tables>/<name>.parquet` with `ts` and `created`."""
    return FileSource(
        name=f"{name}_table", path=f"{name}.parquet", timestamp_field="ts", created_timestamp_column="created"
    )


def view_of(feature_view: FeatureView) -> View:
    """The behavior view that a Feast view was made from."""
    fields = [(field.name, field.description, field.tags) for field in feature_view.features]
    return View(definition_of(feature_view.name, feature_view.tags, fields))


def _span(name: str, text: str) -> int:
    try:
        return parse_span(text)
    except BadDefinition as error:
        raise BadDefinition(f"view {name}: {error}") from None


def _field(feature: Feature) -> Field:
    return Field(
        name=feature.name,
        dtype=DTYPES[feature.dtype],
        description=feature.description,
        tags=field_tags(feature.aggregation),
    )


def _description(aggregation: Aggregation) -> str:
    kind = KINDS.get(aggregation.kind)
    return "" if kind is None else kind.summary


def _entity_name(name: str, entities: Sequence[Entity]) -> str:
    together = tuple(each.name for each in entities)
    if together not in _ENTITIES:
        known = ", ".join(" and ".join(names) for names in _ENTITIES)
        given = " and ".join(together) or "nothing"
        raise BadDefinition(f"view {name}: it belongs to {given}; it must be one of {known}")
    return _ENTITIES[together]


def _refuse_others(name: str, features: Sequence[object]) -> None:
    for place, each in enumerate(features):
        if not isinstance(each, Aggregation):
            place_in_list = f"feature number {place + 1}"
            raise BadDefinition(f"view {name}, {place_in_list}: {each!r} is no aggregation; write count(), last(), ...")
