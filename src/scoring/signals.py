"""Which features of a plan the factors and candidates are made from: found by what they compute, not by their names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from behavior.aggregation import Aggregation
from behavior.plan import Plan

# The windows in which purchases are counted, the first that a plan has.
WINDOWS = ("30d", "90d", "7d", None)
LIKE, DISLIKE = "like", "dislike"
# What a view must have for each signal that a factor is made from.
MADE_BY = {
    "pair_count": 'count("purchase", over=W) of a user in a category',
    "user_count": 'count("purchase", over=W) of a user, W the same',
    "pair_ages": "age(...) of a user in a category",
    "likes": 'count("like") of a user in a category',
    "dislikes": 'count("dislike") of a user in a category',
    "recent": "recent(...) of a user",
}


@dataclass(frozen=True, slots=True, eq=False)  # told apart as objects: one per plan
class Signals:
    """References of features by what they say; None, or empty, where the plan has no such feature.

    pair_count, user_count   how often the user bought within a category, and over all, in the same window
    pair_ages                how long ago the user last did something within a category
    taste                    what the user's own categories are ordered by: an affinity, else `pair_count`
    likes, dislikes          how often the user said so within a category
    recent                   the user's latest events
    category_count           how often everybody bought of a category, in 30 days
    item_count               how often everybody bought an item, in 30 days
    item_category            the category that the latest event about an item said
    """

    pair_count: str | None = None
    user_count: str | None = None
    pair_ages: tuple[str, ...] = ()
    taste: str | None = None
    likes: str | None = None
    dislikes: str | None = None
    recent: str | None = None
    category_count: str | None = None
    item_count: str | None = None
    item_category: str | None = None

    def refs(self, name: str) -> tuple[str, ...]:
        """The references that a field of this holds."""
        found: str | tuple[str, ...] | None = getattr(self, name)
        return (found,) if isinstance(found, str) else found or ()


@lru_cache(maxsize=8)  # a plan is one object per generation
def signals_of(plan: Plan) -> Signals:
    """The signals of a plan."""
    pair_count, user_count = _counted_alike(plan)
    affinity = _first(plan, "user_category", lambda spec: spec.kind == "affinity")
    own_counts = (_counted(plan, "user_category", window) for window in WINDOWS)
    return Signals(
        pair_count=pair_count,
        user_count=user_count,
        pair_ages=tuple(_all(plan, "user_category", lambda spec: spec.kind == "age" and spec.since is None)),
        taste=affinity or next(filter(None, own_counts), None),
        likes=_first(plan, "user_category", lambda spec: _is_count(spec, LIKE)),
        dislikes=_first(plan, "user_category", lambda spec: _is_count(spec, DISLIKE)),
        recent=_first(plan, "user", lambda spec: spec.kind == "recent"),
        category_count=_counted(plan, "category", "30d"),
        item_count=_counted(plan, "item", "30d"),
        item_category=_first(plan, "item", lambda spec: (spec.kind, spec.field) == ("last", "category")),
    )


def view_of(ref: str) -> str:
    """The name of the view that a reference's feature is in.

    >>> view_of("user_activity:purchase_count_7d")
    'user_activity'
    """
    return ref.partition(":")[0]


def _counted_alike(plan: Plan) -> tuple[str, str] | tuple[None, None]:
    """Purchases within a category and over all, counted in the same window: only then does their ratio say anything."""
    for window in WINDOWS:
        pair, user = _counted(plan, "user_category", window), _counted(plan, "user", window)
        if pair and user:
            return pair, user
    return None, None


def _counted(plan: Plan, entity: str, window: str | None) -> str | None:
    return _first(plan, entity, lambda spec: _is_count(spec, "purchase") and spec.over == window)


def _is_count(spec: Aggregation, event: str) -> bool:
    return (spec.kind, spec.event, spec.where) == ("count", event, None)


def _first(plan: Plan, entity: str, fits: Callable[[Aggregation], bool]) -> str | None:
    return next(_all(plan, entity, fits), None)


def _all(plan: Plan, entity: str, fits: Callable[[Aggregation], bool]) -> Iterator[str]:
    return (feature.ref for view in plan.of_entity(entity) for feature in view.features if fits(feature.aggregation))
