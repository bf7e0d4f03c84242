"""What the raw columns of a view are computed from, as SQL: whatever several of them share is here once.

    sums       what one event adds: counts, totals, weights; running sums and every window over them are made from it
    days       1 for the first event that adds to a sum in a hop, so that windows over it count the hops
    times      when an event matched: the latest or the first such time
    values     what an event said: the latest or the first such value
    members    which texts occurred: how many of them a window holds, or how many there ever were
    recents    the events that came last

The conditions and amounts are the slots' own SQL (`behavior.matching`); nothing is said here a second time.
"""

from dataclasses import dataclass
from typing import TypeVar

from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.members import Distinct, Recent
from behavior.plan import Raw, View
from behavior.sums import Buckets, Sum
from behavior.window import hop_of

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Time:
    """The latest time of the matching events, or the first."""

    match: str
    is_first: bool


@dataclass(frozen=True, slots=True)
class Said:
    """What the latest (or first) matching event said that says anything."""

    match: str
    value: str
    is_first: bool
    is_text: bool


@dataclass(frozen=True, slots=True)
class Members:
    """How many texts the matching events have; `over_us` None: since the state began."""

    match: str
    member: str
    over_us: int | None


@dataclass(frozen=True, slots=True)
class Latest:
    """The last `size` events of these kinds."""

    kinds: tuple[str, ...]
    size: int


class Parts:
    """The parts of one view, each with the name of its column.

    windows    which sums (and days) each window is asked for, the shortest window first
    lifelong   which sums are asked for without a window
    caps       of members without a window: how many are worth remembering
    columns    per raw column its SQL over the rows `lived` (which have a column per sum, time, value and recent) and
               `moments` (which have one per window and sum, and one per members)
    """

    def __init__(self, view: View) -> None:
        self.sums: dict[str, str] = {}
        self.days: dict[tuple[str, int], str] = {}
        self.windows: dict[int, list[str]] = {}
        self.lifelong: list[str] = []
        self.times: dict[Time, str] = {}
        self.values: dict[Said, str] = {}
        self.members: dict[Members, str] = {}
        self.caps: dict[str, int] = {}
        self.recents: dict[Latest, str] = {}
        self.columns = {raw.name: self._column(raw) for raw in view.raws}
        self.windows = {over_us: self.windows[over_us] for over_us in sorted(self.windows)}

    @property
    def longest_us(self) -> int:
        """How long before an instant an event may lie that still counts in some window; 0 without windows."""
        asked = [*self.windows, *(each.over_us for each in self.members if each.over_us)]
        return max((over_us + hop_of(over_us) for over_us in asked), default=0)

    @property
    def ever_members(self) -> dict[Members, str]:
        """The members that are counted since the state began."""
        return {each: name for each, name in self.members.items() if each.over_us is None}

    def _column(self, raw: Raw) -> str:
        slot = raw.slot
        if isinstance(slot, Buckets | Sum):
            name = _named(self.sums, " + ".join(term.sql for term in slot.terms), "sum")
            if raw.asked.hops:
                assert isinstance(slot, Buckets)
                name = _named(self.days, (name, slot.hop_us), "days")
            return self._sum(name, raw.asked.over_us)
        if isinstance(slot, ExtremeTime):
            return f"lived.{_named(self.times, Time(slot.match.sql, slot.is_first), 'time')}"
        if isinstance(slot, ExtremeValue):
            said = Said(f"{slot.match.sql} AND {slot.field} IS NOT NULL", slot.field, slot.is_first, slot.is_text)
            return f"lived.{_named(self.values, said, 'value')}"
        if isinstance(slot, Distinct):
            return self._members(slot, raw.asked.over_us)
        assert isinstance(slot, Recent)
        return f"lived.{_named(self.recents, Latest(slot.events, slot.size), 'recent')}"

    def _sum(self, name: str, over_us: int | None) -> str:
        asked = self.lifelong if over_us is None else self.windows.setdefault(over_us, [])
        if name not in asked:
            asked.append(name)
        return f"lived.{name}" if over_us is None else f"lived.{name} - coalesce(moments.{left(over_us)}_{name}, 0)"

    def _members(self, slot: Distinct, over_us: int | None) -> str:
        name = _named(self.members, Members(slot.match.sql, slot.value_sql, over_us), "members")
        if over_us is None:
            self.caps[name] = max(slot.cap, self.caps.get(name, 0))
        return f"least(coalesce(moments.{name}, 0), {slot.cap})"


def left(over_us: int) -> str:
    """The name of what has left a window.

    >>> left(7 * DAY_US)
    'left_7d'
    """
    for unit, span in (("d", DAY_US), ("h", HOUR_US), ("m", MINUTE_US)):
        if over_us % span == 0:
            return f"left_{over_us // span}{unit}"
    raise AssertionError("windows are whole minutes")


def _named(known: dict[_Part, str], part: _Part, kind: str) -> str:
    return known.setdefault(part, f"{kind}_{len(known) + 1}")
