"""What a feature computes, as data: what stands in Feast's tags and in the plan. What each kind does is in `kinds`."""

import re

import msgspec

from behavior.window import parse_span

ANY_KIND = "*"
USER_FIELD = "user"
DEFAULT_CAP = 1000
LARGEST_CAP = 10_000
LARGEST_RECENT = 200
LARGEST_WEIGHT = 1_000_000


class Aggregation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One feature's definition.

    kind      which entry of KINDS
    event     the kind of event, `*` for any
    field     a field of it, `properties.<name>`, or `user`
    over      the window, None for all time
    where     predicates that events must meet
    per       of a rate: the kind of event that it is measured by
    prior     of a rate: (a, b) of (n + a) / (d + b)
    weights   of an affinity: (term, weight), a term is a kind of event, perhaps with ` where ...`
    cap       of distinct: the greatest answer
    size      of recent: how many events
    events    of recent: which kinds; all that the view selects if empty
    since     of age: `first` for the time since the first event rather than the last
    label     a name given by hand
    """

    kind: str
    event: str = ANY_KIND
    field: str | None = None
    over: str | None = None
    where: str | None = None
    per: str | None = None
    prior: tuple[int, int] | None = None
    weights: tuple[tuple[str, int], ...] = ()
    cap: int | None = None
    size: int | None = None
    events: tuple[str, ...] = ()
    since: str | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """The feature's name: given by hand, or the event, the field, the kind, the window and the predicates."""
        if self.label:
            return self.label
        event = "" if self.kind in ("recent", "affinity") else "any" if self.event == ANY_KIND else self.event
        field = (self.field or "").replace("properties.", "").lower()
        per = f"per_{'any' if self.per == ANY_KIND else self.per}" if self.per else ""
        kind = {"age": "age_s", "recent": f"recent_{self.size}"}.get(self.kind, self.kind)
        since = f"since_{self.since}" if self.since else ""
        some = f"of_{'_'.join(self.events)}" if self.events else ""
        parts = (event, field, per, kind, some, since, self.over, _slug(self.where))
        return "_".join(part for part in parts if part)

    @property
    def over_us(self) -> int | None:
        """The window in microseconds, or None for all time."""
        return None if self.over is None else parse_span(self.over)


_WORDS = {"!=": " not ", "<=": " at_most ", ">=": " at_least ", "=": " is ", "<": " below ", ">": " above "}


def _slug(where: str | None) -> str:
    """A `where` as part of a name.

    >>> _slug("value >= 1000 and device = 'phone'")
    'where_value_at_least_1000_and_device_is_phone'
    """
    if where is None:
        return ""
    said = where.replace("properties.", "")
    for op, word in _WORDS.items():
        said = said.replace(op, word)
    return "where_" + re.sub(r"[^a-z0-9]+", "_", said.lower()).strip("_")


def term_of(term: str) -> tuple[str, str | None]:
    """The kind of event and the predicates of an affinity's term.

    >>> term_of("rating where properties.stars >= 4")
    ('rating', 'properties.stars >= 4')
    """
    event, said, where = term.partition(" where ")
    return event.strip(), where if said else None
