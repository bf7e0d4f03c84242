"""The plan: the compiled list of features that fold, backfill, the Feast plug-ins and `assemble` all read.

It is compiled from the Feast registry by `opportune apply` and kept as JSON. Each feature carries a fingerprint of all
that changes its value, so that a model can say exactly which features it was trained on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from behavior.aggregation import ANY_KIND, Aggregation
from behavior.asked import Asked
from behavior.errors import BadInput
from behavior.event import DAY_US, MINUTE_US, Admitted
from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.kinds import KINDS, SNAPSHOT_ENTITIES, Kind
from behavior.members import Distinct, Recent
from behavior.slot import Slot
from behavior.sums import Buckets
from behavior.view_checks import check_beside, check_view
from behavior.words import properties_of

# Part of every fingerprint: raise it when the meaning of any kind changes.
SEMANTICS = 2
DEFAULT_RETENTION_US = 400 * DAY_US
DEFAULT_INTERVAL_US = MINUTE_US

JOIN_KEYS: dict[str, tuple[str, ...]] = {
    "user": ("user_id",),
    "user_category": ("user_id", "category"),
    "item": ("item",),
    "category": ("category",),
    "all": ("all_id",),
}
ALL_ID = "all"
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


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
class Raw:
    """One raw column of a view: its name in tables, its dtype, and the slot that answers it.

    place    of the slot among the view's
    asked    what is asked of the slot
    """

    name: str
    dtype: str
    slot: Slot
    place: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature within its view, ready to be read; `raws` are the names of the raw columns it is made from."""

    ref: str
    name: str
    aggregation: Aggregation
    description: str
    fingerprint: str
    kind: Kind
    slots: tuple[Slot, ...]
    raws: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """The feature's name in Feast frames with full feature names: `view__feature`."""
        return self.ref.replace(":", "__")

    @property
    def dtype(self) -> str:
        """Of the final value: int64, float32, string or texts."""
        return self.kind.dtype(self.aggregation)


class View:
    """A behavior view with the slots that its features share.

    letter     its name within the plan, by which states are named in Redis
    raws       the raw columns, in the order of the features
    whole_numbers  of those that are int64 their place among these, by name
    textual    the names of all others
    by_reference  the features by `view:feature`, `references` of all
    readings   per slot what is asked of it, and (raw column, what it asks) for each that it answers
    needs      the field that an event must say to belong to the view, if there is one
    times      places of the slots that store times, if all of these are event times; None if others are stored too
    """

    def __init__(self, definition: ViewDefinition, code: int = 0) -> None:
        check_view(definition)
        self.definition = definition
        self.letter = _LETTERS[code : code + 1]
        self.name = definition.name
        self.entity = definition.entity
        self.join_keys = JOIN_KEYS[definition.entity]
        self.needs = {"user_category": "category", "category": "category", "item": "item"}.get(definition.entity)
        self.selects = frozenset(definition.selects)
        self.retention_us = definition.retention_us
        self.is_snapshot = definition.entity in SNAPSHOT_ENTITIES
        # A snapshot view answers at whole intervals only; the others at any microsecond.
        self.interval_us = definition.interval_us if self.is_snapshot else 1
        self.features = tuple(_feature(definition, feature) for feature in definition.features)
        self.slots = tuple(_shared_slots(slot for feature in self.features for slot in feature.slots))
        places = {_slot_key(slot): place for place, slot in enumerate(self.slots)}
        self.raws = tuple(raw for feature in self.features for raw in _raws(feature, self.slots, places))
        whole = (raw.name for raw in self.raws if raw.dtype == "int64")
        self.whole_numbers = {name: place for place, name in enumerate(whole)}
        self.textual = tuple(raw.name for raw in self.raws if raw.dtype != "int64")
        self.by_reference = {feature.ref: feature for feature in self.features}
        self.references = frozenset(self.by_reference)
        self.readings = tuple(_reading(place, slot, self.raws) for place, slot in enumerate(self.slots))
        finer = any(isinstance(slot, ExtremeValue | Recent) for slot in self.slots)
        places_of_times = tuple(place for place, slot in enumerate(self.slots) if isinstance(slot, ExtremeTime))
        self.times = None if finer else places_of_times
        self._by_kind = {
            kind: [(slot.update, place) for place, slot in enumerate(self.slots) if slot.kinds & {kind, ANY_KIND}]
            for kind in self.selects
        }

    def updates(self, kind: str) -> Sequence[tuple[Callable[[list[Any], int, Admitted], None], int]]:
        """How an event of a selected kind changes a state: the updates of slots, with their places."""
        return self._by_kind[kind]


