"""What personas are called: one list of rules on the typical user at a centre, read from top to bottom.

A rule asks in the units that people think in (days, orders, minor units by a hundred) and in `z`: how many standard
deviations the centre lies from the mean of all. What the personas are not told by answers no question.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import nan


@dataclass(frozen=True, slots=True)
class Typical:
    """The user at a centre: {role: value} and {role: standard deviations}, and the window in days."""

    values: Mapping[str, float]
    deviations: Mapping[str, float]
    window_days: float

    def of(self, role: str) -> float:
        """The value; NaN, which no comparison holds for, if the personas are not told by the role."""
        return self.values.get(role, nan)

    def z(self, role: str) -> float:
        """The value in standard deviations from the mean; NaN if the personas are not told by the role."""
        return self.deviations.get(role, nan)

    @property
    def worth(self) -> float:
        """The more orders and spend and the less time since the last purchase, the greater: the order of personas."""
        return self.z("orders") + self.z("spend") - self.z("recency")


@dataclass(frozen=True, slots=True)
class Rule:
    """A name, what it means in a sentence, and when a centre has it."""

    name: str
    meaning: str
    holds: Callable[[Typical], bool]


# Who never bought stands at 400 days; so long ago no purchase of an active user lies.
_NEVER_DAYS = 300

RULES = (
    Rule("High-Intent", "Puts things into the cart, but has hardly ordered in the window.",
         lambda u: u.of("carts") >= 0.5 and u.of("orders") < 1),
    Rule("Frequent Browsers", "Looks at much more than others, but has hardly ordered in the window.",
         lambda u: u.of("views") >= 1 and u.z("views") >= 0.5 and u.of("orders") < 1),
    Rule("Visitors", "Has not bought anything yet.",
         lambda u: u.of("recency") >= _NEVER_DAYS),
    Rule("New", "Bought for the first time within the last two windows.",
         lambda u: u.of("tenure") <= 2 * u.window_days and u.of("recency") <= u.window_days),
    Rule("One-Time", "Bought on one day only, and not since.",
         lambda u: abs(u.of("tenure") - u.of("recency")) <= 1 + u.of("recency") / 10),
    Rule("Champions", "Orders more often and spends more than others, and lately.",
         lambda u: u.z("orders") >= 0.5 and u.z("spend") >= 0.5 and u.of("recency") <= u.window_days / 2),
    Rule("Loyal", "Orders more often than most, and lately.",
         lambda u: u.z("orders") >= 0.2 and u.of("recency") <= u.window_days / 2),
    Rule("Big Spenders", "Spends more than others, and lately.",
         lambda u: u.z("spend") >= 0.5 and u.of("recency") <= u.window_days / 2),
    Rule("Dormant", "Has not bought for a whole window.",
         lambda u: u.of("recency") >= u.window_days),
    Rule("At-Risk", "Bought in the window, but longer ago than others.",
         lambda u: u.window_days / 3 <= u.of("recency") < u.window_days and u.z("recency") >= 0.3),
    Rule("Regulars", "Orders in every window, about as often as others.",
         lambda u: u.of("orders") >= 1 and abs(u.z("orders")) <= 0.5),
    Rule("Occasional", "Orders now and then, less often than others.",
         lambda u: u.z("orders") <= -0.3),
    Rule("Others", "Nothing sets them apart.",
         lambda u: True),
)  # fmt: skip


def names_of(typicals: Sequence[Typical], taken: Collection[str] = ()) -> list[str]:
    """A name for each centre, no two equal and none of those taken; those of greatest worth choose first.

    A centre gets the first rule that holds and whose name is free. If all such names have gone, it is numbered after
    the first rule that holds: `Regulars 2`.
    """
    used = set(taken)
    names = [""] * len(typicals)
    for place in sorted(range(len(typicals)), key=lambda place: -typicals[place].worth):
        holding = [rule.name for rule in RULES if rule.holds(typicals[place])]
        # The last rule holds for everybody, and says less than a number.
        telling = holding[:-1] or holding
        free = [name for name in telling if name not in used]
        names[place] = free[0] if free else _numbered(telling[0], used)
        used.add(names[place])
    return names


def meaning_of(name: str) -> str:
    """What a name means, in a sentence; of a numbered one as of the one without a number."""
    return next((rule.meaning for rule in RULES if rule.name == name.rstrip(" 0123456789")), "")


def _numbered(name: str, used: Collection[str]) -> str:
    number = 2
    while f"{name} {number}" in used:
        number += 1
    return f"{name} {number}"
