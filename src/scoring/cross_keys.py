"""The crosses of persona × content × context: which there are, in which order they are added, and under which key.

Learner and scorer read this one list. The order is part of what a correction is: float64 sums depend on it.

    category                             of whatever is shown
    item                                 of an item too
    daypart weekday device page placement   the category in that context; left out where the context is not known

What somebody wants hangs less on the context than on who it is: a cross with a word of the context enters with a value
of IN_CONTEXT, all others with 1. So of what is learned from an example most holds in every context.

Learned beside them, and part of no correction, is how much less comes of each position of a placement than of its
first, so that what stood low does not seem worse than it is.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from behavior.context import DAYPARTS, part_of_hour
from behavior.event import DAY_US, HOUR_US, SECOND_US
from behavior.served import ITEM
from scoring.example import Example
from scoring.learners import joined, key_of, parts_of

WEEKDAY_WORDS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYPART_OF_HOUR = tuple(DAYPARTS[part].name for part in part_of_hour().tolist())
CATEGORY_CROSS = "category"
ITEM_CROSS = "item"
POSITION = "position"
# A power of two: products with it are exact.
IN_CONTEXT = 0.5
_ITEMS = key_of(ITEM_CROSS, "")


class Context(msgspec.Struct, frozen=True):
    """The words of the context in which something is shown, in the order of their crosses; empty where not known."""

    daypart: str = ""
    weekday: str = ""
    device: str = ""
    page: str = ""
    placement: str = ""


def local_words(t: int, utc_offset_s: int) -> tuple[str, str]:
    """The part of the day and the weekday at an instant (µs) where clocks are so far ahead of UTC.

    >>> local_words(1_508_040_000_000_000, -4 * 3600)  # Sunday, midnight in New York
    ('night', 'sun')
    """
    local = t + utc_offset_s * SECOND_US
    return _DAYPART_OF_HOUR[local // HOUR_US % 24], WEEKDAY_WORDS[(local // DAY_US + 3) % 7]  # day 0 was a Thursday


@lru_cache(maxsize=4096)
def crosses_of(context: Context, kind: str) -> Sequence[tuple[str, str]]:
    """The name and the context's word of every cross that a thing of the kind takes part in, in their order.

    >>> crosses_of(Context(weekday="mon"), "item")
    (('category', ''), ('item', ''), ('weekday', 'mon'))
    """
    words = [(name, getattr(context, name)) for name in Context.__struct_fields__]
    things = [(CATEGORY_CROSS, "")] + [(ITEM_CROSS, "")] * (kind == ITEM)
    return (*things, *((name, word) for name, word in words if word))


def persona_of(key: str) -> str:
    """The persona of a cross's key."""
    return parts_of(key)[2]


def value_of(cross: str) -> float:
    """The value with which a cross enters: a correction is the sum of value × weight.

    >>> value_of("category"), value_of("daypart")
    (1.0, 0.5)
    """
    return 1.0 if cross in (CATEGORY_CROSS, ITEM_CROSS) else IN_CONTEXT


def cross_features(example: Example) -> dict[str, float]:
    """The crosses that an example takes part in, in their order: key, of name, word, persona and thing, and value.

    The thing is the item in the item's own cross, the category in all others.
    """
    context = Context(example.daypart, example.weekday, example.device, example.page, example.placement)
    category, item = key_of(example.persona, example.category), key_of(example.persona, example.id)
    return {
        joined(cross, item if cross == _ITEMS else category): value
        for cross, value in _values_of(context, example.kind)
    }


def position_features(example: Example) -> dict[str, float]:
    """The position that an example's thing stood at, in its placement and for its persona: key and value.

    The first position has none, others are measured by it: else a correction of all things could as well be one of all
    positions.
    """
    if example.position == 1:
        return {}
    return {key_of(POSITION, str(example.position), example.persona, example.placement): 1.0}


@lru_cache(maxsize=4096)
def _values_of(context: Context, kind: str) -> Sequence[tuple[str, float]]:
    """The keys of the crosses without persona and thing, and their values."""
    return [(key_of(cross, word), value_of(cross)) for cross, word in crosses_of(context, kind)]
