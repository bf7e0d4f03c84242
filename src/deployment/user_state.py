"""A user's states as one read of Redis returns them, and their values at an instant.

The scorer and the Feast plug-in read the same hash with the same functions, so that they show the same values.

    field    <letter>             of a user view
             <letter><category>   of a view of (user, category)

The letter stands for the view in the plan of the generation that the hash belongs to: a household has a hundred such
fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.column import Column
from behavior.plan import Plan, View
from behavior.raw_rows import RawMatrix
from behavior.readout import Readout, readout
from behavior.vector import finalise


@dataclass(frozen=True, slots=True)
class UserState:
    """What is stored for one user under a plan: the fields of its hash; empty for an unknown user."""

    plan: Plan
    fields: Mapping[bytes, bytes]

    def columns(self, view: View, categories: Sequence[str], t: int) -> dict[str, Column]:
        """Final values at instant t, `{view:feature: column}`: one row of a user view, one per category of a pair view.

        t must lie after every admission that the states hold (design 4.8).
        """
        return self.found(view, categories, t)[0]

    def found(self, view: View, categories: Sequence[str], t: int) -> tuple[dict[str, Column], RawMatrix]:
        """Final values as `columns` has them, and the raw values that they were made from."""
        prefix = state_field(view)
        asked = [prefix] if view.entity == "user" else [prefix + category.encode() for category in categories]
        finals, read = _read(view, [self.fields.get(each) for each in asked], t)
        return finals, RawMatrix.of(view, read.raw, read.seen_e)

    def categories(self) -> list[str]:
        """The categories that the user has a state for, in order."""
        return sorted({stored[1:].decode() for stored in self.fields if len(stored) > 1})


def state_field(view: View, category: str | None = None) -> bytes:
    """The field of a hash that holds the view's state, of the category (or what else is the key) if there is one.

    >>> from behavior.plan import FeatureDefinition, ViewDefinition
    >>> from behavior.words import count
    >>> features = (FeatureDefinition("n", count("purchase")),)
    >>> state_field(View(ViewDefinition("pairs", "user_category", ("purchase",), features), code=2), "TEA")
    b'cTEA'
    """
    return view.letter if category is None else view.letter + category.encode()


def columns(view: View, stored: Sequence[bytes | None], t: int) -> dict[str, Column]:
    """Final values of the view at instant t, `{view:feature: column of len(stored) rows}`; None is missing.

    t must lie after every admission that the states hold (design 4.8).
    """
    return _read(view, stored, t)[0]


def _read(view: View, stored: Sequence[bytes | None], t: int) -> tuple[dict[str, Column], Readout]:
    at = np.full(len(stored), t, dtype=np.int64)
    found = readout(view, stored, at - at % view.interval_us)
    return finalise(view, found.raw, found.seen_e, at), found
