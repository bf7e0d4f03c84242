"""The loop: a policy is asked at every visit, users react to what it shows, and a trace keeps what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from behavior.errors import BadInput
from training.simulation.memory import Memory
from training.simulation.rhythm import Visit
from training.simulation.streams import REACTION, uniforms
from training.simulation.world import Truth, World
from training.steps import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What can be shown at a visit: ids with their categories. `truth` is for judges: a policy that reads it cheats."""

    ids: tuple[str, ...]
    categories: tuple[str, ...]
    truth: Truth


@dataclass(frozen=True, slots=True, eq=False)
class Reaction:
    """What a user did with s positions.

    shown                   int64[s], places in the offer, the first position first
    clicked, added, bought  bool[s]; what was bought was added before, and clicked before that
    items                   int64[s], the number, within its category, of the item that was looked at
    """

    shown: np.ndarray
    clicked: np.ndarray
    added: np.ndarray
    bought: np.ndarray
    items: np.ndarray


# The places of an offer in the order in which they are to be shown, or the first of them.
Policy = Callable[[Visit, Offer], Sequence[int] | np.ndarray]
# Told what came of each visit, before the next one.
Hear = Callable[[Visit, Offer, Reaction], None]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What happened in v visits of s positions, and what could be expected of them.

    user, persona, t        int64[v]
    shown                   int64[v, s], places of things; −1 where the policy showed less
    clicked, added, bought  bool[v, s]
    expected, best          float64[v], expected clicks of what was shown, and of the best that could have been shown
                            then: after what the same policy showed before
    """

    user: np.ndarray
    persona: np.ndarray
    t: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    added: np.ndarray
    bought: np.ndarray
    expected: np.ndarray
    best: np.ndarray

    def __len__(self) -> int:
        return len(self.t)

    def where(self, chosen: np.ndarray) -> "Trace":
        """Some of the visits: bool[v], or places."""
        return Trace(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def clicks(self) -> np.ndarray:
        """Clicks in each visit, int64[v]."""
        clicks: np.ndarray = self.clicked.sum(axis=1)
        return clicks

    @property
    def regret(self) -> np.ndarray:
        """Expected clicks that were missed in each visit, float64[v], never negative."""
        missed: np.ndarray = self.best - self.expected
        return missed

    @property
    def events(self) -> np.ndarray:
        """How many events came of each visit, impressions included, int64[v]."""
        shown = (self.shown >= 0).sum(axis=1)
        events: np.ndarray = shown + self.clicks + self.added.sum(axis=1) + self.bought.sum(axis=1)
        return events


def run(
    world: World,
    policy: Policy,
    visits: Sequence[Visit],
    *,
    hear: Hear | None = None,
    progress: Progress | None = None,
) -> Trace:
    """Ask the policy at every visit, let the user react, and keep what came of it. Users come without memories.

    Raises BadInput if the policy names a place twice, or one that there is not.
    """
    memory, slots, n = Memory(world.parameters), world.parameters.slots, len(visits)
    shown = np.full((n, slots), -1, dtype=np.int64)
    did = np.zeros((3, n, slots), dtype=bool)
    expected, best = np.zeros(n), np.zeros(n)
    for row, visit in enumerate(visits):
        truth = world.truth(visit, memory)
        offer = Offer(world.things.ids, world.things.categories, truth)
        order = _checked(policy(visit, offer), len(offer.ids), slots)
        reaction = react(world, visit, truth, order)
        _remember(world, memory, visit, reaction)
        shown[row, : len(order)] = order
        did[:, row, : len(order)] = reaction.clicked, reaction.added, reaction.bought
        expected[row], best[row] = truth.clicks(order).sum(), truth.clicks(truth.best()).sum()
        if hear is not None:
            hear(visit, offer, reaction)
        if progress is not None and (row + 1) % 1000 in (0, n - row):
            progress("simulating visits", row + 1, n)
    user = np.array([visit.user for visit in visits], dtype=np.int64)
    t = np.array([visit.t for visit in visits], dtype=np.int64)
    return Trace(user, world.people.persona[user], t, shown, did[0], did[1], did[2], expected, best)


def react(world: World, visit: Visit, truth: Truth, order: np.ndarray) -> Reaction:
    """What the user does with what is shown.

    The numbers that decide are those of the visit and the thing: another policy that shows the same thing at the same
    position finds the same user in the same mood, so that two policies are compared with little noise.
    """
    drawn = uniforms(world.parameters.seed, visit.user, REACTION, visit.number, 4 * len(truth.attraction))
    click, cart, purchase, item = drawn.reshape(4, -1)[:, order]
    clicked = click < truth.clicks(order)
    added = clicked & (cart < truth.cart[order])
    bought = added & (purchase < truth.purchase[order])
    return Reaction(order, clicked, added, bought, world.items_at(order, item))


def _remember(world: World, memory: Memory, visit: Visit, reaction: Reaction) -> None:
    """Being shown tires by how likely it was looked at, so that the truth does not hang on what nobody can see."""
    c, of = world.parameters.categories, world.things.category[reaction.shown]
    examined = np.bincount(of, weights=world.examination[: len(of)], minlength=c)
    memory.take(visit.user, visit.t, examined, np.bincount(of[reaction.bought], minlength=c))


def _checked(order: Any, things: int, slots: int) -> np.ndarray:
    """The positions that are shown, int64[<= slots]."""
    found = np.asarray(order, dtype=np.int64)[:slots]
    if len(found) and (len(set(found.tolist())) != len(found) or not 0 <= found.min() <= found.max() < things):
        raise BadInput(f"a policy answers with places from 0 to {things - 1}, each at most once; not {found.tolist()}")
    return found
