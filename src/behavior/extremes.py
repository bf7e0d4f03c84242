"""Slots that keep one event's time or value: the latest, or the first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from behavior.asked import EVER, Asked
from behavior.column import Column
from behavior.cursor import Cursor, Taken
from behavior.event import Admitted
from behavior.matching import Match
from behavior.slot import Form, kinds_of


@dataclass(frozen=True, slots=True)
class ExtremeTime:
    """The greatest event time of the matching events, or the least."""

    holds: ClassVar[Any] = int | None
    match: Match
    is_first: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it."""
        return kinds_of([self.match])

    def empty(self) -> int | None:
        """Never."""
        return None

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Take the event's time if it is beyond."""
        known, e = values[index], event.e
        is_beyond = known is None or (e < known if self.is_first else e > known)
        if is_beyond and (not self.match.where or self.match.holds(event.event)):
            values[index] = e

    def merge(self, left: int | None, right: int | None) -> int | None:
        """The one beyond."""
        if left is None or right is None:
            return right if left is None else left
        return min(left, right) if self.is_first else max(left, right)

    def pack(self, value: int | None, seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """0 for never, else 1 + how long before the newest event of the state."""
        numbers.append(0 if value is None else 1 + (seen_e - value) // form.unit)

    def unpack(
        self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form
    ) -> tuple[int | None, int]:
        """What `pack` wrote."""
        return None if numbers[at] == 0 else seen_e - (numbers[at] - 1) * form.unit, at + 1

    def read(self, value: int | None, asked: Asked, t: int) -> int | None:
        """The time, µs."""
        return value

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The times of all rows."""
        distance = cursor.take()
        return {EVER: Column(cursor.seen_e - (distance - 1) * cursor.unit, distance != 0)}


# (e, k, message id, value); the id is empty where a stored state needs none.
Said = tuple[int, int, str, int | str]


@dataclass(frozen=True, slots=True)
class ExtremeValue:
    """The value that the latest matching event carried, or the first: by (e, k, message id) among those that say it."""

    holds: ClassVar[Any] = Said | None
    match: Match
    field: str
    is_text: bool
    is_first: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it."""
        return kinds_of([self.match])

    def empty(self) -> Said | None:
        """None yet."""
        return None

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Take the event's value if the event is beyond."""
        value = getattr(event.event, self.field)
        if value is not None and (not self.match.where or self.match.holds(event.event)):
            values[index] = self.merge(values[index], (event.e, event.k, event.event.message_id, value))

    def merge(self, left: Said | None, right: Said | None) -> Said | None:
        """The one beyond."""
        if left is None or right is None:
            return right if left is None else left
        return right if (right[:3] < left[:3] if self.is_first else right[:3] > left[:3]) else left

    def pack(self, value: Said | None, seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """0 for none, else 1 + its age, k - e, and the value (texts go to the texts)."""
        if value is None:
            numbers.append(0)
            return
        e, k, message_id, said = value
        numbers += (1 + seen_e - e, k - e)
        if form.ids:
            texts.append(message_id)
        if self.is_text:
            texts.append(str(said))
        else:
            numbers.append(int(said))

    def unpack(
        self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form
    ) -> tuple[Said | None, int]:
        """What `pack` wrote."""
        if numbers[at] == 0:
            return None, at + 1
        e = seen_e + 1 - numbers[at]
        k = e + numbers[at + 1]
        message_id = next(texts) if form.ids else ""
        if self.is_text:
            return (e, k, message_id, next(texts)), at + 2
        return (e, k, message_id, numbers[at + 2]), at + 3

    def read(self, value: Said | None, asked: Asked, t: int) -> int | str | None:
        """The value."""
        return None if value is None else value[3]

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The values of all rows."""
        valid = cursor.take() != 0
        cursor.place = cursor.place + valid  # k - e
        if not self.is_text:
            # Behind the last number of the last row there is nothing to read, nor is it needed.
            values = cursor.numbers[np.minimum(cursor.place, len(cursor.numbers) - 1)]
            cursor.place = cursor.place + valid
            if form.ids:
                for row in np.flatnonzero(valid).tolist():
                    cursor.take_texts(row, 1)
            return {EVER: Column(values, valid)}
        texts = np.full(len(t), None, dtype=object)
        for row in np.flatnonzero(valid).tolist():
            texts[row] = cursor.take_texts(row, 2 if form.ids else 1)[-1]
        return {EVER: Column(texts, valid)}
