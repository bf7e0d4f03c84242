"""The naive oracle: what every feature is worth, straight from the sentences of docs/design.md section 4.

It keeps nothing: for every instant it looks at the whole log again. It is slow and meant to be read aloud;
`behavior.state` and `behavior.vector`, the tables and the served values are all held against it.

It shares no code with them, only the definitions that it reads: `Admitted`, `Aggregation` and `ViewDefinition`.
"""

import operator
import re
import struct
from collections.abc import Callable, Iterator, Sequence

from behavior.aggregation import Aggregation
from behavior.event import Admitted, Event
from behavior.plan import ViewDefinition

MINUTE = 60 * 10**6
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SPANS = {"m": MINUTE, "h": HOUR, "d": DAY}
HOPS = (DAY, HOUR, 5 * MINUTE, MINUTE)
SNAPSHOT_ENTITIES = ("item", "category", "all")

# One value of a feature; None is missing.
type_of_value = int | float | str | list[str] | None


# ------------------------------------------------------------------------------------------------------------ entities


def final_values(
    view: ViewDefinition, log: Sequence[Admitted], key: tuple[str, ...], t: int
) -> dict[str, type_of_value]:
    """The final value of each feature of one entity at instant t; None is missing.

    `log` is everything that the deployment ever admitted, of all users and in any order.
    """
    at = answers_at(view, t)
    known = [a for a in log if belongs(view, a.event) and key_of(view, a.event) == key and a.k < at]
    if missing(view, known, at):
        return {feature.name: None for feature in view.features}
    remembered = since_it_began_afresh(view, known)
    return {feature.name: value(feature.aggregation, remembered, at) for feature in view.features}


def answers_at(view: ViewDefinition, t: int) -> int:
    """Item, category and `all` answer from the last whole snapshot interval (4.9), users at the instant itself."""
    return floor(t, view.interval_us) if view.entity in SNAPSHOT_ENTITIES else t


def belongs(view: ViewDefinition, event: Event) -> bool:
    """Only selected kinds (4.6), only with consent to personalisation (4.7), only what names the view's entity."""
    selected = event.kind in view.selects
    consented = event.purposes % 2 == 1
    return selected and consented and None not in key_of(view, event)


def key_of(view: ViewDefinition, event: Event) -> tuple[str | None, ...]:
    """Which entity of the view the event is about; None in it is what the event does not say."""
    return {
        "user": (event.user_id,),
        "user_category": (event.user_id, event.category),
        "item": (event.item,),
        "category": (event.category,),
        "all": ("all",),
    }[view.entity]


def missing(view: ViewDefinition, known: Sequence[Admitted], t: int) -> bool:
    """Missing iff there is no event, or the greatest event time is the retention or more ago (4.6)."""
    return not known or t - max(a.e for a in known) >= view.retention_us


def since_it_began_afresh(view: ViewDefinition, known: Sequence[Admitted]) -> list[Admitted]:
    """What came with or after the last event that was admitted while the entity was missing (4.6)."""
    beginnings = [a.k for a in known if missing(view, [b for b in known if b.k < a.k], a.k)]
    return [a for a in known if a.k >= max(beginnings)]


# ------------------------------------------------------------------------------------------------------------ features


def value(spec: Aggregation, events: Sequence[Admitted], t: int) -> type_of_value:
    """One feature of an entity that is not missing; `events` is all that the entity remembers at t."""
    return MEANINGS[spec.kind](spec, events, t)


def count(spec: Aggregation, events: Sequence[Admitted], t: int) -> int:
    """How many matching events count at t."""
    return len(in_window(spec, matching(spec.event, spec.where, events), t))


