"""Slots that keep members: which values there were, and which events came last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import itemgetter, sub
from typing import Any, ClassVar

import numpy as np

from behavior.asked import EVER, Asked
from behavior.cursor import Cursor, Taken
from behavior.event import Admitted, Event
from behavior.matching import Match
from behavior.predicate import text_of, text_sql
from behavior.slot import Form, kinds_of


@dataclass(frozen=True, slots=True)
class Distinct:
    """Which values a text field had, and the last hop of each; without a window (`hop_us` 0) only which.

    At most `cap` values are kept: those with the latest hops (ties: the smaller text), so that whatever order they
    came in, min(how many there are in a window, cap) can be told.
    """

    holds: ClassVar[Any] = dict[str, int]
    match: Match
    field: str
    hop_us: int
    keep_us: int
    cap: int

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it."""
        return kinds_of([self.match])

    def value(self, event: Event) -> str | None:
        """What is counted: the field, or the user."""
        return event.user_id if self.field == "user" else text_of(event, self.field)

    @property
    def value_sql(self) -> str:
        """What is counted of an archived event, as SQL; NULL if it says nothing."""
        return "user_id" if self.field == "user" else text_sql(self.field)

    def empty(self) -> dict[str, int]:
        """No values."""
        return {}

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Note the value's hop if it is later."""
        found = self.value(event.event)
        if found is not None and (not self.match.where or self.match.holds(event.event)):
            hop = event.e // self.hop_us if self.hop_us else 0
            known = values[index]
            if hop > known.get(found, -1):
                known[found] = hop
            if len(known) > 2 * self.cap:
                values[index] = {each: known[each] for each in self._latest(known)}

    def merge(self, left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
        """Each value with its later hop."""
        merged = dict(left)
        for value, hop in right.items():
            merged[value] = max(hop, merged.get(value, hop))
        return merged

    def _latest(self, known: dict[str, int]) -> list[str]:
        """The `cap` values with the latest hops, those first; of one hop the smaller text first."""
        # Sorting is stable: twice without making keys is faster than once with.
        return sorted(sorted(known), key=known.__getitem__, reverse=True)[: self.cap]

    def pack(self, value: dict[str, int], seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """Their number, then per value the hops back from the one before; the values are texts in the same order."""
        newest = seen_e // self.hop_us if self.hop_us else 0
        if self.hop_us:
            oldest = newest - self.keep_us // self.hop_us
            if min(value.values(), default=newest) <= oldest:
                for gone in [each for each, hop in value.items() if hop <= oldest]:
                    del value[gone]
        latest = self._latest(value)
        hops = [value[each] for each in latest]
        numbers.append(len(hops))
        numbers += map(sub, (newest, *hops), hops)
        texts += latest

    def unpack(
        self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form
    ) -> tuple[dict[str, int], int]:
        """What `pack` wrote."""
        newest = seen_e // self.hop_us if self.hop_us else 0
        end = at + 1 + numbers[at]
        hops = islice(accumulate(numbers[at + 1 : end], sub, initial=newest), 1, None)
        return dict(zip(islice(texts, numbers[at]), hops, strict=True)), end

    def read(self, value: dict[str, int], asked: Asked, t: int) -> int:
        """How many values the window holds, at most `cap`."""
        if asked.over_us is None:
            return min(len(value), self.cap)
        oldest = t // self.hop_us - asked.over_us // self.hop_us
        return min(sum(hop > oldest for hop in value.values()), self.cap)

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The counts of all rows."""
        lengths = cursor.take()
        if not np.count_nonzero(lengths):
            return dict.fromkeys(asked, cursor.filled(lengths))
        first = cursor.place
        cursor.place = cursor.place + lengths
        for row, length in enumerate(lengths.tolist()):
            cursor.take_texts(row, length)
        if not self.hop_us:
            return {EVER: cursor.filled(lengths)}
        return cursor.in_windows(self.hop_us, 2 * lengths, first, 1, asked)


# (k, message id, kind, e, item), the greatest first.
Happened = tuple[int, str, str, int, str]
# Nothing but (k, message id) orders them: what a stored state has no ids of any more stays in the order it was in.
_order = itemgetter(0, 1)


@dataclass(frozen=True, slots=True)
class Recent:
    """The K matching events that the log took last, by (k, message id), newest first."""

    holds: ClassVar[Any] = list[Happened]
    events: tuple[str, ...]
    size: int

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it."""
        return frozenset(self.events)

    def empty(self) -> list[Happened]:
        """Nothing yet."""
        return []

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Let the event join, and drop what is beyond K."""
        said = event.event
        joined = (event.k, said.message_id, said.kind, event.e, said.item or "")
        known = values[index]
        if not known or joined > known[0]:
            known.insert(0, joined)
        elif len(known) < self.size or joined > known[-1]:
            known.append(joined)
            known.sort(key=_order, reverse=True)
        del known[self.size :]

    def merge(self, left: list[Happened], right: list[Happened]) -> list[Happened]:
        """The K latest of both."""
        return sorted(left + right, key=_order, reverse=True)[: self.size]

    def pack(self, value: list[Happened], seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """Their number, then of each the time before the one before, k - e and the kind; items (and ids) are texts."""
        numbers.append(len(value))
        before = seen_e
        for k, message_id, kind, e, item in value:
            numbers += (before - k, k - e, self.events.index(kind))
            texts.append(item)
            if form.ids:
                texts.append(message_id)
            before = k

    def unpack(
        self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form
    ) -> tuple[list[Happened], int]:
        """What `pack` wrote."""
        end = at + 1 + 3 * numbers[at]
        value, k = [], seen_e
        for place in range(at + 1, end, 3):
            k -= numbers[place]
            item = next(texts)
            message_id = next(texts) if form.ids else ""
            value.append((k, message_id, self.events[numbers[place + 2]], k - numbers[place + 1], item))
        return value, end

    def read(self, value: list[Happened], asked: Asked, t: int) -> list[str]:
        """Each as `<kind>|<event time in µs>|<item>`."""
        return [f"{kind}|{e}|{item}" for _, _, kind, e, item in value]

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The lists of all rows."""
        lengths = cursor.take()
        found = np.empty(len(t), dtype=object)
        for row, length in enumerate(lengths.tolist()):
            place = int(cursor.place[row]) - 1
            numbers = cursor.numbers[place : place + 1 + 3 * length].tolist()
            texts = iter(cursor.take_texts(row, length * (2 if form.ids else 1)))
            value, _ = self.unpack(numbers, 0, int(cursor.seen_e[row]), texts, form)
            found[row] = self.read(value, EVER, 0)
        cursor.place = cursor.place + 3 * lengths
        return {EVER: cursor.filled(found)}
