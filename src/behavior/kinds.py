"""The kinds of features: each one object in one list.

A kind says what it stores (its slots), on which entities it is allowed, and how the raw values that the slots answer
become the final one. How a slot changes, merges, is packed and read is the slot's own; what it computes offline is made
from the same slots (`training.change_points`). The words that make definitions are in `words`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.aggregation import DEFAULT_CAP, Aggregation, term_of
from behavior.column import Column
from behavior.event import FIELDS, SECOND_US
from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.matching import Match, Term
from behavior.members import Distinct, Recent
from behavior.predicate import parse_where
from behavior.slot import Slot
from behavior.sums import Sum, buckets_for
from behavior.window import hop_of

ENTITIES = ("user", "user_category", "item", "category", "all")
# Entities whose state is merged over all users, because many users share them.
SNAPSHOT_ENTITIES = ("item", "category", "all")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of turning events into a feature.

    slots      what is stored, given the kinds of events that the view selects
    raws       of each slot's raw value the suffix of its column, and its dtype
    finalise   the raw columns, instants int64[n] and the definition -> the final column; None where the raw one is it
    dtype      of the final value: int64, float32, string or texts
    field      which types of fields it needs (None: a property): () for none
    windowed   whether it may be given a window; it must have one if `needs_window`
    counts_hops  whether it asks its slots how many hops hold something
    """

    name: str
    summary: str
    example: str
    slots: Callable[[Aggregation, Sequence[str]], tuple[Slot, ...]]
    finalise: Callable[[Sequence[Column], np.ndarray, Aggregation], Column] | None
    dtype: Callable[[Aggregation], str]
    raws: Callable[[Aggregation], tuple[tuple[str, str], ...]] = lambda spec: (("", "int64"),)
    field: tuple[type | None, ...] = ()
    windowed: bool = False
    needs_window: bool = False
    counts_hops: bool = False
    entities: tuple[str, ...] = ENTITIES


def _match(spec: Aggregation) -> Match:
    return Match(spec.event, parse_where(spec.where) if spec.where else ())


def _added(spec: Aggregation, *terms: Term) -> Slot:
    return Sum(terms) if spec.over_us is None else buckets_for(terms, spec.over_us)