def days(spec: Aggregation, events: Sequence[Admitted], t: int) -> int:
    """On how many different days, counted from 1970 in UTC, there was a matching event that counts."""
    return len({a.e // DAY for a in in_window(spec, matching(spec.event, spec.where, events), t)})


def total(spec: Aggregation, events: Sequence[Admitted], t: int) -> int:
    """The sum of the field over the matching events that count; those without the number add nothing."""
    return sum(numbers(spec, in_window(spec, matching(spec.event, spec.where, events), t)))


def mean(spec: Aggregation, events: Sequence[Admitted], t: int) -> float | None:
    """The same sum by the number of those that have the field; missing if none has."""
    said = numbers(spec, in_window(spec, matching(spec.event, spec.where, events), t))
    return as_float32(float(sum(said)) / float(len(said))) if said else None


def ever(spec: Aggregation, events: Sequence[Admitted], t: int) -> int:
    """1 iff there is any matching event."""
    return 1 if matching(spec.event, spec.where, events) else 0


def rate(spec: Aggregation, events: Sequence[Admitted], t: int) -> float:
    """(n + a) / (d + b): the matching events by the events of the kind `per`, which `where` does not concern."""
    assert spec.per is not None
    assert spec.prior is not None
    n = len(in_window(spec, matching(spec.event, spec.where, events), t))
    d = len(in_window(spec, matching(spec.per, None, events), t))
    a, b = spec.prior
    return as_float32(float(n + a) / float(d + b))


def age(spec: Aggregation, events: Sequence[Admitted], t: int) -> float | None:
    """Seconds since the latest matching event, or since the first one; missing if there is none."""
    times = [a.e for a in matching(spec.event, spec.where, events)]
    if not times:
        return None
    since = min(times) if spec.since == "first" else max(times)
    return as_float32(float(t - since) / 1_000_000.0)


def last(spec: Aggregation, events: Sequence[Admitted], t: int) -> int | str | None:
    """What the latest matching event that has the field says; ties in e by k, then by message id."""
    said = [a for a in matching(spec.event, spec.where, events) if field_of(spec, a) is not None]
    return field_of(spec, max(said, key=order)) if said else None


def first(spec: Aggregation, events: Sequence[Admitted], t: int) -> int | str | None:
    """What the earliest matching event that has the field says."""
    said = [a for a in matching(spec.event, spec.where, events) if field_of(spec, a) is not None]
    return field_of(spec, min(said, key=order)) if said else None


def distinct(spec: Aggregation, events: Sequence[Admitted], t: int) -> int:
    """How many different texts the matching events that count have in the field, and never more than the cap."""
    assert spec.cap is not None
    said = [field_of(spec, a) for a in in_window(spec, matching(spec.event, spec.where, events), t)]
    return min(len({text for text in said if isinstance(text, str)}), spec.cap)


def recent(spec: Aggregation, events: Sequence[Admitted], t: int) -> list[str]:
    """The K events that the log took last, newest first: kind, event time and item."""
    assert spec.size is not None
    wanted = [a for a in events if not spec.events or a.event.kind in spec.events]
    newest_first = sorted(wanted, key=lambda a: (a.k, a.event.message_id), reverse=True)
    return [f"{a.event.kind}|{a.e}|{a.event.item or ''}" for a in newest_first[: spec.size]]


def affinity(spec: Aggregation, events: Sequence[Admitted], t: int) -> int:
    """Each term's weight for each event in the window that matches the term; an event may match several."""
    warmth = 0
    for term, weight in spec.weights:
        kind, _, where = term.partition(" where ")
        warmth += weight * len(in_window(spec, matching(kind.strip(), where or None, events), t))
    return warmth


MEANINGS: dict[str, Callable[[Aggregation, Sequence[Admitted], int], type_of_value]] = {
    "count": count, "days": days, "total": total, "mean": mean, "ever": ever, "rate": rate, "age": age, "last": last,
    "first": first, "distinct": distinct, "recent": recent, "affinity": affinity,
}  # fmt: skip


# -------------------------------------------------------------------------------------------------- events of a feature


def matching(kind: str, where: str | None, events: Sequence[Admitted]) -> list[Admitted]:
    """The events of the kind, `*` being any, of which every predicate holds."""
    return [
        a
        for a in events
        if kind in ("*", a.event.kind)
        and all(holds(says(a.event, field), sign, literal) for field, sign, literal in predicates(where or ""))
    ]


SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
PREDICATE = re.compile(r"([^\s=!<>']+)\s*(!=|<=|>=|=|<|>)\s*(?:(-?\d+)|'([^']*)')")


def predicates(where: str) -> Iterator[tuple[str, str, int | str]]:
    """The parts of `field op literal and field op literal ...`; a text may itself have the word `and` in it."""
    for field, sign, number, text in PREDICATE.findall(where):
        yield field, sign, int(number) if number else text


def holds(what: int | str | None, sign: str, literal: int | str) -> bool:
    """Whether an event that says this fulfils the predicate; never if it says nothing, or a text for a number."""
    return type(what) is type(literal) and bool(SIGNS[sign](what, literal))


def says(event: Event, field: str) -> int | str | None:
    """What the event says in a field; the pseudonym is the field `user`."""
    if field == "user":
        return event.user_id
    if field.startswith("properties."):
        return event.properties.get(field.removeprefix("properties."))
    return getattr(event, field)  # type: ignore[no-any-return]


def field_of(spec: Aggregation, admitted: Admitted) -> int | str | None:
    """What the event says in the field that the feature reads."""
    assert spec.field is not None
    return says(admitted.event, spec.field)


def numbers(spec: Aggregation, events: Sequence[Admitted]) -> list[int]:
    """The numbers that the events have in the field; a property of another event may be a text."""
    return [number for number in (field_of(spec, a) for a in events) if isinstance(number, int)]


def order(admitted: Admitted) -> tuple[int, int, str]:
    """The order of what happened: event time, then the log's order, then the id by code points."""
    return (admitted.e, admitted.k, admitted.event.message_id)


# --------------------------------------------------------------------------------------------------------------- times


def in_window(spec: Aggregation, events: Sequence[Admitted], t: int) -> list[Admitted]:
    """The events that count at t: floor(e, hop) > floor(t, hop) - W (4.2); k < t was asked for before."""
    if spec.over is None:
        return list(events)
    window = span_of(spec.over)
    hop = hop_of(window)
    return [a for a in events if floor(a.e, hop) > floor(t, hop) - window]


def span_of(text: str) -> int:
    """The microseconds of a text such as 30d."""
    return int(text[:-1]) * SPANS[text[-1]]


def hop_of(window: int) -> int:
    """The largest of 1 min, 5 min, 1 h, 1 d of which the window holds at least 24 (4.2)."""
    return next(hop for hop in HOPS if 24 * hop <= window)


def floor(instant: int, step: int) -> int:
    """The last whole step at or before the instant, before 1970 too."""
    return instant // step * step


def as_float32(number: float) -> float:
    """The nearest float32, as a Python float."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    return float(rounded)


def change_points(view: ViewDefinition, log: Sequence[Admitted]) -> list[int]:
    """Every instant at which some value of the view may change: entries, exits, and the ends of retention.

    Whatever has a window changes as its events leave it: counts and sums, but rates, means, distinct values and
    affinities no less. An age changes at every instant, and is not counted here.
    """
    windows = {span_of(feature.aggregation.over) for feature in view.features if feature.aggregation.over}
    enters = [a.k + 1 for a in log]
    leaves = [floor(a.e, hop_of(window)) + window for a in log for window in windows]
    goes_missing = [a.e + view.retention_us for a in log]
    instants = enters + leaves + goes_missing
    if view.entity in SNAPSHOT_ENTITIES:
        instants = [-(-instant // view.interval_us) * view.interval_us for instant in instants]
    return sorted(set(instants))
