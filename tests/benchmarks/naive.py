"""The oracle for benchmarks: the values of `tests.oracle`, fast enough to hold millions of served values against them.

One entity's events lie in columns, in the order of the log. For every instant the columns are filtered anew; nothing
is carried from one instant to the next. What is kept are columns that no instant changes: which events match a
predicate, which number an event has in a field, on which hop it begins.

    log = EntityLog.of(events of the entity, in any order)
    log.values_at(view, t) -> {"purchase_count_7d": 3, "purchase_category_last": None, ...}
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from behavior.aggregation import Aggregation
from behavior.event import FIELDS, Admitted
from behavior.plan import ViewDefinition
from tests.oracle import DAY, answers_at, as_float32, floor, holds, hop_of, predicates, says, span_of, type_of_value

type_of_mask = npt.NDArray[np.bool_]
type_of_numbers = npt.NDArray[np.int64]


class EntityLog:
    """The events of ONE entity, already chosen by its key, in columns of length n that may come in any order.

    kind, message_id    list of str
    e, k                int64[n], microseconds
    purposes            int64[n], the bits of consent
    fields              name -> list of int | str | None; the names are those that features read: `item`, `value`,
                        `user`, `properties.stars`, ...; a field that is not given is one that no event has
    """

    def __init__(
        self,
        kind: Sequence[str],
        e: Sequence[int] | type_of_numbers,
        k: Sequence[int] | type_of_numbers,
        message_id: Sequence[str],
        purposes: Sequence[int] | type_of_numbers,
        fields: dict[str, Sequence[int | str | None]],
    ) -> None:
        admitted = np.asarray(k, dtype=np.int64)
        order = sorted(range(len(kind)), key=lambda row: (admitted[row], message_id[row]))
        self.size = len(order)
        self.kind = [kind[row] for row in order]
        self.message_id = [message_id[row] for row in order]
        self.e = np.asarray(e, dtype=np.int64)[order]
        self.k = admitted[order]
        self.consented: type_of_mask = np.asarray(purposes, dtype=np.int64)[order] % 2 == 1
        self.fields = {name: [column[row] for row in order] for name, column in fields.items()}
        self._columns: dict[tuple[str, ...], npt.NDArray[Any]] = {}

    @classmethod
    def of(cls, events: Sequence[Admitted]) -> "EntityLog":
        """The columns of events that belong to one entity, in any order."""
        properties = {f"properties.{name}" for a in events for name in a.event.properties}
        return cls(
            kind=[a.event.kind for a in events],
            e=[a.e for a in events],
            k=[a.k for a in events],
            message_id=[a.event.message_id for a in events],
            purposes=[a.event.purposes for a in events],
            fields={name: [says(a.event, name) for a in events] for name in ("user", *FIELDS, *sorted(properties))},
        )

    def values_at(self, view: ViewDefinition, t: int) -> dict[str, type_of_value]:
        """The final value of each feature of the view at instant t; None is missing."""
        at = answers_at(view, t)
        remembered = self.remembered(view, at)
        if remembered is None:
            return {feature.name: None for feature in view.features}
        return {
            feature.name: MEANINGS[feature.aggregation.kind](self, feature.aggregation, remembered, at)
            for feature in view.features
        }

    def remembered(self, view: ViewDefinition, at: int) -> type_of_mask | None:
        """bool[n]: what the entity remembers at an instant; None if it is missing then."""
        rows = np.flatnonzero(self.taken(view) & (self.k < at))
        e, k = self.e[rows], self.k[rows]
        if not len(rows) or at - e.max() >= view.retention_us:
            return None
        # How many of the rows have a smaller k: the events of one instant do not come before each other.
        before = np.searchsorted(k, k, side="left")
        latest_before = np.maximum.accumulate(e)[before - 1]
        begins = (before == 0) | (k - latest_before >= view.retention_us)
        remembered = np.zeros(self.size, dtype=np.bool_)
        remembered[rows[k >= k[begins].max()]] = True
        return remembered

    def taken(self, view: ViewDefinition) -> type_of_mask:
        """bool[n]: of a selected kind, with consent, and saying what the view is about."""
        selected = np.zeros(self.size, dtype=np.bool_)
        for kind in view.selects:
            selected |= self.matches(kind, None)
        about = {"user_category": "category", "category": "category", "item": "item"}.get(view.entity)
        taken: type_of_mask = selected & self.consented
        return taken if about is None else taken & self.has(about)

    # ------------------------------------------------------------------------------- columns that no instant changes

    def column(self, dtype: type, name: tuple[str, ...], made: Callable[[], npt.ArrayLike]) -> npt.NDArray[Any]:
        """The column of that name, made when it is first asked for."""
        if name not in self._columns:
            self._columns[name] = np.asarray(made(), dtype=dtype)
        return self._columns[name]

    def said(self, field: str) -> Sequence[int | str | None]:
        """What each event says in the field."""
        return self.fields.get(field) or [None] * self.size

    def has(self, field: str) -> type_of_mask:
        """bool[n]: whether the event says anything in the field."""
        return self.column(np.bool_, ("has", field), lambda: [what is not None for what in self.said(field)])

    def is_number(self, field: str) -> type_of_mask:
        """bool[n]: whether the event has a number in the field."""
        return self.column(np.bool_, ("is", field), lambda: [isinstance(what, int) for what in self.said(field)])

    def number(self, field: str) -> type_of_numbers:
        """int64[n]: the number that the event has in the field, 0 if none."""

        def made() -> list[int]:
            return [what if isinstance(what, int) else 0 for what in self.said(field)]

        return self.column(np.int64, ("number", field), made)

    def text(self, field: str) -> type_of_numbers:
        """int64[n]: equal for equal texts in the field, -1 if the event has none."""

        def made() -> list[int]:
            codes = {what: code for code, what in enumerate(dict.fromkeys(self.said(field)))}
            return [codes[what] if isinstance(what, str) else -1 for what in self.said(field)]

        return self.column(np.int64, ("text", field), made)

    def matches(self, kind: str, where: str | None) -> type_of_mask:
        """bool[n]: of the kind, `*` being any, and every predicate holds."""

        def made() -> list[bool]:
            asked = [(self.said(field), sign, literal) for field, sign, literal in predicates(where or "")]
            return [
                kind in ("*", self.kind[row]) and all(holds(said[row], sign, literal) for said, sign, literal in asked)
                for row in range(self.size)
            ]

        return self.column(np.bool_, ("matches", kind, where or ""), made)

    def floored(self, hop: int) -> type_of_numbers:
        """int64[n]: the hop on which the event happened."""
        return self.column(np.int64, ("floored", str(hop)), lambda: self.e // hop * hop)

    @cached_property
    def place(self) -> type_of_numbers:
        """int64[n]: the event's place in the order of (e, k, message id)."""
        order = sorted(range(self.size), key=lambda row: (self.e[row], self.k[row], self.message_id[row]))
        place = np.empty(self.size, dtype=np.int64)
        place[order] = np.arange(self.size)
        return place

    # --------------------------------------------------------------------------------------- what features are made of

    def chosen(self, spec: Aggregation, remembered: type_of_mask, at: int) -> type_of_mask:
        """bool[n]: the remembered events that match the feature and count at the instant."""
        return self.counting(spec.event, spec.where, spec.over, remembered, at)

    def counting(
        self, kind: str, where: str | None, over: str | None, remembered: type_of_mask, at: int
    ) -> type_of_mask:
        """bool[n]: the remembered events of a kind that fulfil the predicates and count at the instant."""
        rows = remembered & self.matches(kind, where)
        if over is None:
            return rows
        window = span_of(over)
        hop = hop_of(window)
        return rows & (self.floored(hop) > floor(at, hop) - window)


