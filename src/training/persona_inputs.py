"""What personas are told by: recency, orders and spend over a declared window, and what else the plan can say of users.

Each role is found in the plan by what its feature computes, so that a deployment that renames its views keeps its
personas. Values come from Feast, at one instant for all users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd

from behavior.aggregation import Aggregation
from behavior.column import Column
from behavior.errors import BadInput
from behavior.event import DAY_US, PERSONALIZATION, SECOND_US
from behavior.plan import Feature, Plan
from training.dataset import to_column

if TYPE_CHECKING:
    from feast import FeatureStore

WINDOW_US = 30 * DAY_US
# Whoever did nothing for so long says nothing about what personas there are; it is assigned to one all the same.
ACTIVE_US = 60 * DAY_US
_DAY_S = DAY_US // SECOND_US
_MINOR = 100


@dataclass(frozen=True, slots=True)
class Role:
    """One thing that personas are told by.

    kind, event, field, since   what the feature must compute
    windowed    over the declared window; else over all time, or for views and carts over the longest window there is
    word        how a feature is written that can play the role
    missing     the final value that stands for one that is not there
    """

    name: str
    kind: str
    event: str
    field: str | None
    since: str | None
    windowed: bool
    unit: float
    missing: float
    required: bool
    word: str


# Frequency is a number of orders: an order of twenty lines is one visit. Never bought counts as 400 days ago.
ROLES = (
    Role("recency", "age", "purchase", None, None, False, _DAY_S, 400.0 * _DAY_S, True, 'age("purchase")'),
    Role("orders", "distinct", "purchase", "order_id", None, True, 1, 0.0, True,
         'distinct("purchase.order_id", over="{}d")'),
    Role("spend", "total", "purchase", "value", None, True, _MINOR, 0.0, True, 'total("purchase.value", over="{}d")'),
    Role("tenure", "age", "purchase", None, "first", False, _DAY_S, 0.0, False, 'age("purchase", since="first")'),
    Role("views", "count", "item_view", None, None, False, 1, 0.0, False, 'count("item_view", over="7d")'),
    Role("carts", "count", "add_to_cart", None, None, False, 1, 0.0, False, 'count("add_to_cart", over="24h")'),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """n users and what is known of them at an instant: pseudonyms, and {reference: column of n rows}."""

    users: list[str]
    finals: Mapping[str, Column]


def features_of(plan: Plan, kinds: Sequence[str], window_us: int = WINDOW_US) -> dict[Role, Feature]:
    """The feature that plays each role; optional ones are left out if the plan lacks them, or the archive their events.

    kinds    of events in the archive
    Raises BadInput that names what the plan lacks.
    """
    found = {}
    for role in ROLES:
        candidates = [
            feature
            for view in plan.of_entity("user")
            for feature in view.features
            if _plays(feature.aggregation, role, window_us)
        ]
        if candidates and (role.required or role.event in kinds):
            found[role] = max(candidates, key=lambda feature: feature.aggregation.over_us or 0)
        elif role.required:
            word = role.word.format(window_us // DAY_US)
            raise BadInput(f"personas need {role.name}: add {word} to a view of users, then `opportune apply`")
    return found


def kinds_in(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The kinds of events in the archive, sorted."""
    return [str(kind) for (kind,) in con.execute("SELECT DISTINCT kind FROM events ORDER BY kind").fetchall()]


def active_users(con: duckdb.DuckDBPyConnection, at: int, kinds: Sequence[str]) -> list[str]:
    """Pseudonyms of the users who did something of the kinds within 60 days before the instant, in order."""
    found = con.execute(
        f"""
        SELECT DISTINCT user_id FROM events
        WHERE kind IN (SELECT unnest($kinds::VARCHAR[])) AND purposes & {PERSONALIZATION} <> 0
            AND k < $at AND e >= $at - $active
        ORDER BY user_id
        """,
        {"kinds": list(kinds), "at": at, "active": ACTIVE_US},
    ).fetchall()
    return [str(user) for (user,) in found]


def told(store: "FeatureStore", plan: Plan, refs: Sequence[str], users: Sequence[str], at: int) -> Told:
    """Final values of the features for the users at the instant (µs UTC), as a request then would have found them."""
    frame = pd.DataFrame(
        {
            "user_id": np.asarray(users, dtype=object),
            "event_timestamp": pd.to_datetime(np.full(len(users), at), unit="us", utc=True).as_unit("us"),
        }
    )
    joined = store.get_historical_features(frame, list(refs), full_feature_names=True).to_arrow()
    finals = {ref: to_column(joined[plan.features[ref].full_name], plan.features[ref].dtype) for ref in refs}
    return Told([str(user) for user in joined["user_id"].to_pylist()], finals)


def _plays(made: Aggregation, role: Role, window_us: int) -> bool:
    said = (made.kind, made.event, made.field, made.since)
    if made.where is not None or said != (role.kind, role.event, role.field, role.since):
        return False
    return made.over_us == window_us if role.windowed else (role.kind == "age" or made.over_us is not None)
