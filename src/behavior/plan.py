"""The plan: the compiled list of features that fold, backfill, the Feast plug-ins and `assemble` all read.

It is compiled from the Feast registry by `opportune apply` and kept as JSON. Each feature carries a fingerprint of all
that changes its value, so that a model can say exactly which features it was trained on.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from behavior.errors import BadDefinition, BadInput
from behavior.event import DAY_US, MINUTE_US
from behavior.kinds import KINDS, Aggregation, Kind, check
from behavior.slots import ANY_KIND, Buckets, Slot

# Part of every fingerprint: raise it when the meaning of any kind changes.
SEMANTICS = 1
DEFAULT_RETENTION_US = 400 * DAY_US
DEFAULT_INTERVAL_US = MINUTE_US
# `view__feature` and `view:feature` must be readable back, and a view's name is the start of a field in Redis.
_NAME = r"(?=.{1,64}$)[a-z0-9]+(_[a-z0-9]+)*"

JOIN_KEYS: dict[str, tuple[str, ...]] = {
    "user": ("user_id",),
    "user_category": ("user_id", "category"),
    "category": ("category",),
    "all": ("all_id",),
}
ALL_ID = "all"
# Entities whose state is kept per partition and merged into one snapshot, because many users share them.
SNAPSHOT_ENTITIES = ("category", "all")


class FeatureDefinition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One feature as the plan file has it."""

    name: str
    aggregation: Aggregation
    description: str = ""


class ViewDefinition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One behavior view as the plan file has it; spans in microseconds."""

    name: str
    entity: str
    selects: tuple[str, ...]
    features: tuple[FeatureDefinition, ...]
    owner: str = ""
    description: str = ""
    personal_data: str = "pseudonymous"
    retention_us: int = DEFAULT_RETENTION_US
    interval_us: int = DEFAULT_INTERVAL_US


class PlanFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plan as JSON; the fingerprints are there to be read by people and are checked when it is loaded."""

    format: int
    views: tuple[ViewDefinition, ...]
    fingerprints: dict[str, str]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature within its view, ready to be read."""

    ref: str
    name: str
    aggregation: Aggregation
    description: str
    fingerprint: str
    kind: Kind
    slot: Slot
    over_us: int | None

    @property
    def full_name(self) -> str:
        """The feature's name in Feast frames with full feature names: `view__feature`."""
        return self.ref.replace(":", "__")

    @property
    def dtype(self) -> str:
        """Of the final value: int64, float32 or string."""
        return self.kind.dtype(self.aggregation)

    @property
    def raw_dtype(self) -> str:
        """Of the raw value, in tables and from state: int64 or string."""
        return "string" if self.dtype == "string" else "int64"

    def read(self, value: Any, t: int) -> int | str | None:
        """The raw value at instant t from the slot's value."""
        return self.kind.read(self.slot, value, self.over_us, t)


class View:
    """A behavior view with the slots that its features share."""

    def __init__(self, definition: ViewDefinition) -> None:
        _check_view(definition)
        self.definition = definition
        self.name = definition.name
        self.entity = definition.entity
        self.join_keys = JOIN_KEYS[definition.entity]
        self.selects = frozenset(definition.selects)
        self.retention_us = definition.retention_us
        self.is_snapshot = definition.entity in SNAPSHOT_ENTITIES
        # A snapshot view answers at whole intervals only; the others at any microsecond.
        self.interval_us = definition.interval_us if self.is_snapshot else 1
        self.features = tuple(_feature(definition, feature) for feature in definition.features)
        self.slots = tuple(_shared_slots(feature.slot for feature in self.features))
        places = {_slot_key(slot): index for index, slot in enumerate(self.slots)}
        self.feature_slots = tuple((feature, places[_slot_key(feature.slot)]) for feature in self.features)
        self._by_kind = {
            kind: [(index, slot) for index, slot in enumerate(self.slots) if slot.kind in (kind, ANY_KIND)]
            for kind in self.selects
        }

    def slots_of_kind(self, kind: str) -> list[tuple[int, Slot]]:
        """The slots that an event of a selected kind changes, with their places."""
        return self._by_kind[kind]


