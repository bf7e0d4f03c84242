"""A user's states as one read of Redis returns them, and their values at an instant.

The scorer and the Feast plug-in read the same hash with the same functions, so that they show the same values.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.column import Column
from behavior.errors import OpportuneError
from behavior.plan import Plan, View
from behavior.state import State, decode, raw_at
from behavior.vector import finalise

_SEPARATOR = b"|"


@dataclass(frozen=True, slots=True)
class UserState:
    """What is stored for one user.

    user    {view name: state} of the views of the user
    pairs   {view name: {category: state}} of the views of (user, category); every such view of the plan is there
    """

    user: dict[str, State]
    pairs: dict[str, dict[str, State]]


def state_field(view: View, category: str | None = None) -> bytes:
    """The field of a hash that holds the view's state; all but user views need the category, or what else is the key.

    >>> from behavior.kinds import count
    >>> from behavior.plan import FeatureDefinition, ViewDefinition
    >>> features = (FeatureDefinition("n", count("purchase")),)
    >>> state_field(View(ViewDefinition("pairs", "user_category", ("purchase",), features)), "TEA")
    b'pairs|TEA'
    """
    return view.name.encode() if category is None else view.name.encode() + _SEPARATOR + category.encode()


def decode_user(plan: Plan, fields: Mapping[bytes, bytes], categories: Collection[str] | None = None) -> UserState:
    """The states in the user's hash; with `categories` only the pairs of those are decoded.

    Raises OpportuneError if a field belongs to no view of the plan: another plan wrote it.
    """
    user_views = {view.name: view for view in plan.of_entity("user")}
    pair_views = {view.name: view for view in plan.of_entity("user_category")}
    user: dict[str, State] = {}
    pairs: dict[str, dict[str, State]] = {name: {} for name in pair_views}
    for stored, data in fields.items():
        # A view's name has no separator, a category may have.
        name, separator, category = stored.decode().partition(_SEPARATOR.decode())
        if separator and name in pair_views:
            if categories is None or category in categories:
                pairs[name][category] = decode(pair_views[name], data)
        elif not separator and name in user_views:
            user[name] = decode(user_views[name], data)
        else:
            raise OpportuneError(f"a user's state has the field {stored!r}, which no view of the plan has; run rebuild")
    return UserState(user, pairs)


def columns(view: View, states: Sequence[State | None], t: int) -> dict[str, Column]:
    """Final values of the view at instant t, `{view:feature: column of len(states) rows}`; None is missing.

    t must lie after every admission that the states hold (design 4.8).
    """
    rows = [None if state is None else raw_at(view, state, t) for state in states]
    raw = {
        feature.name: Column.of([None if row is None else row[place] for row in rows], feature.raw_dtype)
        for place, feature in enumerate(view.features)
    }
    seen_e = Column.of([None if state is None else state.seen_e for state in states], "int64")
    return finalise(view, raw, seen_e, np.full(len(rows), t, dtype=np.int64))
