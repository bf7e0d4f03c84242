"""What compiled code is told of a view: its slots, and its features' final values, as whole numbers.

    of a slot       what it holds | its hop, µs (0 without) | how many columns it answers | per column three numbers
    of a column     its place | of a window the length in hops (0 without) | 1 if hops are counted, not added up
    of a feature    how it is made | how many numbers follow | these: places of its raw columns, and what else it takes

Places of whole numbers are those of a row of `snapshot_rows`, in which `seen_e` stands first; those of texts count the
view's textual columns.
"""

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache

import numpy as np

from behavior.asked import Asked
from behavior.errors import BadInput
from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.members import Distinct, Recent
from behavior.plan import Feature, Raw, View
from behavior.slot import Slot
from behavior.sums import Buckets, Sum


class Take(IntEnum):
    """How a slot's numbers are taken from a stored state."""

    SUM = 0
    BUCKETS = 1
    TIME = 2
    NUMBER = 3
    TEXT = 4
    DISTINCT = 5
    RECENT = 6


class Finish(IntEnum):
    """How a feature's final value is made from its raw ones; see `kinds`."""

    SAME = 0
    FLAG = 1
    AGE = 2
    MEAN = 3
    RATE = 4
    AFFINITY = 5


_FINISHES = {
    "ever": Finish.FLAG,
    "age": Finish.AGE,
    "mean": Finish.MEAN,
    "rate": Finish.RATE,
    "affinity": Finish.AFFINITY,
}


@lru_cache(maxsize=256)
def takes_of(view: View) -> np.ndarray:
    """How a stored state of the view is read, int64, slot by slot."""
    numbers: list[int] = []
    for place, slot in enumerate(view.slots):
        hop_us = slot.hop_us if isinstance(slot, Buckets | Distinct) else 0
        answered = [raw for raw in view.raws if raw.place == place]
        numbers += (_take(slot), hop_us, len(answered))
        for raw in answered:
            numbers += (_place(view, raw), *_window(raw.asked, hop_us))
    return np.array(numbers, dtype=np.int64)


@lru_cache(maxsize=256)
def finishes_of(view: View, refs: tuple[str, ...]) -> np.ndarray:
    """How the final values of numeric features are made, int64, one feature after the other.

    Raises BadInput for a feature that is a text.
    """
    numbers: list[int] = []
    for ref in refs:
        feature = view.by_reference[ref]
        if any(name not in view.whole_numbers for name in feature.raws):
            raise BadInput(f"the model takes {ref} as a number, and it is a text; train again")
        arguments = list(_arguments(view, feature))
        numbers += (_FINISHES.get(feature.kind.name, Finish.SAME), len(arguments), *arguments)
    return np.array(numbers, dtype=np.int64)


def _take(slot: Slot) -> Take:
    if isinstance(slot, ExtremeValue):
        return Take.TEXT if slot.is_text else Take.NUMBER
    return {
        Sum: Take.SUM,
        Buckets: Take.BUCKETS,
        ExtremeTime: Take.TIME,
        Distinct: Take.DISTINCT,
        Recent: Take.RECENT,
    }[type(slot)]


def _place(view: View, raw: Raw) -> int:
    return 1 + view.whole_numbers[raw.name] if raw.name in view.whole_numbers else view.textual.index(raw.name)


def _window(asked: Asked, hop_us: int) -> tuple[int, int]:
    return ((asked.over_us or 0) // hop_us if hop_us else 0), int(asked.hops)


def _arguments(view: View, feature: Feature) -> Iterator[int]:
    """The places of its raw columns; behind them a rate's prior, and behind each of an affinity's its weight."""
    spec = feature.aggregation
    for number, name in enumerate(feature.raws):
        yield 1 + view.whole_numbers[name]
        if spec.weights:
            yield spec.weights[number][1]
    yield from spec.prior or ()
