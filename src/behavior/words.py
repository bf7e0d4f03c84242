"""The words that `feature_repo/views.py` is written with, and what makes a definition wrong.

Each word makes an `Aggregation`, or raises BadDefinition for what no kind can compute.
"""

import re
from collections.abc import Mapping, Sequence

from behavior.aggregation import (
    ANY_KIND,
    DEFAULT_CAP,
    LARGEST_CAP,
    LARGEST_RECENT,
    LARGEST_WEIGHT,
    USER_FIELD,
    Aggregation,
    term_of,
)
from behavior.errors import BadDefinition
from behavior.event import DAY_US
from behavior.kinds import KINDS, SNAPSHOT_ENTITIES, Kind
from behavior.predicate import field_type, parse_where
from behavior.window import hop_of


def kinds_of_events(spec: Aggregation) -> tuple[str, ...]:
    """The kinds of events that the definition names; `*` among them stands for any."""
    if spec.kind == "affinity":
        return tuple(term_of(term)[0] for term, _ in spec.weights)
    if spec.kind == "recent":
        return spec.events
    return (spec.event, spec.per) if spec.per else (spec.event,)


def properties_of(spec: Aggregation) -> dict[str, type]:
    """The free properties that the definition reads, and the type that each must have.

    Raises BadDefinition for one that would have to be both a number and a text.
    """
    reads: list[tuple[str, type]] = []
    if spec.field is not None:
        reads.append((spec.field, str if spec.kind == "distinct" else int))
    for where in (spec.where, *(term_of(term)[1] for term, _ in spec.weights)):
        reads += [(each.field, type(each.literal)) for each in (parse_where(where) if where is not None else ())]
    found: dict[str, type] = {}
    for field, wanted in reads:
        if field_type_of(field) is None and found.setdefault(field.removeprefix("properties."), wanted) is not wanted:
            raise BadDefinition(f"{spec.kind}: it takes {field} for a number and for a text; an event has one of them")
    return found


def field_type_of(field: str) -> type | None:
    """As `predicate.field_type`, with the user as a text."""
    return str if field == USER_FIELD else field_type(field)


def check(spec: Aggregation) -> None:
    """Raise BadDefinition if the aggregation is not one that its kind can compute."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise BadDefinition(f"unknown kind {spec.kind!r}; the kinds are {', '.join(KINDS)}")
    _check_field(kind, spec)
    if spec.where is not None:
        parse_where(spec.where)
    if spec.over is not None:
        if not kind.windowed:
            raise BadDefinition(f"{spec.kind} has no window; leave `over` away")
        hop_of(spec.over_us or 0)  # raises for a window that has no hop
    elif kind.needs_window:
        raise BadDefinition(f"{spec.kind} needs a window, such as over='30d'")
    _check_own(spec)
    properties_of(spec)  # raises for one of two types


def check_entity(spec: Aggregation, entity: str) -> None:
    """Raise BadDefinition if the kind is not allowed on the entity."""
    allowed = KINDS[spec.kind].entities
    if entity not in allowed:
        raise BadDefinition(f"{spec.kind} is not computed for {entity}; it is for {', '.join(allowed)}")
    if spec.kind == "distinct" and (spec.field == USER_FIELD) != (entity in SNAPSHOT_ENTITIES):
        counted = (
            "users only, as in distinct('purchase.user')" if entity in SNAPSHOT_ENTITIES else "any field but users"
        )
        raise BadDefinition(f"distinct: for {entity} it counts {counted}")


def _check_field(kind: Kind, spec: Aggregation) -> None:
    if spec.field is None:
        if kind.field:
            wanted = " or ".join("text" if each is str else "number" for each in kind.field if each is not None)
            raise BadDefinition(f"{spec.kind}({spec.event!r}) needs a {wanted} field, written as 'event.field'")
        return
    if not kind.field:
        raise BadDefinition(f"{spec.kind} takes an event kind alone, not the field {spec.field!r}")
    known = str if spec.field == USER_FIELD and spec.kind == "distinct" else field_type(spec.field)
    if known not in kind.field:
        wanted = " or ".join("text" if each is str else "number" for each in kind.field if each is not None)
        raise BadDefinition(f"{spec.kind}: {spec.field!r} is not what it can take; it needs a {wanted} field of events")


def _check_own(spec: Aggregation) -> None:
    """What only one kind can get wrong."""
    if spec.since not in (None, "first"):
        raise BadDefinition(f"{spec.kind}: since {spec.since!r} is unknown; leave it away, or say since='first'")
    own = {
        "days": _check_days,
        "rate": _check_rate,
        "distinct": _check_distinct,
        "recent": _check_recent,
        "affinity": _check_affinity,
    }
    if spec.kind in own:
        own[spec.kind](spec)


def _check_days(spec: Aggregation) -> None:
    if hop_of(spec.over_us or 0) != DAY_US:
        raise BadDefinition(f"days: a window of {spec.over} does not move by whole days; take 24d or more")


def _check_rate(spec: Aggregation) -> None:
    prior = spec.prior or ()
    if not spec.per or len(prior) != 2 or not _is_whole(*prior) or prior[0] < 0 or prior[1] < 1:
        raise BadDefinition("rate: it needs `per`, and a prior (a, b) of whole numbers with a >= 0 and b >= 1")


def _check_distinct(spec: Aggregation) -> None:
    if not _is_whole(spec.cap) or not 1 <= (spec.cap or 0) <= LARGEST_CAP:
        raise BadDefinition(f"distinct: its cap must be 1 to {LARGEST_CAP}")


def _check_recent(spec: Aggregation) -> None:
    if not _is_whole(spec.size) or not 1 <= (spec.size or 0) <= LARGEST_RECENT:
        raise BadDefinition(f"recent: its size must be 1 to {LARGEST_RECENT}")
    if ANY_KIND in spec.events:
        raise BadDefinition("recent: name kinds of events one by one, or none for all that the view selects")


def _check_affinity(spec: Aggregation) -> None:
    if not spec.weights:
        raise BadDefinition("affinity: it needs at least one kind of event with its weight")
    for term, weight in spec.weights:
        event, where = term_of(term)
        if where is not None:
            parse_where(where)
        if re.fullmatch(r"[a-z][a-z0-9_]*", event) is None:
            raise BadDefinition(f"affinity: {event!r} is no kind of event")
        if not _is_whole(weight) or not 0 < abs(weight) <= LARGEST_WEIGHT:
            raise BadDefinition(f"affinity: the weight of {term!r} must be whole, not 0, ±{LARGEST_WEIGHT} at most")


def _is_whole(*numbers: object) -> bool:
    """Whether all are ints; what views are written with is Python, and says what it likes."""
    return all(type(number) is int for number in numbers)


def count(event: str, *, over: str | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """How many events of a kind, in a window or since the state began.

    >>> count("purchase", over="7d").name
    'purchase_count_7d'
    """
    return _made("count", event, over=over, where=where, label=name)


def days(event: str, *, over: str, where: str | None = None, name: str | None = None) -> Aggregation:
    """On how many days (UTC) there was an event of a kind, in a window of 24 days or more.

    >>> days("purchase", over="90d").name
    'purchase_days_90d'
    """
    return _made("days", event, over=over, where=where, label=name)


def total(what: str, *, over: str | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The sum of a numeric field (`"purchase.value"`, in minor units), in a window or since the state began."""
    return _made("total", what, over=over, where=where, label=name)


