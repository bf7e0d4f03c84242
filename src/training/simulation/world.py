"""The world: its people, what there is to show, and what is true of every visit.

A thing at position k of what is shown (k from 0) is clicked with the chance

    P(click) = examination(k) x attraction              examination(k) = 1 / (1 + k) ^ position_decay
    attraction = σ(click + appeal)
    appeal = persona's taste + user's own + item + daypart + weekday + device + page − fatigue

which is the position-based model: whether it is looked at depends on the position alone, and what is looked at is
clicked as it deserves ("examination hypothesis", Richardson et al., WWW 2007; Craswell et al., "An experimental
comparison of click position-bias models", WSDM 2008; the power of the position is that of Joachims et al., WSDM 2017).
Then P(add to cart | click) = σ(cart + depth x appeal) and P(purchase | added) = σ(purchase + depth x appeal).
"""

from dataclasses import dataclass

import numpy as np

from behavior.context import DAYPARTS, WEEKDAYS, part_of_hour
from behavior.errors import BadInput
from training.simulation.memory import Memory
from training.simulation.parameters import Parameters
from training.simulation.rhythm import PAGES, Visit, visits_between
from training.simulation.streams import CONTEXTS, DECIMALS, ITEMS, WORLD, normals
from training.simulation.tastes import DEVICES, Tastes, people_of


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is true of n things for one visit, and of s positions.

    attraction    float64[n], the chance of a click on what is looked at
    cart          float64[n], the chance that what was clicked is added to the cart
    purchase      float64[n], the chance that what was added is bought
    examination   float64[s], the chance that a position is looked at
    """

    attraction: np.ndarray
    cart: np.ndarray
    purchase: np.ndarray
    examination: np.ndarray

    def clicks(self, order: np.ndarray) -> np.ndarray:
        """The chance of a click at each position, where the places `order` of things are shown, float64[<= s]."""
        shown = order[: len(self.examination)]
        chance: np.ndarray = self.examination[: len(shown)] * self.attraction[shown]
        return chance

    def purchases(self, order: np.ndarray) -> np.ndarray:
        """The chance of a purchase at each position, float64[<= s]."""
        shown = order[: len(self.examination)]
        chance: np.ndarray = self.clicks(order) * self.cart[shown] * self.purchase[shown]
        return chance

    def best(self) -> np.ndarray:
        """The order with most expected clicks in this visit, int64[n]: by attraction, as the positions decay.

        It is the best for this visit alone: it does not spare a category for a later one.
        """
        return np.argsort(-self.attraction, kind="stable")


@dataclass(frozen=True, slots=True, eq=False)
class Things:
    """What can be shown, n things.

    ids, categories   names; a category's category is itself
    category          int64[n], the number of each one's category
    quality           float64[n], logits by which it is liked more than its category
    """

    ids: tuple[str, ...]
    categories: tuple[str, ...]
    category: np.ndarray
    quality: np.ndarray


class World:
    """A world as its parameters make it. It is never changed: what happens to users is in a `Memory`."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = p = parameters
        self.people = people_of(p)
        self.tastes = Tastes(p)
        self.item_quality = p.item_spread * normals(p.seed, WORLD, ITEMS, 0, p.categories * p.items).reshape(
            p.categories, p.items
        )
        self.things = _things(p, self.item_quality)
        weights = np.exp(self.item_quality).cumsum(axis=1)
        self._item_shares = weights / weights[:, -1:]
        self._steps, self._depths = (
            np.array([[p.click], [p.cart], [p.purchase]]),
            np.array([[1.0], [p.depth], [p.depth]]),
        )
        self.examination = np.round(1.0 / (1.0 + np.arange(p.slots)) ** p.position_decay, DECIMALS)
        widths = (len(DAYPARTS), WEEKDAYS, len(DEVICES), len(PAGES))
        self._contexts = [
            p.context_spread * normals(p.seed, WORLD, CONTEXTS, number, width * p.categories).reshape(width, -1)
            for number, width in enumerate(widths)
        ]
        self._part_of_hour = part_of_hour()

    @property
    def name(self) -> str:
        """What its files and figures say."""
        return f"simulated, seed {self.parameters.seed}"

    def visits(self, since: int, until: int) -> list[Visit]:
        """All visits of sessions that begin at since <= t < until (µs UTC), by time and then by user.

        Raises BadInput for a span that begins before the world does.
        """
        if since < self.parameters.start_t:
            raise BadInput(f"this world begins on {self.parameters.start}; ask for visits from that day on")
        return visits_between(self.parameters, self.people, since, until)

    def truth(self, visit: Visit, memory: Memory) -> Truth:
        """What is true of all things for a visit, after what the memory says has happened before it."""
        category = self.tastes.at(visit.t)[self.people.persona[visit.user]] + self.people.own[visit.user]
        category = category + self._in_context(visit) - memory.fatigue(visit.user, visit.t)
        appeal = category[self.things.category] + self.things.quality
        attraction, cart, purchase = 1.0 / (1.0 + np.exp(-(self._steps + self._depths * appeal)))
        return Truth(attraction, cart, purchase, self.examination)

    def items_at(self, places: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """The number of an item within each thing's category, int64[n], by a number in [0, 1) for each.

        Of a category, better items are taken more often: as likely as exp(quality). An item is itself.
        """
        if self.parameters.kind == "item":
            own: np.ndarray = places % self.parameters.items
            return own
        below = self._item_shares[self.things.category[places]]
        found: np.ndarray = (drawn[:, None] >= below[:, :-1]).sum(axis=1)
        return found

    def _in_context(self, visit: Visit) -> np.ndarray:
        daypart, weekday, device, page = self._contexts
        of_time = daypart[self._part_of_hour[visit.hour]] + weekday[visit.weekday]
        found: np.ndarray = of_time + device[DEVICES.index(visit.device)] + page[PAGES.index(visit.page)]
        return found


def category_name(number: int) -> str:
    """The name of a category, which says that it is made up."""
    return f"simulated-{number:03d}"


def item_name(category: int, number: int) -> str:
    """The name of an item."""
    return f"{category_name(category)}-{number:03d}"


def _things(p: Parameters, item_quality: np.ndarray) -> Things:
    numbers = range(p.categories)
    if p.kind == "category":
        ids = tuple(category_name(number) for number in numbers)
        return Things(ids, ids, np.arange(p.categories), np.zeros(p.categories))
    of = np.repeat(np.arange(p.categories), p.items)
    ids = tuple(item_name(category, number) for category in numbers for number in range(p.items))
    return Things(ids, tuple(category_name(each) for each in of.tolist()), of, item_quality.reshape(-1))
