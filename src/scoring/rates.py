"""The learner of rates: how often what is shown to a persona comes to something, as Beta rates that forget.

    category   persona ▸ category                of whatever is shown
    block      persona ▸ placement ▸ item        of an item that is shown in a placement

Each group leans on the one before it, and that on the prior; the formulas are in `shrinkage`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import accumulate
from typing import Any, ClassVar

from river import base

from behavior.served import ITEM
from scoring.example import Example
from scoring.learners import RATES, Numbers, apart, joined, key_of
from scoring.recency import Recency
from scoring.shrinkage import BLOCK_RATES, CATEGORY_RATES, SHRINKAGE, Shrinkage

ROOM = 100_000


class ShrunkRates(base.Classifier):
    """The rate of success in groups within groups, as a River classifier.

    by      the features that name a group, from the outermost in; a missing one counts as empty
    time    the feature that says when, µs of event time; where it is missing nothing is forgotten
    room    how many groups are remembered: those that were learned about latest
    others  as in `Shrinkage`

    What comes late weighs less by its own age; time is never set back.

    >>> rates = ShrunkRates(by=("persona", "category"), prior_successes=1.0, prior_trials=10.0, strength=10.0)
    >>> for _ in range(30): rates.learn_one({"persona": "loyal", "category": "TEA"}, True)
    >>> asked = [{"persona": "loyal", "category": "TEA"}, {"persona": "loyal"}, {"persona": "new", "category": "TEA"}]
    >>> [round(rates.predict_proba_one(each)[True], 3) for each in asked]  # tried, of a persona that was, of nobody's
    [0.944, 0.775, 0.1]
    """

    def __init__(
        self,
        by: tuple[str, ...] = ("persona",),
        time: str = "t",
        half_life_d: float = 30.0,
        prior_successes: float = 1.0,
        prior_trials: float = 50.0,
        strength: float = 20.0,
        room: int = ROOM,
    ) -> None:
        self.by = by
        self.time = time
        self.half_life_d = half_life_d
        self.prior_successes = prior_successes
        self.prior_trials = prior_trials
        self.strength = strength
        self.room = room
        self._shrinkage = Shrinkage(half_life_d, prior_successes, prior_trials, strength)
        self._counts: dict[str, tuple[float, float, float]] = {}  # successes, trials, and when they weighed that much
        self._recency: Recency[str] = Recency(room)

    def learn_one(self, x: Mapping[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learn one trial, and whether it was a success."""
        self.add(x, w * float(y), w)

    def add(self, x: Mapping[Any, Any], successes: float, trials: float) -> None:
        """Count so many successes and trials in every group of x."""
        t = float(x.get(self.time, 0.0))
        keys = list(self._keys(x))
        for key in keys:
            self._counts[key] = self._added(self._counts.get(key, (0.0, 0.0, t)), successes, trials, t)
        # From the innermost out, so that no group is forgotten before those within it.
        for forgotten in self._recency.touch(reversed(keys)):
            del self._counts[forgotten]

    def beta_one(self, x: Mapping[Any, Any]) -> tuple[float, float]:
        """The (a, b) of the innermost group of x."""
        t = float(x.get(self.time, 0.0))
        a = b = 0.0
        mean: float | None = None
        for key in self._keys(x):
            successes, trials, last = self._counts.get(key, (0.0, 0.0, t))
            kept = self._shrinkage.kept(max(t - last, 0.0))
            a, b = self._shrinkage.beta(successes * kept, trials * kept, mean)
            mean = a / (a + b)
        return a, b

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """The mean rate of the innermost group of x, and what it lacks of 1."""
        a, b = self.beta_one(x)
        return {False: b / (a + b), True: a / (a + b)}

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """(successes, trials, when they weighed that much, tick) of each group since this was last asked."""
        return {key: self._of(key) if key in self._counts else None for key in self._recency.changed()}

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """(successes, trials, when they weighed that much, tick) of each group."""
        return {key: self._of(key) for key in self._recency.ticks}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the numbers, bit for bit."""
        self._counts = {key: (successes, trials, t) for key, (successes, trials, t, _) in numbers.items()}
        self._recency.restore({key: tick for key, (_, _, _, tick) in numbers.items()})

    def _added(
        self, counted: tuple[float, float, float], successes: float, trials: float, t: float
    ) -> tuple[float, float, float]:
        before, tried, last = counted
        if t < last:
            late = self._shrinkage.kept(last - t)
            return before + successes * late, tried + trials * late, last
        kept = self._shrinkage.kept(t - last)
        return before * kept + successes, tried * kept + trials, t

    def _keys(self, x: Mapping[Any, Any]) -> Iterator[str]:
        """The keys of the groups of x, from the outermost in."""
        return accumulate((key_of(str(x.get(name, ""))) for name in self.by), joined)

    def _of(self, key: str) -> tuple[float, ...]:
        return (*self._counts[key], float(self._recency.ticks[key]))


class Rates:
    """Beta rates of what is shown, per persona and category, and per persona and block.

    The first example of a thing that was shown is its trial; what examples say it has earned are its successes. Its
    numbers are those of `ShrunkRates`, by the name of the groups and their words.
    """

    name: ClassVar[str] = RATES

    def __init__(self, shrinkage: Shrinkage = SHRINKAGE, room: int = ROOM) -> None:
        def rates(*by: str) -> ShrunkRates:
            return ShrunkRates(by, **asdict(shrinkage), room=room)

        self._rates = {
            CATEGORY_RATES: rates("persona", "category"),
            BLOCK_RATES: rates("persona", "placement", "item"),
        }

    def learn(self, example: Example, weight: float) -> None:
        """Count the example's trial, if it is one, and what was earned."""
        if not 0.0 <= example.reward <= 1.0 or not (example.is_trial or example.reward):
            return
        counts = weight * example.reward, weight * example.is_trial
        x = {"t": example.t, "persona": example.persona, "category": example.category}
        self._rates[CATEGORY_RATES].add(x, *counts)
        if example.kind == ITEM and example.placement:
            self._rates[BLOCK_RATES].add(x | {"placement": example.placement, "item": example.id}, *counts)

    def beta(self, groups: str, **x: Any) -> tuple[float, float]:
        """The (a, b) that Thompson sampling draws from: of the groups `category` or `block`, by their words and t."""
        return self._rates[groups].beta_one(x)

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""
        return {joined(name, key): each for name, rates in self._rates.items() for key, each in rates.changed().items()}

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return {joined(name, key): each for name, rates in self._rates.items() for key, each in rates.numbers().items()}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        parts = apart(numbers)
        for name, rates in self._rates.items():
            rates.restore(parts.get(name, {}))