def mean(what: str, *, over: str | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The mean of a numeric field over the events that say it; missing if none does."""
    return _made("mean", what, over=over, where=where, label=name)


def rate(
    event: str,
    *,
    per: str,
    prior: tuple[int, int],
    over: str | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """How many events of one kind there are for one of another, smoothed: (n + a) / (d + b).

    >>> rate("purchase", per="item_view", over="30d", prior=(1, 50)).name
    'purchase_per_item_view_rate_30d'
    """
    return _made("rate", event, over=over, where=where, per=per, prior=tuple(prior), label=name)


def ever(event: str, *, where: str | None = None, name: str | None = None) -> Aggregation:
    """1 if there was any event of the kind, else 0."""
    return _made("ever", event, where=where, label=name)


def last(what: str, *, where: str | None = None, name: str | None = None) -> Aggregation:
    """The field of the latest event that says it, such as `"purchase.category"`; `"*"` stands for any kind."""
    return _made("last", what, where=where, label=name)


def first(what: str, *, where: str | None = None, name: str | None = None) -> Aggregation:
    """The field of the first event that says it."""
    return _made("first", what, where=where, label=name)


def age(event: str, *, since: str | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """Seconds since the latest event of the kind, or since the first with `since="first"`."""
    return _made("age", event, since=since, where=where, label=name)


def distinct(
    what: str, *, over: str | None = None, cap: int = DEFAULT_CAP, where: str | None = None, name: str | None = None
) -> Aggregation:
    """How many different values of a text field, at most `cap`: `"purchase.category"`; of items `"purchase.user"`."""
    return _made("distinct", what, over=over, cap=cap, where=where, label=name)


def recent(size: int, *, events: Sequence[str] = (), name: str | None = None) -> Aggregation:
    """The events that the log took last, newest first, each `<kind>|<event time in µs>|<item>`."""
    return _made("recent", ANY_KIND, size=size, events=tuple(events), label=name)


def affinity(weights: Mapping[str, int], *, over: str, name: str | None = None) -> Aggregation:
    """How much a user is drawn to a category: window counts of explicit and implicit signals, weighted and added.

    >>> affinity({"purchase": 10, "rating where properties.stars >= 4": 6}, over="30d").name
    'affinity_30d'
    """
    return _made("affinity", ANY_KIND, over=over, weights=tuple(weights.items()), label=name)


def _made(kind: str, what: str, **said: object) -> Aggregation:
    event, _, field = what.partition(".")
    spec = Aggregation(kind, event, field or None, **said)  # type: ignore[arg-type]
    if spec.label is not None and re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", spec.label) is None:
        raise BadDefinition(f"{kind}: {spec.label!r} is no name; use lower-case letters, digits and single _")
    try:
        check(spec)
    except BadDefinition as error:
        raise BadDefinition(f"feature {spec.name}: {error}") from None
    return spec
