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
from behavior.finals import StoredRows
from behavior.places import stored_of
from behavior.plan import Plan, View
from behavior.readout import readout


@dataclass(frozen=True, slots=True)
class UserState:
    """What is stored for one user under a plan: the fields of its hash; empty for an unknown user."""

    plan: Plan
    fields: Mapping[bytes, bytes]

    def rows(self, view: View, categories: Sequence[str], t: int) -> StoredRows:
        """Final values at instant t: of a user view one row for all, of a pair view those of the categories.

        t must lie after every admission that the states hold (design 4.8).
        """
        if view.entity == "user":
            stored = self.fields.get(view.letter)
            return rows_of(view, [stored] if stored else [], None, t)
        return rows_of(view, *stored_of(self.fields, view.letter, categories), t)

    def columns(self, view: View, categories: Sequence[str], t: int) -> dict[str, Column]:
        """The same as columns, `{view:feature: column}`: one row of a user view, one per category of a pair view."""
        found = self.rows(view, categories, t)
        return {feature.ref: found.column(feature.ref) for feature in view.features}

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


def rows_of(view: View, stored: Sequence[bytes], rows: np.ndarray | None, t: int) -> StoredRows:
    """Final values of stored states at instant t, and which of them each candidate has; see `StoredRows`."""
    at = np.full(len(stored), t - t % view.interval_us, dtype=np.int64)
    return StoredRows(readout(view, stored, at), t, rows)