def _count(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    return (_added(spec, Term(_match(spec))),)


def _total(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    return (_added(spec, Term(_match(spec), spec.field, None)),)


def _mean(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    return (*_total(spec, selects), _added(spec, Term(_match(spec), spec.field)))


def _rate(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    return (*_count(spec, selects), _added(spec, Term(Match(str(spec.per)))))


def _affinity(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    terms = [term_of(term) for term, _ in spec.weights]
    return tuple(_added(spec, Term(Match(event, parse_where(where) if where else ()))) for event, where in terms)


def _extreme(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    field = str(spec.field)
    return (ExtremeValue(_match(spec), field, FIELDS[field] is str, spec.kind == "first"),)


def _distinct(spec: Aggregation, selects: Sequence[str]) -> tuple[Slot, ...]:
    over = spec.over_us
    cap = spec.cap or DEFAULT_CAP
    return (Distinct(_match(spec), str(spec.field), hop_of(over) if over else 0, over or 0, cap),)


def _text_or_number(spec: Aggregation) -> str:
    return "string" if FIELDS[str(spec.field)] is str else "int64"


def _to_flag(raws: Sequence[Column], t: np.ndarray, spec: Aggregation) -> Column:
    return Column((raws[0].values != 0).astype(np.int64), raws[0].valid)


def _to_age(raws: Sequence[Column], t: np.ndarray, spec: Aggregation) -> Column:
    """Seconds since the raw instant: one exact int64 difference, one division in float64, one cast."""
    return Column(((t - raws[0].values) / np.float64(SECOND_US)).astype(np.float32), raws[0].valid)


def _to_mean(raws: Sequence[Column], t: np.ndarray, spec: Aggregation) -> Column:
    """Sum / number, one division in float64, one cast; missing where the number is 0."""
    summed, number = raws
    some = number.valid & (number.values != 0)
    quotient = summed.values / np.where(some, number.values, 1).astype(np.float64)
    return Column(quotient.astype(np.float32), some)


def _to_rate(raws: Sequence[Column], t: np.ndarray, spec: Aggregation) -> Column:
    """(n + a) / (d + b) of additive smoothing, in float64, then one cast."""
    assert spec.prior is not None
    a, b = spec.prior
    n, d = raws
    return Column(((n.values + a) / (d.values + b).astype(np.float64)).astype(np.float32), n.valid)


def _to_affinity(raws: Sequence[Column], t: np.ndarray, spec: Aggregation) -> Column:
    """Each term's count in the window, times its weight, added in int64."""
    weighted = [weight * raw.values for raw, (_, weight) in zip(raws, spec.weights, strict=True)]
    summed: np.ndarray = np.add.reduce(weighted)
    return Column(summed, raws[0].valid)


def _int64(spec: Aggregation) -> str:
    return "int64"


def _float32(spec: Aggregation) -> str:
    return "float32"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "count", "how many events, in a window or since the state began", 'count("purchase", over="7d")',
            _count, None, _int64, windowed=True,
        ),
        Kind(
            "days", "on how many days (UTC) there was such an event, in a window of 24 days or more; costs nothing "
            "beside a count over it", 'days("purchase", over="90d")',
            _count, None, _int64, windowed=True, needs_window=True, counts_hops=True,
        ),
        Kind(
            "total", "the sum of a numeric field, in a window or since the state began",
            'total("purchase.value", over="30d")', _total, None, _int64, field=(int, None), windowed=True,
        ),
        Kind(
            "mean", "the mean of a numeric field over the events that say it; missing if none does",
            'mean("rating.properties.stars", over="90d")', _mean, _to_mean, _float32,
            raws=lambda spec: (("__sum", "int64"), ("__n", "int64")), field=(int, None), windowed=True,
        ),
        Kind(
            "rate", "how many events of one kind for one of another, smoothed: (n + a) / (d + b)",
            'rate("purchase", per="item_view", over="30d", prior=(1, 50))', _rate, _to_rate, _float32,
            raws=lambda spec: (("__n", "int64"), ("__d", "int64")), windowed=True,
        ),
        Kind(
            "ever", "1 if there was any such event, else 0", 'ever("purchase")',
            lambda spec, selects: (Sum((Term(_match(spec)),)),), _to_flag, _int64,
        ),
        Kind(
            "last", "the field of the latest event that says it", 'last("purchase.category")', _extreme, None,
            _text_or_number, raws=lambda spec: (("", _text_or_number(spec)),), field=(int, str),
        ),
        Kind(
            "first", "the field of the first event that says it", 'first("purchase.category")', _extreme, None,
            _text_or_number, raws=lambda spec: (("", _text_or_number(spec)),), field=(int, str),
        ),
        Kind(
            "age", 'seconds since the latest such event, or the first with `since="first"`', 'age("purchase")',
            lambda spec, selects: (ExtremeTime(_match(spec), spec.since == "first"),), _to_age, _float32,
        ),
        Kind(
            "distinct", "how many different values of a text field, at most `cap`; of users only for items, categories "
            "and everybody", 'distinct("purchase.category", over="7d")', _distinct, None, _int64,
            field=(str, None), windowed=True,
        ),
        Kind(
            "recent", "the events that the log took last, newest first: `<kind>|<event time in µs>|<item>`",
            "recent(10)",
            lambda spec, selects: (Recent(tuple(sorted(spec.events or selects)), int(spec.size or 0)),),
            None, lambda spec: "texts", raws=lambda spec: (("", "texts"),), entities=("user",),
        ),
        Kind(
            "affinity", "window counts of explicit and implicit signals, weighted by integers and added",
            'affinity({"purchase": 10, "item_view": 1}, over="30d")', _affinity, _to_affinity, _int64,
            raws=lambda spec: tuple((f"__{place}", "int64") for place in range(len(spec.weights))), windowed=True,
            needs_window=True, entities=("user_category",),
        ),
    )
}  # fmt: skip
