"""What was shown, joined with what came of it: labelled examples in the order of the log.

    served entry ──▶ pending ──┬─ purchase of a shown category, as_of <= e < as_of + window ─▶ positive, at once
                               └─ watermark reaches as_of + window ────────────────────────▶ negative

Each (served entry, category) is labelled once. The watermark is the admission instant up to which the partition has
been read, or the clock where nothing comes in. A purchase in the window that is admitted after the negative was given
is counted as late, not unlearned. Pure: no clock, no I/O; everything that a restart needs is in `PartitionJoin`.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

import msgspec

from behavior.event import MINUTE_US, PERSONALIZATION, Admitted
from behavior.served import CATEGORY, Served
from scoring.example import Example

# A served entry is appended after its answer: an outcome may stand before it in the log, by this much at most.
_REORDER_US = MINUTE_US

WAITING, BOUGHT, EXPIRED, LATE = range(4)


class ShownCategory(msgspec.Struct, array_like=True):
    """A category as it was shown, and what became of it: WAITING, BOUGHT, EXPIRED or LATE."""

    category: str
    margin: float
    fate: int = WAITING


class Pending(msgspec.Struct, array_like=True):
    """A served entry whose outcomes are being waited for; `is_open` until its negatives have been given."""

    request_id: str
    user_id: str
    as_of: int
    shown: list[ShownCategory]
    is_open: bool = True
    persona: str = ""


class Purchase(msgspec.Struct, frozen=True, array_like=True):
    """A purchase that a served entry which is still to come may have led to."""

    user_id: str
    category: str
    e: int
    k: int


class Place(msgspec.Struct, array_like=True):
    """How far a partition has been read, how far its time has come, and its latest purchases."""

    offset: int = 0
    watermark: int = 0
    recent: list[Purchase] = []


class PartitionJoin:
    """The join of one partition.

    window_us    how long after it was shown a purchase counts as an outcome
    horizon_us   how late an event can be admitted: pending entries are kept that much longer, to count late outcomes
    mine         whose entries are kept, by the persona that they were shown as
    changed      request ids whose pending entry differs from what was last committed; gone if not in `pending`
    """

    def __init__(
        self,
        window_us: int,
        horizon_us: int,
        place: Place | None = None,
        mine: Callable[[str], bool] = lambda persona: True,
    ) -> None:
        self.window_us = window_us
        self.horizon_us = horizon_us
        self.mine = mine
        self.place = place or Place()
        self.pending: dict[str, Pending] = {}
        self.changed: dict[str, None] = {}
        self.late = 0
        self._of_user: dict[str, dict[str, Pending]] = {}
        # (when something is due, request id): first the negatives, then that the entry is forgotten.
        self._due: list[tuple[int, str]] = []

    def restore(self, pending: Pending) -> None:
        """Put back an entry that was pending when the state was committed."""
        self.pending[pending.request_id] = pending
        self._of_user.setdefault(pending.user_id, {})[pending.request_id] = pending
        ends = pending.as_of + self.window_us
        heappush(self._due, (ends if pending.is_open else ends + self.horizon_us, pending.request_id))

    def take_event(self, event: Admitted) -> list[Example]:
        """The examples that an event settles: positives, then the negatives that its admission instant brings."""
        examples = list(self._outcomes(event)) if _is_outcome(event) else []
        return examples + self._pass(event.k)

    def take_served(self, served: Served, k: int) -> list[Example]:
        """The examples that a served entry settles: purchases that overtook it, then negatives that are due."""
        shown = [ShownCategory(each.id, served.believed(each)) for each in served.shown if each.kind == "category"]
        examples: list[Example] = []
        if shown and self.mine(served.persona) and served.request_id not in self.pending:
            pending = Pending(served.request_id, served.user_id, served.as_of, shown, persona=served.persona)
            self.restore(pending)
            self.changed[pending.request_id] = None
            for bought in self.place.recent:
                if bought.user_id == served.user_id:
                    examples += self._settle(pending, bought.category, bought.e)
        return examples + self._pass(k)

    def take_gap(self, k: int) -> list[Example]:
        """The negatives that time brings where entries up to k were trimmed away before they could be read."""
        return self._pass(k)

    def is_due(self, until: int) -> bool:
        """Whether `wait` until then would bring about anything."""
        return bool(self._due) and self._due[0][0] <= until

    def wait(self, until: int) -> list[Example]:
        """The negatives that are due when nothing more than has been read can be admitted before `until`."""
        return self._advance(until)

    def _pass(self, k: int) -> list[Example]:
        self.place.offset = k
        return self._advance(k)

    def _outcomes(self, event: Admitted) -> Iterator[Example]:
        bought = Purchase(event.event.user_id, str(event.event.category), event.e, event.k)
        self.place.recent.append(bought)
        # In an order that does not depend on what a restart has put back first.
        waiting = self._of_user.get(bought.user_id, {}).values()
        for pending in sorted(waiting, key=lambda each: (each.as_of, each.request_id)):
            yield from self._settle(pending, bought.category, bought.e)

    def _settle(self, pending: Pending, category: str, e: int) -> list[Example]:
        """The positive that a purchase makes of what was shown, if it does and for the first time."""
        if not pending.as_of <= e < pending.as_of + self.window_us:
            return []
        for shown in pending.shown:
            if shown.category == category and shown.fate in (WAITING, EXPIRED):
                self.changed[pending.request_id] = None
                if shown.fate == EXPIRED:
                    shown.fate = LATE
                    self.late += 1
                    return []
                shown.fate = BOUGHT
                return [_example(pending, shown, e, is_bought=True)]
        return []

    def _advance(self, watermark: int) -> list[Example]:
        if watermark <= self.place.watermark:
            return []
        self.place.watermark = watermark
        self.place.recent = [each for each in self.place.recent if each.k > watermark - _REORDER_US]
        examples: list[Example] = []
        while self._due and self._due[0][0] <= watermark:
            due, request_id = heappop(self._due)
            pending = self.pending[request_id]
            if pending.is_open:
                examples += self._expire(pending)
                heappush(self._due, (due + self.horizon_us, request_id))
            else:
                self._forget(pending)
        return examples

    def _expire(self, pending: Pending) -> Iterator[Example]:
        pending.is_open = False
        self.changed[pending.request_id] = None
        for shown in pending.shown:
            if shown.fate == WAITING:
                shown.fate = EXPIRED
                yield _example(pending, shown, pending.as_of + self.window_us, is_bought=False)

    def _forget(self, pending: Pending) -> None:
        self.changed[pending.request_id] = None
        del self.pending[pending.request_id]
        of_user = self._of_user[pending.user_id]
        del of_user[pending.request_id]
        if not of_user:
            del self._of_user[pending.user_id]


def _example(pending: Pending, shown: ShownCategory, t: int, *, is_bought: bool) -> Example:
    return Example(
        request_id=pending.request_id, user_id=pending.user_id, persona=pending.persona, placement="", kind=CATEGORY,
        id=shown.category, category=shown.category, daypart="", weekday="", device="", page="", t=t,
        margin=shown.margin, outcome="purchase" if is_bought else "", reward=float(is_bought), is_trial=True,
        label=is_bought,
    )  # fmt: skip


def _is_outcome(event: Admitted) -> bool:
    said = event.event
    return said.kind == "purchase" and said.category is not None and said.purposes & PERSONALIZATION != 0