def _count(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int:
    return int(np.count_nonzero(log.chosen(spec, remembered, at)))


def _days(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int:
    return len(np.unique(log.floored(DAY)[log.chosen(spec, remembered, at)]))


def _total(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int:
    return int(log.number(spec.field or "")[log.chosen(spec, remembered, at)].sum())


def _mean(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> float | None:
    field = spec.field or ""
    numbers = log.number(field)[log.chosen(spec, remembered, at) & log.is_number(field)]
    return as_float32(float(numbers.sum()) / float(len(numbers))) if len(numbers) else None


def _ever(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int:
    return int(log.chosen(spec, remembered, at).any())


def _rate(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> float:
    assert spec.per is not None
    assert spec.prior is not None
    n = np.count_nonzero(log.chosen(spec, remembered, at))
    d = np.count_nonzero(log.counting(spec.per, None, spec.over, remembered, at))
    a, b = spec.prior
    return as_float32(float(n + a) / float(d + b))


def _age(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> float | None:
    times = log.e[log.chosen(spec, remembered, at)]
    if not len(times):
        return None
    since = times.min() if spec.since == "first" else times.max()
    return as_float32(float(at - since) / 1_000_000.0)


def _last(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int | str | None:
    field = spec.field or ""
    rows = np.flatnonzero(log.chosen(spec, remembered, at) & log.has(field))
    return log.said(field)[rows[log.place[rows].argmax()]] if len(rows) else None


def _first(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int | str | None:
    field = spec.field or ""
    rows = np.flatnonzero(log.chosen(spec, remembered, at) & log.has(field))
    return log.said(field)[rows[log.place[rows].argmin()]] if len(rows) else None


def _distinct(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int:
    assert spec.cap is not None
    codes = log.text(spec.field or "")[log.chosen(spec, remembered, at)]
    return min(len(set(codes.tolist()) - {-1}), spec.cap)


def _recent(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> list[str]:
    assert spec.size is not None
    wanted = np.zeros(log.size, dtype=np.bool_)
    for kind in spec.events or ("*",):
        wanted |= log.matches(kind, None)
    newest_first = np.flatnonzero(remembered & wanted)[::-1][: spec.size]
    items = log.said("item")
    return [f"{log.kind[row]}|{log.e[row]}|{items[row] or ''}" for row in newest_first]


def _affinity(log: EntityLog, spec: Aggregation, remembered: type_of_mask, at: int) -> int:
    warmth = 0
    for term, weight in spec.weights:
        kind, _, where = term.partition(" where ")
        counted = log.counting(kind.strip(), where or None, spec.over, remembered, at)
        warmth += weight * int(np.count_nonzero(counted))
    return warmth


MEANINGS: dict[str, Callable[[EntityLog, Aggregation, type_of_mask, int], type_of_value]] = {
    "count": _count, "days": _days, "total": _total, "mean": _mean, "ever": _ever, "rate": _rate, "age": _age,
    "last": _last, "first": _first, "distinct": _distinct, "recent": _recent, "affinity": _affinity,
}  # fmt: skip
