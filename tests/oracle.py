"""The naive oracle: what every feature is worth, straight from the sentences of docs/design.md section 4.

It keeps nothing: for every instant it looks at the whole log again. It is slow and meant to be read aloud;
`behavior.state` and `behavior.vector`, the tables and the served values are all held against it.

It shares no code with them, only the definitions that it reads: `Admitted` and `ViewDefinition`.
"""

import struct
from collections.abc import Sequence

from behavior.event import Admitted, Event
from behavior.kinds import Aggregation
from behavior.plan import ViewDefinition

MINUTE = 60 * 10**6
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SPANS = {"m": MINUTE, "h": HOUR, "d": DAY}
HOPS = (DAY, HOUR, 5 * MINUTE, MINUTE)
ONE_VALUE_FOR_ALL = ("category", "all")

type_of_value = int | float | str | None


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
    """Category and `all` answer from the last whole snapshot interval (4.9), users at the instant itself."""
    return floor(t, view.interval_us) if view.entity in ONE_VALUE_FOR_ALL else t


def belongs(view: ViewDefinition, event: Event) -> bool:
    """Only selected kinds (4.6), only with consent to personalisation (4.7), only what says the entity's category."""
    selected = event.kind in view.selects
    consented = event.purposes % 2 == 1
    says_category = event.category is not None or view.entity in ("user", "all")
    return selected and consented and says_category


def key_of(view: ViewDefinition, event: Event) -> tuple[str | None, ...]:
    """Which entity of the view the event is about."""
    if view.entity == "user":
        return (event.user_id,)
    if view.entity == "user_category":
        return (event.user_id, event.category)
    if view.entity == "category":
        return (event.category,)
    assert view.entity == "all"
    return ("all",)


def missing(view: ViewDefinition, known: Sequence[Admitted], t: int) -> bool:
    """Missing iff there is no event, or the greatest event time is the retention or more ago (4.6)."""
    return not known or t - max(a.e for a in known) >= view.retention_us


def since_it_began_afresh(view: ViewDefinition, known: Sequence[Admitted]) -> list[Admitted]:
    """What came with or after the last event that was admitted while the entity was missing (4.6)."""
    beginnings = [a.k for a in known if missing(view, [b for b in known if b.k < a.k], a.k)]
    return [a for a in known if a.k >= max(beginnings)]


def value(spec: Aggregation, events: Sequence[Admitted], t: int) -> type_of_value:
    """One feature of an entity that is not missing."""
    events = [a for a in events if spec.event in ("*", a.event.kind)]
    if spec.kind == "count":
        return len(in_window(spec, events, t))
    if spec.kind == "total":
        amounts = [part(spec, a) for a in in_window(spec, events, t)]
        return sum(int(amount) for amount in amounts if amount is not None)
    if spec.kind == "ever":
        return 1 if events else 0
    if spec.kind == "last":
        said = [a for a in events if part(spec, a) is not None]
        return part(spec, max(said, key=lambda a: (a.e, a.k, a.event.message_id))) if said else None
    assert spec.kind == "age"
    return as_float32((t - max(a.e for a in events)) / 1_000_000) if events else None


def in_window(spec: Aggregation, events: Sequence[Admitted], t: int) -> list[Admitted]:
    """The events that count at t: floor(e, hop) > floor(t, hop) - W (4.2); k < t was asked for before."""
    if spec.over is None:
        return list(events)
    window = int(spec.over[:-1]) * SPANS[spec.over[-1]]
    hop = hop_of(window)
    return [a for a in events if floor(a.e, hop) > floor(t, hop) - window]


def hop_of(window: int) -> int:
    """The largest of 1 min, 5 min, 1 h, 1 d of which the window holds at least 24 (4.2)."""
    return next(hop for hop in HOPS if 24 * hop <= window)


def part(spec: Aggregation, admitted: Admitted) -> int | str | None:
    """The field that the feature reads from an event."""
    assert spec.field is not None
    return getattr(admitted.event, spec.field)  # type: ignore[no-any-return]


def floor(instant: int, step: int) -> int:
    """The last whole step at or before the instant, before 1970 too."""
    return instant // step * step


def as_float32(number: float) -> float:
    """The nearest float32, as a Python float."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    return float(rounded)


def change_points(view: ViewDefinition, log: Sequence[Admitted]) -> list[int]:
    """Every instant at which some value of the view may change: entries, exits, and the ends of retention.

    An age changes at every instant, and is not counted here.
    """
    windows = {
        int(f.aggregation.over[:-1]) * SPANS[f.aggregation.over[-1]] for f in view.features if f.aggregation.over
    }
    enters = [a.k + 1 for a in log]
    leaves = [floor(a.e, hop_of(window)) + window for a in log for window in windows]
    goes_missing = [a.e + view.retention_us for a in log]
    instants = enters + leaves + goes_missing
    if view.entity in ONE_VALUE_FOR_ALL:
        instants = [-(-instant // view.interval_us) * view.interval_us for instant in instants]
    return sorted(set(instants))
