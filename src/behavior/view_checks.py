"""What makes a view wrong: refused before anything is computed, with the view and the feature in the message."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from behavior.admission import KIND_PATTERN
from behavior.aggregation import ANY_KIND
from behavior.errors import BadDefinition
from behavior.event import MINUTE_US
from behavior.kinds import ENTITIES
from behavior.words import check, check_entity, kinds_of_events

if TYPE_CHECKING:
    from behavior.plan import FeatureDefinition, View, ViewDefinition

# States are named by one letter for the view.
MOST_VIEWS = 52
# `view__feature` and `view:feature` must be readable back.
_NAME = r"(?=.{1,64}$)[a-z0-9]+(_[a-z0-9]+)*"
# Columns that stand beside the features in tables and in Feast's frames.
_COLUMNS = ("ts", "seen_e", "event_timestamp", "user_id", "item", "category", "all_id")


def check_view(view: "ViewDefinition") -> None:
    """Raise BadDefinition if the view cannot be computed."""
    where = f"view {view.name}"
    _check_name(where, view.name)
    if view.entity not in ENTITIES:
        raise BadDefinition(f"{where}: unknown entity {view.entity!r}; one of {', '.join(ENTITIES)}")
    if not view.selects or not view.features:
        raise BadDefinition(f"{where}: it needs at least one kind of event in `selects` and one feature")
    if ANY_KIND in view.selects:
        raise BadDefinition(f"{where}: `selects` names kinds of events one by one, so that adding a feature is safe")
    for kind in view.selects:
        if re.fullmatch(KIND_PATTERN, kind) is None:
            raise BadDefinition(f"{where}: it selects {kind!r}, which is no kind of event; kinds are lower-case words")
    if view.retention_us <= 0:
        raise BadDefinition(f"{where}: its retention must be a span of time, such as 400 days")
    if view.interval_us % MINUTE_US or view.interval_us <= 0:
        raise BadDefinition(f"{where}: the snapshot interval must be whole minutes")
    names = [feature.name for feature in view.features]
    for feature in view.features:
        if names.count(feature.name) > 1:
            raise BadDefinition(f"{where}, feature {feature.name}: defined twice; remove one, or give it a `name`")
        _check_feature(f"{where}, feature {feature.name}", view, feature)


def check_beside(view: "View", others: "Sequence[View]") -> None:
    """Raise BadDefinition if the view cannot stand in one plan with the others."""
    where = f"view {view.name}"
    if len(others) >= MOST_VIEWS:
        raise BadDefinition(
            f"{where}: there are {len(others)} behavior views beside it; a plan has {MOST_VIEWS} at most"
        )
    for other in others:
        if other.name == view.name:
            raise BadDefinition(f"{where} is defined twice; rename one")
        if view.is_snapshot and other.is_snapshot and view.interval_us != other.interval_us:
            raise BadDefinition(
                f"{where}: its interval is not that of view {other.name}; "
                "all item, category and `all` views share one, give them the same"
            )


def _check_feature(where: str, view: "ViewDefinition", feature: "FeatureDefinition") -> None:
    _check_name(where, feature.name)
    if feature.name in _COLUMNS:
        raise BadDefinition(f"{where}: a column of the tables has this name; give it another `name`")
    spec = feature.aggregation
    try:
        check(spec)
        check_entity(spec, view.entity)
    except BadDefinition as error:
        raise BadDefinition(f"{where}: {error}") from None
    for event in kinds_of_events(spec):
        if event not in (*view.selects, ANY_KIND):
            raise BadDefinition(f"{where}: it counts {event!r}, which the view does not select; add it to `selects`")
    if (spec.over_us or 0) > view.retention_us:
        raise BadDefinition(f"{where}: its window is longer than the view's retention")


def _check_name(where: str, name: str) -> None:
    if re.fullmatch(_NAME, name) is None:
        raise BadDefinition(f"{where}: a name has lower-case letters, digits and single _, 64 at most")
