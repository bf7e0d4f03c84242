"""Served entries that were explored, as the log gives them back."""

from collections.abc import Sequence

import msgspec
import numpy as np

from behavior.event import DAY_US
from behavior.served import CATEGORY, Explored, Served, Shown, decode, encode
from training.ope.candidate import Candidate
from training.ope.policies import PLACKETT_LUCE, Policy, of_drawn

T = 17_440 * DAY_US
POOL = ("TEA", "MILK", "BREAD", "EGGS")
FACTORS = (("propensity", 1.0), ("recency", 0.5))
VALUES = np.array([[0.5, 1.0], [0.2, 0.4], [-1.0, 0.3], [-2.0, 0.0]])
POLICY = Policy(PLACKETT_LUCE, 0.8)


def entry(
    request: str = "r1",
    *,
    user: str = "ada",
    shown: Sequence[str] = ("MILK", "TEA"),
    as_of: int = T,
    kind: str = CATEGORY,
    policy: Policy = POLICY,
    placement: str | None = "home",
) -> Served:
    """An answer whose order was drawn by the policy from `POOL`, with the chances that it gives."""
    drawn = np.array([POOL.index(each) for each in shown])
    chances = of_drawn(policy.chances(Candidate().scores(FACTORS, VALUES), drawn), drawn)
    explored = Explored(policy.kind, policy.strength, chances.astype("<f8").tobytes(), POOL, VALUES.tobytes())
    things = tuple(Shown(kind, each, 0.0, 0.0, 0.0, b"") for each in shown)
    served = Served(
        request, user, as_of, 0, 0, "b1", 0, things, placement=placement, factors=FACTORS, explored=explored
    )
    return decode(encode(served))


def altered(served: Served, **changes: object) -> Served:
    """The entry with other parts of what it says of exploration."""
    return msgspec.structs.replace(served, explored=msgspec.structs.replace(served.explored, **changes))
