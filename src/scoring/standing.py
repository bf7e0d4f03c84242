"""How categories and items stand with everybody: what one snapshot says of them, worked out once and then looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from behavior.lifts import CROWD_PRIOR, shares
from behavior.places import places_in
from behavior.served import CATEGORY, ITEM
from deployment.snapshot import Snapshot
from scoring.signals import signals_of, view_of

# So many of the most bought are kept at hand.
POPULAR = 1000
UNKNOWN_ITEM, UNKNOWN_CATEGORY = "unknown_item", "unknown_category"
# By whether the item and the category are known.
_MARKS: Mapping[tuple[bool, bool], tuple[str, ...]] = {
    (True, True): (),
    (True, False): (UNKNOWN_CATEGORY,),
    (False, True): (UNKNOWN_ITEM,),
    (False, False): (UNKNOWN_ITEM, UNKNOWN_CATEGORY),
}
_nobody: partial[np.ndarray] = partial(np.zeros, 1)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a snapshot says of C categories and I items; of each array the last row stands for all that are unknown.

    popular          {kind: at most POPULAR ids, those with most purchases in 30 days first, ties by id}
    category_rows    {category: row}
    category_shares  float64[C + 1], each category's smoothed share of everybody's purchases, above 0
    items_within     int64[C + 1], how many items each category has
    item_rows        {item: row}
    item_counts      float64[I + 1], how often each was bought
    item_categories  the category of each item, I + 1, empty where nobody said it
    bought           how often any item was bought
    knows            the kinds of which the snapshot has a view at all
    """

    popular: Mapping[str, Sequence[str]] = field(default_factory=dict)
    category_rows: Mapping[str, int] = field(default_factory=dict)
    category_shares: np.ndarray = field(default_factory=partial(np.ones, 1))
    items_within: np.ndarray = field(default_factory=partial(np.zeros, 1, np.int64))
    item_rows: Mapping[str, int] = field(default_factory=dict)
    item_counts: np.ndarray = field(default_factory=_nobody)
    item_categories: Sequence[str] = ("",)
    bought: float = 0.0
    knows: frozenset[str] = frozenset()

    def category_of(self, item: str) -> str:
        """The category of an item; empty if nobody said it."""
        return self.item_categories[self.item_rows.get(item, -1)]

    def shares_of(self, categories: Sequence[str]) -> np.ndarray:
        """Everybody's smoothed share of each category, float64[n], above 0; of an unknown one a small share."""
        found: np.ndarray = self.category_shares[places_in(self.category_rows, categories)]
        return found

    def popularity(self, kind: str, ids: Sequence[str], categories: Sequence[str]) -> np.ndarray:
        """How much more than the average of its kind each is bought, float64[n], in logits.

        The rate of an item is smoothed towards the items of its category, and that of a category towards all: an item
        that nobody has bought yet is as popular as its category lets one expect.
        """
        among = self.shares_of(categories)
        if kind == CATEGORY:
            over_average = among * len(self.category_shares)
        else:
            siblings = np.maximum(self.items_within[places_in(self.category_rows, categories)], 1)
            counts = self.item_counts[places_in(self.item_rows, ids)]
            over_average = shares(counts, among / siblings, self.bought, CROWD_PRIOR) * len(self.item_counts)
        lifted: np.ndarray = np.log(over_average)
        return lifted

    def marks(self, kind: str, ids: Sequence[str], categories: Sequence[str]) -> list[tuple[str, ...]]:
        """What nothing is known of, of each of n things; nothing of kinds that no view is about."""
        any_item, any_category = kind != ITEM or ITEM not in self.knows, CATEGORY not in self.knows
        return [
            _MARKS[any_item or thing in self.item_rows, any_category or category in self.category_rows]
            for thing, category in zip(ids, categories, strict=True)
        ]


def standing_of(snapshot: Snapshot) -> Standing:
    """What the snapshot says; takes some milliseconds per 100,000 items."""
    signals = signals_of(snapshot.plan)
    category_rows, counts = _counts(snapshot, signals.category_count, _entities(snapshot, CATEGORY))
    item_rows, item_counts = _counts(snapshot, signals.item_count, _entities(snapshot, ITEM))
    item_categories = _item_categories(snapshot, signals.item_category, list(item_rows))
    return Standing(
        popular={CATEGORY: _most(category_rows, counts), ITEM: _most(item_rows, item_counts)},
        category_rows=category_rows,
        category_shares=shares(counts, 1 / len(counts), float(counts.sum()), CROWD_PRIOR),
        items_within=np.bincount(places_in(category_rows, item_categories[:-1]), minlength=len(counts)),
        item_rows=item_rows,
        item_counts=item_counts,
        item_categories=item_categories,
        bought=float(item_counts.sum()),
        knows=frozenset(kind for kind in (CATEGORY, ITEM) if snapshot.plan.of_entity(kind)),
    )


def _entities(snapshot: Snapshot, kind: str) -> str | None:
    """The view that says which entities there are, if no signal names one."""
    return next((view.name for view in snapshot.plan.of_entity(kind)), None)


def _counts(snapshot: Snapshot, ref: str | None, view: str | None) -> tuple[Mapping[str, int], np.ndarray]:
    """The rows of a view's entities, and their counts with one 0 more at the end; zeros if no feature counts them."""
    name = view_of(ref) if ref else view
    if name is None or name not in snapshot.views:
        return {}, _nobody()
    known = snapshot.views[name]
    if ref is None:
        return known.index, np.zeros(len(known.index) + 1)
    column = snapshot.lookup(name, list(known.index))[ref]
    return known.index, np.append(np.where(column.valid, column.values, 0).astype(np.float64), 0.0)


def _item_categories(snapshot: Snapshot, ref: str | None, items: Sequence[str]) -> list[str]:
    if ref is None:
        return [""] * (len(items) + 1)
    column = snapshot.lookup(view_of(ref), items)[ref]
    known = zip(column.values.tolist(), column.valid.tolist(), strict=True)
    return [*(category if there else "" for category, there in known), ""]


def _most(rows: Mapping[str, int], counts: np.ndarray) -> tuple[str, ...]:
    """The POPULAR ids that were bought most, most first, ties by id; none that was not bought."""
    floor = max(1.0, np.partition(counts, -POPULAR)[-POPULAR] if len(counts) > POPULAR else 1.0)
    bought = counts[:-1] >= floor
    found = [
        (-count, each) for each, count, is_in in zip(rows, counts.tolist(), bought.tolist(), strict=False) if is_in
    ]
    return tuple(each for _, each in sorted(found)[:POPULAR])
