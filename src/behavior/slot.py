"""What a state is made of: slots, each a commutative sum or extreme over events.

    slot           holds                                            an event             two states
    Buckets        the sum per hop, newest first                    adds into its hop    add hop by hop
    Sum            one sum since the state began                    adds                 add
    ExtremeTime    the greatest (or least) event time               takes it if beyond   take the one beyond
    ExtremeValue   the value of the greatest (least) (e, k, id)     takes it if beyond   take the one beyond
    Distinct       value -> the last hop that it was seen in        takes the later hop  take the later hop
    Recent         the K greatest (k, id), with kind, item, e       joins, K stay        join, K stay

All are integers (or ids), so any order of folding and any split and merge give the same state. Several features share
a slot: windows with the same hop read the same buckets.

Each slot packs itself into whole numbers and texts, and is read back in two ways: `unpack` for one state that is going
to be folded on, `take` for many states at once that are only asked (see `cursor`). What it computes offline is derived
from the same definition: `sql` of its terms and matches. The rooms: `sums`, `extremes`, `members`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from behavior.asked import Asked
from behavior.cursor import Cursor, Taken
from behavior.event import Admitted
from behavior.matching import Match


class Form(NamedTuple):
    """How a state is written.

    ids      whether message ids that decide between equal times are kept
    unit     what times are counted in, µs: the greatest of a second, a millisecond and 1 that all of them are whole in
    is_old   whether it is of format 1, in which every run begins with its plain length and first distance
    """

    ids: bool
    unit: int = 1
    is_old: bool = False


class Slot(Protocol):
    """What every slot can do.

    holds    the type of its values: numbers, texts, and lists, tuples and dicts of them
    """

    holds: ClassVar[Any]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of events that may change it, `*` for any."""

    def empty(self) -> Any:
        """Before any event."""

    def update(self, values: list[Any], index: int, event: Admitted) -> None:
        """Take an event of one of its kinds into `values[index]`."""

    def merge(self, left: Any, right: Any) -> Any:
        """Both of two disjoint sets of events; may return one of the two, which is not changed."""

    def pack(self, value: Any, seen_e: int, numbers: list[int], texts: list[str], form: Form) -> None:
        """Append the value, pruned (in place) of what nothing can reach once time is at `seen_e` (µs)."""

    def unpack(self, numbers: list[int], at: int, seen_e: int, texts: Iterator[str], form: Form) -> tuple[Any, int]:
        """The value that was packed at numbers[at:], and where the next one begins."""

    def read(self, value: Any, asked: Asked, t: int) -> Any:
        """The raw value at instant t: an int, a text, a list of texts, or None."""

    def take(self, cursor: Cursor, asked: Sequence[Asked], t: np.ndarray, form: Form) -> Taken:
        """The raw values of all rows at their instants."""


def kinds_of(matches: Sequence[Match]) -> frozenset[str]:
    """The kinds of events that the matches name."""
    return frozenset(match.kind for match in matches)
