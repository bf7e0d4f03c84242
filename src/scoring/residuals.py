"""What scorers hold of the learners: their numbers as arrays, changed in place by versioned deltas. Knows no River.

    crosses   per (cross, context's word, persona) the weights of all things, gathered and added cross by cross, in the
              order in which the learner adds them: to the last bit what River would answer
    rates     per group the successes and trials of all that is in it, and the instants at which they weighed that much

Whatever was learned, no correction is beyond ±bound, and what is not a finite number counts as nothing learned.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from scoring.cross_keys import ITEM_CROSS, POSITION, Context, crosses_of, value_of
from scoring.learners import CROSSES, GUARD, MARKS, RATES, REST, Numbers, joined, key_of, parts_of
from scoring.shrinkage import BLOCK_RATES, CATEGORY_RATES, SHRINKAGE, Shrinkage
from scoring.thing_tables import ThingTables

# The tables of a group of rates, in the order of the numbers of `ShrunkRates`.
_COUNTED = ("successes", "trials", "t")
_FORGOTTEN = (0.0, 0.0, 0.0)
_FOLLOWED = (joined(CROSSES, ""), joined(RATES, ""), joined(key_of(GUARD, REST), ""))
_OF_THE_LEARNER = (joined(key_of(CROSSES, POSITION), ""), joined(key_of(CROSSES, MARKS), ""))


def is_followed(key: str) -> bool:
    """Whether scorers take this number of a shard: what corrects, rates, and who rests after harm.

    What positions do is learned beside the crosses, and is part of no correction; marks are the learner's own.
    """
    return key.startswith(_FOLLOWED) and not key.startswith(_OF_THE_LEARNER)


class Residuals:
    """Corrections of margins and rates, ready for use; of one thread.

    bound       no correction is beyond ±bound, in logits
    shrinkage   what rates lean on: as the learner has it

    >>> residuals = Residuals(bound=1.0)
    >>> tea, rice, names = "crosses|category||loyal|TEA", "crosses|category||loyal|RICE", ["TEA", "RICE", "new"]
    >>> residuals.apply(1, {tea: (9.0, 1.0, 1.0), rice: (0.5, 1.0, 2.0)})
    >>> residuals.lookup("loyal", Context(), "category", names, names).tolist()
    [1.0, 0.5, 0.0]
    """

    def __init__(self, bound: float, shrinkage: Shrinkage = SHRINKAGE) -> None:
        self.bound = bound
        self.version = 0
        self._shrinkage = shrinkage
        self._clear()

    def reload(self, version: int, numbers: Numbers) -> None:
        """Hold these numbers and nothing else."""
        self._clear()
        self.apply(version, numbers)

    def apply(self, version: int, changed: Mapping[str, tuple[float, ...] | None]) -> None:
        """Take over what has changed since the version before; None is forgotten."""
        for key, values in changed.items():
            if not is_followed(key):
                continue
            learner, *parts = parts_of(key)
            if learner == GUARD:
                (self._resting.discard if values is None else self._resting.add)(parts[1])
            elif learner == CROSSES:
                self._put_cross(parts, values or _FORGOTTEN)
            elif learner == RATES:
                self._put_rate(parts, values or _FORGOTTEN)
        self.version = version

    def lookup(
        self, persona: str, context: Context, kind: str, ids: Sequence[str], categories: Sequence[str]
    ) -> np.ndarray:
        """The correction of each candidate's margin, float64[n]; 0 for one that nothing was learned about."""
        total = np.zeros(len(ids))
        by_category = self._categories.rows(categories)
        for cross, word in crosses_of(context, kind):
            tables, rows = self._categories, by_category
            if cross == ITEM_CROSS:
                tables, rows = self._items, self._items.rows(ids)
            weights = tables.gather((cross, word, persona), rows)
            if weights is not None:
                total += weights
        np.minimum(total, self.bound, out=total)  # these two cost a fraction of np.clip
        return np.maximum(total, -self.bound, out=total)

    def is_resting(self, persona: str) -> bool:
        """Whether nothing is learned of the persona for a while, since harm was seen."""
        return persona in self._resting

    def rates(self, persona: str, categories: Sequence[str], t: int) -> tuple[np.ndarray, np.ndarray]:
        """The Beta(a, b) of each category's rate with the persona at t, µs; float64[n] each."""
        return self._beta([CATEGORY_RATES, persona], categories, t)

    def block_rates(self, persona: str, placement: str, ids: Sequence[str], t: int) -> tuple[np.ndarray, np.ndarray]:
        """The Beta(a, b) of each item's rate in the placement, with the persona at t, µs; float64[n] each."""
        return self._beta([BLOCK_RATES, persona, placement], ids, t)

    def _clear(self) -> None:
        self._categories = ThingTables()
        self._items = ThingTables()
        self._rates = ThingTables()
        self._resting: set[str] = set()

    def _put_cross(self, parts: Sequence[str], values: tuple[float, ...]) -> None:
        cross, word, persona, thing = parts
        tables = self._items if cross == ITEM_CROSS else self._categories
        tables.put((cross, word, persona), thing, value_of(cross) * values[0])

    def _put_rate(self, parts: Sequence[str], values: tuple[float, ...]) -> None:
        """Each group is a thing of the group around it."""
        *around, group = parts
        for column, value in zip(_COUNTED, values, strict=False):
            self._rates.put((column, *around), group, value)

    def _beta(self, around: Sequence[str], groups: Sequence[str], t: int) -> tuple[np.ndarray, np.ndarray]:
        """From the outermost group in: each leans on the mean of the one around it."""
        mean: float | None = None
        for depth in range(1, len(around)):
            a, b = self._within(around[:depth], [around[depth]], t, mean)
            mean = float(a[0] / (a[0] + b[0]))
        return self._within(around, groups, t, mean)

    def _within(
        self, around: Sequence[str], groups: Sequence[str], t: int, mean: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        rows, nothing = self._rates.rows(groups), np.zeros(len(groups))
        found = [self._rates.gather((column, *around), rows) for column in _COUNTED]
        successes, trials, last = (nothing if each is None else each for each in found)
        kept = self._shrinkage.kept(np.maximum(t - last, 0.0))
        return self._shrinkage.beta(successes * kept, trials * kept, mean)
