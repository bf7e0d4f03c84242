"""The kinds of features: each one object in one list.

A kind says what it stores (a slot), how its raw value is read from the slot at an instant, and how the raw value
becomes the final one. The constructors below (`count`, `total`, ...) are what `feature_repo/views.py` is written with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from behavior.column import Column
from behavior.errors import BadDefinition
from behavior.event import FIELDS, SECOND_US
from behavior.slots import ANY_KIND, LatestTime, LatestValue, Slot, Sum, buckets_for
from behavior.window import parse_span


class Aggregation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a feature computes from events: a kind over an event kind, perhaps a field of it, perhaps a window."""

    kind: str
    event: str
    field: str | None = None
    over: str | None = None

    @property
    def name(self) -> str:
        """The feature's name: the event, the field, the kind and the window, as far as there are."""
        event = "any" if self.event == ANY_KIND else self.event
        suffix = "age_s" if self.kind == "age" else self.kind
        return "_".join(part for part in (event, self.field, suffix, self.over) if part)

    @property
    def over_us(self) -> int | None:
        """The window in microseconds, or None for all time."""
        return None if self.over is None else parse_span(self.over)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of turning events into a feature.

    slot        what is stored
    read        slot value, window in µs or None, slot, instant -> raw value (int, str or None)
    finalise    raw column, instants int64[n] -> final column
    dtype       of the final value: int64, float32 or string
    field       which types of fields it needs: () for none
    windowed    whether it may be given a window
    """

    name: str
    summary: str
    slot: Callable[[Aggregation], Slot]
    read: Callable[[Slot, Any, int | None, int], int | str | None]
    finalise: Callable[[Column, np.ndarray], Column]
    dtype: Callable[[Aggregation], str]
    field: tuple[type, ...] = ()
    windowed: bool = False


def _summed(spec: Aggregation) -> Slot:
    return Sum(spec.event, spec.field) if spec.over_us is None else buckets_for(spec.event, spec.field, spec.over_us)


def _read_sum(slot: Slot, value: Any, over_us: int | None, t: int) -> int:
    return int(value) if over_us is None else slot.over(value, over_us, t)  # type: ignore[union-attr]


def _same(raw: Column, t: np.ndarray) -> Column:
    return raw


def _to_flag(raw: Column, t: np.ndarray) -> Column:
    return Column((raw.values != 0).astype(np.int64), raw.valid)


def _to_age(raw: Column, t: np.ndarray) -> Column:
    """Seconds since the raw instant: one exact int64 difference, one division in float64, one cast."""
    return Column(((t - raw.values) / np.float64(SECOND_US)).astype(np.float32), raw.valid)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "count", "how many events, in a window or since the state began",
            _summed, _read_sum, _same, lambda spec: "int64", windowed=True,
        ),
        Kind(
            "total", "the sum of a numeric field, in a window or since the state began",
            _summed, _read_sum, _same, lambda spec: "int64", field=(int,), windowed=True,
        ),
        Kind(
            "ever", "1 if there was any such event, else 0",
            lambda spec: Sum(spec.event, None), _read_sum, _to_flag, lambda spec: "int64",
        ),
        Kind(
            "last", "the field of the latest event that says it",
            lambda spec: LatestValue(spec.event, str(spec.field), FIELDS[str(spec.field)] is str),
            lambda slot, value, over_us, t: None if value is None else value[3],
            _same, lambda spec: "string" if FIELDS[str(spec.field)] is str else "int64", field=(int, str),
        ),
        Kind(
            "age", "seconds since the latest such event",
            lambda spec: LatestTime(spec.event), lambda slot, value, over_us, t: value, _to_age, lambda spec: "float32",
        ),
    )
}  # fmt: skip


def check(spec: Aggregation) -> None:
    """Raise BadDefinition if the aggregation is not one that its kind can compute."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise BadDefinition(f"unknown kind {spec.kind!r}; the kinds are {', '.join(KINDS)}")
    if spec.field is not None and spec.field not in FIELDS:
        raise BadDefinition(f"{spec.kind}: an event has no field {spec.field!r}; it has {', '.join(FIELDS)}")
    if kind.field and (spec.field is None or FIELDS[spec.field] not in kind.field):
        wanted = " or ".join("number" if each is int else "text" for each in kind.field)
        raise BadDefinition(f"{spec.kind}({spec.event!r}) needs a {wanted} field, written as 'event.field'")
    if not kind.field and spec.field is not None:
        raise BadDefinition(f"{spec.kind} takes an event kind alone, not the field {spec.field!r}")
    if spec.over_us is not None:
        if not kind.windowed:
            raise BadDefinition(f"{spec.kind} has no window; leave `over` away")
        kind.slot(spec)  # raises for a window that has no hop


def _aggregation(kind: str, what: str, over: str | None = None) -> Aggregation:
    event, _, field = what.partition(".")
    spec = Aggregation(kind, event, field or None, over)
    check(spec)
    return spec


def count(event: str, *, over: str | None = None) -> Aggregation:
    """How many events of a kind, in a window or since the state began.

    >>> count("purchase", over="7d").name
    'purchase_count_7d'
    """
    return _aggregation("count", event, over)


def total(what: str, *, over: str | None = None) -> Aggregation:
    """The sum of a numeric field (`"purchase.value"`, in minor units), in a window or since the state began."""
    return _aggregation("total", what, over)


def ever(event: str) -> Aggregation:
    """1 if there was any event of the kind, else 0."""
    return _aggregation("ever", event)


def last(what: str) -> Aggregation:
    """The field of the latest event that says it, such as `"purchase.category"`; `"*"` stands for any kind."""
    return _aggregation("last", what)


def age(event: str) -> Aggregation:
    """Seconds since the latest event of the kind."""
    return _aggregation("age", event)
