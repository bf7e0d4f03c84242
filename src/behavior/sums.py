"""Slots that add: sums per hop, from which every window is read, and sums since the state began."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from behavior.asked import EVER, Asked, length_of
from behavior.cursor import Cursor, Taken
from behavior.event import Admitted, Event
from behavior.matching import Term, amount_of
from behavior.slot import Form, kinds_of
from behavior.window import hop_of


@dataclass(frozen=True, slots=True)
class Buckets:
    """Sums per hop: enough for every window that shares the hop, up to `keep_us` back.

    A value is a flat list, newest first: [hop index, sum, hops back to the next, its sum, ...].
    """

    holds: ClassVar[Any] = list[int]
    terms: tuple[Term, ...]
    hop_us: int
    keep_us: int
    _always: int | None = field(init=False, repr=False, compare=False)
    _amount: Callable[[Event], int | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_always", _always(self.terms))
        object.__setattr__(self, "_amount", amount_of(self.terms))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it."""
        return kinds_of([term.match for term in self.terms])

    def empty(self) -> list[int]:
        """No hops."""
        return []

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Add the event into the hop of its event time."""
        amount = self._always or self._amount(event.event)
        if amount is None:
            return
        value, hop = values[index], event.e // self.hop_us
        if value and value[0] == hop:  # most events are the newest, and come in stretches
            value[1] += amount
        else:
            _add(value, hop, amount)

    def merge(self, left: list[int], right: list[int]) -> list[int]:
        """Hop by hop sums of two disjoint sets of events."""
        small, large = sorted((left, right), key=len)
        merged = list(large)
        hop = 0
        for place in range(0, len(small), 2):
            hop = small[place] if place == 0 else hop - small[place]
            _add(merged, hop, small[place + 1])
        return merged

    def pack(self, value: list[int], seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """A head that says how many, then per hop the distance back from the one before, and the sum.

        The first distance is that to the newest event; it is left out where it is 0. The head is 0 for nothing, 1 for
        one hop of sum 1 in which the newest event lies (the rest is left out then), else twice the number of hops, and
        1 more where the first distance is left out.
        """
        newest = seen_e // self.hop_us
        if len(value) > 2 or (value and value[0] != newest):
            _prune(value, newest - self.keep_us // self.hop_us)
        if not value:
            numbers.append(0)
        elif value[0] != newest:
            numbers += (len(value), newest - value[0])
            numbers += value[1:]
        elif len(value) == 2 and value[1] == 1:
            numbers.append(1)
        else:
            numbers.append(len(value) | 1)
            numbers += value[1:]

    def unpack(
        self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form
    ) -> tuple[list[int], int]:
        """What `pack` wrote."""
        head, at = numbers[at], at + 1
        if form.is_old:
            value = numbers[at : at + 2 * head]
            return [seen_e // self.hop_us - value[0], *value[1:]] if head else [], at + 2 * head
        if head <= 1:
            return [seen_e // self.hop_us, 1] if head else [], at
        size = head & ~1
        if head & 1:
            return [seen_e // self.hop_us, *numbers[at : at + size - 1]], at + size - 1
        return [seen_e // self.hop_us - numbers[at], *numbers[at + 1 : at + size]], at + size

    def read(self, value: list[int], asked: Asked, t: int) -> int:
        """The sum of the window that ends at instant t, or in how many hops of it there was something."""
        oldest = t // self.hop_us - length_of(asked) // self.hop_us
        if not value or value[0] <= oldest:
            return 0
        hop, summed, hops = value[0], value[1], 1
        for place in range(2, len(value), 2):
            hop -= value[place]
            if hop <= oldest:
                break
            summed += value[place + 1]
            hops += 1
        return hops if asked.hops else summed

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The windows' sums of all rows."""
        heads = cursor.take()
        if not np.count_nonzero(heads):
            return dict.fromkeys(asked, cursor.filled(heads))
        is_first_here = heads & 1  # the first distance is left out: what stands in its place belongs to others
        first = cursor.place - is_first_here
        cursor.place = cursor.place + np.maximum(heads - 2 * is_first_here, 0)
        return cursor.in_windows(self.hop_us, heads, first, 2, asked)


def _always(terms: tuple[Term, ...]) -> int | None:
    """What every event that the slot takes adds, if that is always the same: nothing need be asked of the event."""
    only = terms[0]
    return only.weight if len(terms) == 1 and only.field is None and not only.match.where else None


def _add(value: list[int], hop: int, amount: int) -> None:
    """Add into a hop of a flat list, wherever it stands."""
    if not value:
        value += (hop, amount)
        return
    at, place = value[0], 1
    if hop > at:
        value[:1] = (hop, amount, hop - at)
        return
    while at != hop:
        if place + 1 == len(value):
            value += (at - hop, amount)
            return
        after = at - value[place + 1]
        if after < hop:
            value[place + 1 : place + 2] = (at - hop, amount, hop - after)
            return
        at, place = after, place + 2
    value[place] += amount


def _prune(value: list[int], oldest: int) -> None:
    """Drop the hops up to `oldest`, which no window can reach any more."""
    if len(value) <= 2:
        if value and value[0] <= oldest:
            value.clear()
        return
    last = value[0] - sum(value[2::2])
    while last <= oldest:
        if len(value) == 2:
            value.clear()
            return
        last += value[-2]
        del value[-2:]


@dataclass(frozen=True, slots=True)
class Sum:
    """One sum since the state began."""

    holds: ClassVar[Any] = int
    terms: tuple[Term, ...]
    _amount: Callable[[Event], int | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_amount", amount_of(self.terms))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it."""
        return kinds_of([term.match for term in self.terms])

    def empty(self) -> int:
        """Nothing yet."""
        return 0

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Add the event."""
        values[index] += self._amount(event.event) or 0

    def merge(self, left: int, right: int) -> int:
        """The sum over both sets of events."""
        return left + right

    def pack(self, value: int, seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """The sum."""
        numbers.append(value)

    def unpack(self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form) -> tuple[int, int]:
        """What `pack` wrote."""
        return numbers[at], at + 1

    def read(self, value: int, asked: Asked, t: int) -> int:
        """The sum."""
        return value

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The sums of all rows."""
        return {EVER: cursor.filled(cursor.take())}


def buckets_for(terms: tuple[Term, ...], window_us: int) -> Buckets:
    """The buckets that a window needs."""
    return Buckets(terms, hop_of(window_us), window_us)
