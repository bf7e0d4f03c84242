"""Answers whose outcomes are being waited for, and what came in before its answer: plain data, as it is stored.

There are very many at a time, and none of them is part of a cycle: Python's collector, which would stop everything
while it walks over them, does not see them, nor tuples of them.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from behavior.event import Admitted
from behavior.served import ITEM, Served, Shown
from scoring.cross_keys import local_words
from scoring.example import Example


class Reaction(msgspec.Struct, array_like=True, gc=False):
    """An outcome or an impression: what a user did with something that was shown.

    request_id  the answer that it names; None if it names none
    e, k        its event time and admission instant, µs
    is_taken    whether something that was shown has been credited with it
    """

    user_id: str
    kind: str
    request_id: str | None
    item: str | None
    category: str | None
    e: int
    k: int
    is_taken: bool = False

    @property
    def waits_for(self) -> tuple[str | None, str]:
        """The answer that it names, else any of its user: what it is found by when that is logged after it."""
        return (None, self.user_id) if self.request_id is None else (self.request_id, "")

    @classmethod
    def of(cls, event: Admitted) -> "Reaction":
        """The event as a reaction."""
        said = event.event
        return cls(said.user_id, said.kind, said.request_id, said.item, said.category, event.e, event.k)


class Position(msgspec.Struct, array_like=True, gc=False):
    """A thing as it was shown, and what has come of it.

    number     where it stood, from 1
    margin     what the model believed, in logits
    is_seen    whether an impression said so
    is_tried   whether it has had an example
    earned     the greatest reward of its outcomes so far
    outcomes   their kinds, each once, late ones included
    """

    number: int
    kind: str
    id: str
    category: str
    margin: float
    is_seen: bool = False
    is_tried: bool = False
    earned: float = 0.0
    outcomes: tuple[str, ...] = ()

    def is_of(self, reaction: Reaction) -> bool:
        """Whether the reaction is about this: a category by its category, an item by its item."""
        return self.id == (reaction.item if self.kind == ITEM else reaction.category)


class Pending(msgspec.Struct, array_like=True, gc=False):
    """An answer whose outcomes are being waited for; `is_open` until its negatives have been given.

    The words of its context are those of `Example`.
    """

    request_id: str
    user_id: str
    as_of: int
    persona: str
    placement: str
    daypart: str
    weekday: str
    device: str
    page: str
    positions: tuple[Position, ...]
    is_open: bool = True

    @classmethod
    def of(cls, served: Served) -> "Pending":
        """The answer with all that it showed, in the order of positions."""
        basis = served.basis
        daypart, weekday = ("", "") if basis is None else local_words(served.as_of, basis.utc_offset_s)
        return cls(
            served.request_id, served.user_id, served.as_of, served.persona, served.placement or "", daypart, weekday,
            "" if basis is None else basis.device, "" if basis is None else basis.page, tuple(_positions(served)),
        )  # fmt: skip

    @classmethod
    def bare(cls, served: Served) -> "Pending":
        """The answer by its name only: another shard waits for its outcomes."""
        return cls(served.request_id, served.user_id, served.as_of, served.persona, "", "", "", "", "", ())

    def order(self) -> tuple[int, str]:
        """By what answers are ordered: when they were given, and their name."""
        return self.as_of, self.request_id

    def reached_by(self, reaction: Reaction) -> list[Position]:
        """What the reaction is about, if it is about any of this."""
        return [each for each in self.positions if each.is_of(reaction)]

    def example(self, position: Position, t: int, outcome: str, reward: float, label: bool | None) -> Example:
        """What came of a position; with its first example it has been tried."""
        is_trial, position.is_tried = not position.is_tried, True
        return Example(
            self.request_id, self.user_id, self.persona, self.placement, position.number, position.kind, position.id,
            position.category, self.daypart, self.weekday, self.device, self.page, t, position.margin, outcome, reward,
            is_trial, label,
        )  # fmt: skip


class Place(msgspec.Struct, array_like=True):
    """How far a partition has been read, how far its time has come, and reactions whose answer may still come."""

    offset: int = 0
    watermark: int = 0
    recent: list[Reaction] = []


def _positions(served: Served) -> Iterator[Position]:
    margins = np.array([each.margin for each in served.shown], dtype=np.float64)
    if served.calibration is not None:
        margins = served.calibration.margins(margins)
    for place, (shown, margin) in enumerate(zip(served.shown, margins.tolist(), strict=True)):
        yield Position(place + 1, shown.kind, shown.id, _category(served, place, shown), margin)


def _category(served: Served, place: int, shown: Shown) -> str:
    if shown.kind != ITEM:
        return shown.id
    return served.categories[place] if served.categories else ""
