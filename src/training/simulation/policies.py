"""Policies of known value, to measure others against."""

from collections.abc import Callable

import numpy as np

from behavior.errors import BadInput
from training.simulation.rhythm import Visit
from training.simulation.running import Hear, Offer, Policy, Reaction
from training.simulation.streams import POLICY, uniforms
from training.simulation.world import World

Listening = tuple[Policy, Hear | None]


def at_random(world: World) -> Listening:
    """Any order as likely as any other."""
    seed = world.parameters.seed

    def order(visit: Visit, offer: Offer) -> np.ndarray:
        return np.argsort(uniforms(seed, visit.user, POLICY, visit.number, len(offer.ids)), kind="stable")

    return order, None


def popular(world: World) -> Listening:
    """Everybody sees what was clicked most so far for each time that it was likely looked at.

    Each thing begins with one click in ten looks, so that what is new is tried.
    """
    clicks, looks = np.ones(world.parameters.things), np.full(world.parameters.things, 10.0)

    def order(visit: Visit, offer: Offer) -> np.ndarray:
        return np.argsort(-clicks / looks, kind="stable")

    def hear(visit: Visit, offer: Offer, reaction: Reaction) -> None:
        clicks[reaction.shown] += reaction.clicked
        looks[reaction.shown] += world.examination[: len(reaction.shown)]

    return order, hear


def best(world: World) -> Listening:
    """What has most expected clicks in each visit: nobody who does not know the truth does better in a visit."""
    return lambda visit, offer: offer.truth.best(), None


POLICIES: dict[str, Callable[[World], Listening]] = {"random": at_random, "popular": popular, "best": best}


def policy_named(name: str, world: World) -> Listening:
    """The policy of that name with its ears, new. Raises BadInput if there is none."""
    if name not in POLICIES:
        raise BadInput(f"there is no policy {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name](world)
