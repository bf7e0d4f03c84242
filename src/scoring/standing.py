"""How categories and items stand with everybody: what one snapshot says of them, worked out once and then looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import nsmallest

import numpy as np

from behavior.column import Column
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
    item_said        intp[I + 1], the row of the category that was said of each item, also where that is too long ago
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
    item_said: np.ndarray = field(default_factory=partial(np.zeros, 1, np.intp))
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


@dataclass(frozen=True, slots=True)
class _Entities:
    """What a view of the snapshot knows of one kind; see `SnapshotView`."""

    view: str = ""
    index: Mapping[str, int] = field(default_factory=dict)
    ids: Sequence[str] = ()
    changed: np.ndarray | None = None


def standing_of(snapshot: Snapshot, before: Standing | None = None) -> Standing:
    """What the snapshot says; `before` is what was said by the one that it was brought up from.

    Numpy walks over all items, Python over those that have changed: over all if the snapshot was read whole.
    """
    signals = signals_of(snapshot.plan)
    categories = _entities(snapshot, signals.category_count, CATEGORY)
    items = _entities(snapshot, signals.item_count, ITEM)
    counts = _counts(snapshot, signals.category_count, categories)
    item_counts = _counts(snapshot, signals.item_count, items)
    told, changed = _told(snapshot, signals.item_category, items)
    said = _said(told, changed, categories.index, before)
    within = np.where(told.valid, said, len(categories.ids))
    return Standing(
        popular={CATEGORY: _most(categories.ids, counts), ITEM: _most(items.ids, item_counts)},
        category_rows=categories.index,
        category_shares=shares(counts, 1 / len(counts), float(counts.sum()), CROWD_PRIOR),
        items_within=np.bincount(within[:-1], minlength=len(counts)),
        item_rows=items.index,
        item_counts=item_counts,
        item_categories=np.where(told.valid, told.values, "").tolist(),
        item_said=said,
        bought=float(item_counts.sum()),
        knows=frozenset(kind for kind in (CATEGORY, ITEM) if snapshot.plan.of_entity(kind)),
    )


def _entities(snapshot: Snapshot, ref: str | None, kind: str) -> _Entities:
    """Those of the view that counts them, or of the first one that there is."""
    first = next((view.name for view in snapshot.plan.of_entity(kind)), "")
    name = view_of(ref) if ref else first
    part = snapshot.views.get(name)
    return _Entities() if part is None else _Entities(name, part.index, part.ids, part.changed)


def _counts(snapshot: Snapshot, ref: str | None, entities: _Entities) -> np.ndarray:
    """How often each was bought, and one 0 more at the end; zeros if no feature counts it."""
    if ref is None or not entities.view:
        return np.zeros(len(entities.ids) + 1)
    column = snapshot.column(entities.view, ref)
    return np.where(column.valid, column.values, 0).astype(np.float64)


def _told(snapshot: Snapshot, ref: str | None, items: _Entities) -> tuple[Column, np.ndarray | None]:
    """The category of each item where it still holds, and one row more that is not there; which rows have changed."""
    if ref is None:
        return Column(np.full(len(items.ids) + 1, None), np.zeros(len(items.ids) + 1, dtype=bool)), items.changed
    if view_of(ref) == items.view:
        return snapshot.column(items.view, ref), items.changed
    return snapshot.lookup(view_of(ref), items.ids)[ref].and_missing(), None


def _said(
    told: Column, changed: np.ndarray | None, categories: Mapping[str, int], before: Standing | None
) -> np.ndarray:
    """The row of the category that was said of each item, intp[I + 1]; that of an unknown one is behind the last.

    It stays what it was unless the item has changed, or its category was unknown and new ones have come.
    """
    if before is None or changed is None:
        return places_in(categories, told.values.tolist())
    unknown = len(before.category_rows)
    said = np.full(len(told), len(categories), dtype=np.intp)
    said[: len(before.item_said)] = before.item_said
    if len(categories) > unknown:
        changed = np.union1d(changed, np.flatnonzero(said == unknown))
    said[changed] = places_in(categories, told.values[changed].tolist())
    return said


def _most(ids: Sequence[str], counts: np.ndarray) -> tuple[str, ...]:
    """The POPULAR ids that were bought most, most first, ties by id; none that was not bought."""
    floor = max(1.0, np.partition(counts, -POPULAR)[-POPULAR] if len(counts) > POPULAR else 1.0)
    above = sorted((-counts[row], ids[row]) for row in np.flatnonzero(counts > floor).tolist())
    equal = nsmallest(POPULAR - len(above), (ids[row] for row in np.flatnonzero(counts == floor).tolist()))
    return (*(each for _, each in above), *equal)