class Plan:
    """All behavior views in registry order, with lookups.

    interval_us    the snapshot interval that all category and `all` views share
    retention_us   the longest retention of any view
    """

    def __init__(self, definitions: Iterable[ViewDefinition]) -> None:
        self.views = tuple(View(definition) for definition in definitions)
        names = [view.name for view in self.views]
        for name in names:
            if names.count(name) > 1:
                raise BadDefinition(f"view {name} is defined twice; rename one")
        intervals = {view.interval_us for view in self.views if view.is_snapshot}
        if len(intervals) > 1:
            raise BadDefinition("all category and `all` views share one snapshot interval; give them the same")
        self.interval_us = intervals.pop() if intervals else DEFAULT_INTERVAL_US
        self.retention_us = max((view.retention_us for view in self.views), default=DEFAULT_RETENTION_US)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """All features by reference `view:feature`."""
        return {feature.ref: feature for view in self.views for feature in view.features}

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each feature by reference."""
        return {ref: feature.fingerprint for ref, feature in self.features.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Of the whole plan: states written under another cannot be read under this one."""
        return _digest([(ref, fingerprint) for ref, fingerprint in self.fingerprints.items()])

    def view(self, name: str) -> View:
        """The view of that name."""
        for view in self.views:
            if view.name == name:
                return view
        raise BadInput(f"the plan has no view {name}; it has {', '.join(view.name for view in self.views)}")

    def of_entity(self, *entities: str) -> tuple[View, ...]:
        """The views of the given entities."""
        return tuple(view for view in self.views if view.entity in entities)

    @cached_property
    def utc_offset(self) -> Feature | None:
        """The user's last known UTC offset, if a user view has it."""
        for view in self.of_entity("user"):
            for feature in view.features:
                if feature.aggregation.kind == "last" and feature.aggregation.field == "utc_offset_s":
                    return feature
        return None

    def encode(self) -> bytes:
        """The plan file."""
        file = PlanFile(1, tuple(view.definition for view in self.views), self.fingerprints)
        return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Plan":
        """The plan of a plan file.

        Raises BadInput if it is not one or its fingerprints are not this version's.
        """
        try:
            file = msgspec.json.decode(data, type=PlanFile)
        except msgspec.DecodeError as error:
            raise BadInput(f"the plan file cannot be read ({error}); run `opportune apply` again") from None
        plan = cls(file.views)
        if file.format != 1 or file.fingerprints != plan.fingerprints:
            raise BadInput("the plan file was made by another version; run `opportune apply` again")
        return plan


def _check_view(definition: ViewDefinition) -> None:
    where = f"view {definition.name}"
    _check_name(where, definition.name)
    if definition.entity not in JOIN_KEYS:
        raise BadDefinition(f"{where}: unknown entity {definition.entity!r}; one of {', '.join(JOIN_KEYS)}")
    if not definition.selects or not definition.features:
        raise BadDefinition(f"{where}: it needs at least one kind of event in `selects` and one feature")
    if ANY_KIND in definition.selects:
        raise BadDefinition(f"{where}: `selects` names kinds of events one by one, so that adding a feature is safe")
    if definition.retention_us <= 0:
        raise BadDefinition(f"{where}: its retention must be a span of time, such as 400 days")
    if definition.interval_us % MINUTE_US or definition.interval_us <= 0:
        raise BadDefinition(f"{where}: the snapshot interval must be whole minutes")
    names = [feature.name for feature in definition.features]
    for feature in definition.features:
        if names.count(feature.name) > 1:
            raise BadDefinition(f"{where}, feature {feature.name}: defined twice; remove one")
        _check_feature(f"{where}, feature {feature.name}", definition, feature)


def _check_feature(where: str, view: ViewDefinition, feature: FeatureDefinition) -> None:
    _check_name(where, feature.name)
    try:
        check(feature.aggregation)
    except BadDefinition as error:
        raise BadDefinition(f"{where}: {error}") from None
    event = feature.aggregation.event
    if event not in (*view.selects, ANY_KIND):
        raise BadDefinition(f"{where}: it counts {event!r}, which the view does not select; add it to `selects`")
    if (feature.aggregation.over_us or 0) > view.retention_us:
        raise BadDefinition(f"{where}: its window is longer than the view's retention")


def _check_name(where: str, name: str) -> None:
    if re.fullmatch(_NAME, name) is None:
        raise BadDefinition(f"{where}: a name has lower-case letters, digits and single _, 64 at most")


def _feature(view: ViewDefinition, feature: FeatureDefinition) -> Feature:
    kind = KINDS[feature.aggregation.kind]
    said = [SEMANTICS, view.name, view.entity, sorted(view.selects), view.retention_us, feature.name]
    if view.entity in SNAPSHOT_ENTITIES:
        said.append(view.interval_us)
    fingerprint = _digest([said, msgspec.to_builtins(feature.aggregation)])
    return Feature(
        ref=f"{view.name}:{feature.name}",
        name=feature.name,
        aggregation=feature.aggregation,
        description=feature.description,
        fingerprint=fingerprint,
        kind=kind,
        slot=kind.slot(feature.aggregation),
        over_us=feature.aggregation.over_us,
    )


def _slot_key(slot: Slot) -> tuple[object, ...]:
    """Slots with the same key are shared; buckets of one hop serve windows of any length."""
    if isinstance(slot, Buckets):
        return (Buckets, slot.kind, slot.field, slot.hop_us)
    return (type(slot), slot)


def _shared_slots(slots: Iterable[Slot]) -> Iterator[Slot]:
    shared: dict[tuple[object, ...], Slot] = {}
    for slot in slots:
        known = shared.setdefault(_slot_key(slot), slot)
        if isinstance(known, Buckets) and isinstance(slot, Buckets) and slot.keep_us > known.keep_us:
            shared[_slot_key(slot)] = slot
    return iter(shared.values())


def _digest(value: object) -> str:
    return sha256(msgspec.json.encode(value)).hexdigest()[:16]