class Plan:
    """All behavior views in registry order, with lookups.

    interval_us    the snapshot interval that all item, category and `all` views share
    retention_us   the longest retention of any view
    """

    def __init__(self, definitions: Iterable[ViewDefinition]) -> None:
        self.views = tuple(View(definition, code) for code, definition in enumerate(definitions))
        for place, view in enumerate(self.views):
            check_beside(view, self.views[:place])
        intervals = [view.interval_us for view in self.views if view.is_snapshot]
        self.interval_us = intervals[0] if intervals else DEFAULT_INTERVAL_US
        self.retention_us = max((view.retention_us for view in self.views), default=DEFAULT_RETENTION_US)

    def lettered(self, field: bytes) -> View:
        """The view that a field of states belongs to: its first byte is the view's letter."""
        return self._by_letter[field[:1]]

    @cached_property
    def _by_letter(self) -> dict[bytes, View]:
        return {view.letter: view for view in self.views}

    @cached_property
    def _by_name(self) -> dict[str, View]:
        return {view.name: view for view in self.views}

    @cached_property
    def snapshot_views(self) -> tuple[View, ...]:
        """The views that are published as a snapshot."""
        return tuple(view for view in self.views if view.is_snapshot)

    @cached_property
    def user_views(self) -> tuple[View, ...]:
        """The views whose states stand in a user's hash."""
        return tuple(view for view in self.views if not view.is_snapshot)

    @cached_property
    def properties(self) -> dict[str, type]:
        """The free properties that features read, and the type that each must have."""
        return {
            name: type_
            for view in self.views
            for feature in view.features
            for name, type_ in properties_of(feature.aggregation).items()
        }

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
        view = self._by_name.get(name)
        if view is not None:
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


def _feature(view: ViewDefinition, feature: FeatureDefinition) -> Feature:
    kind = KINDS[feature.aggregation.kind]
    said = [SEMANTICS, view.name, view.entity, sorted(view.selects), view.retention_us, feature.name]
    if view.entity in SNAPSHOT_ENTITIES:
        said.append(view.interval_us)
    fingerprint = _digest([said, msgspec.to_builtins(feature.aggregation)])
    raws = kind.raws(feature.aggregation)
    return Feature(
        ref=f"{view.name}:{feature.name}",
        name=feature.name,
        aggregation=feature.aggregation,
        description=feature.description,
        fingerprint=fingerprint,
        kind=kind,
        slots=kind.slots(feature.aggregation, view.selects),
        raws=tuple(f"{feature.name}{suffix}" for suffix, _ in raws),
    )


def _raws(feature: Feature, slots: Sequence[Slot], places: dict[tuple[object, ...], int]) -> Iterator[Raw]:
    dtypes = (dtype for _, dtype in feature.kind.raws(feature.aggregation))
    for name, dtype, slot in zip(feature.raws, dtypes, feature.slots, strict=True):
        place = places[_slot_key(slot)]
        yield Raw(name, dtype, slots[place], place, Asked(feature.aggregation.over_us, feature.kind.counts_hops))


def _reading(
    place: int, slot: Slot, raws: Sequence[Raw]
) -> tuple[Slot, tuple[Asked, ...], tuple[tuple[str, Asked], ...]]:
    answered = tuple((raw.name, raw.asked) for raw in raws if raw.place == place)
    return slot, tuple(dict.fromkeys(asked for _, asked in answered)), answered


def _slot_key(slot: Slot) -> tuple[object, ...]:
    """Slots with the same key are shared; what is kept per hop serves windows of any length."""
    if isinstance(slot, Buckets):
        return (Buckets, slot.terms, slot.hop_us)
    if isinstance(slot, Distinct):
        return (Distinct, slot.match, slot.field, slot.hop_us, slot.cap)
    return (type(slot), slot)


def _shared_slots(slots: Iterable[Slot]) -> Iterator[Slot]:
    shared: dict[tuple[object, ...], Slot] = {}
    for slot in slots:
        known = shared.setdefault(_slot_key(slot), slot)
        if isinstance(slot, Buckets | Distinct) and slot.keep_us > known.keep_us:  # type: ignore[attr-defined]
            shared[_slot_key(slot)] = slot
    return iter(shared.values())


def _digest(value: object) -> str:
    return sha256(msgspec.json.encode(value)).hexdigest()[:16]
