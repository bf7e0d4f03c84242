"""Which answers a reaction belongs to, and what it makes of what they showed.

- A reaction that names an answer belongs to that one only, to what it is about; an impression that says nothing more
  belongs to all of it.
- One that names none belongs to the latest answer that showed its user what it is about, as_of <= e < as_of + window.
  It is credited there and nowhere else (last touch), so that one purchase is rewarded once.
- The *label* of a learned outcome that names none goes to all of those answers where the position was seen: a margin
  states the probability that the user does this within the window, whatever brings it about, and for each of them it
  came true.

An outcome says that the position that it is credited to was seen. Each position has one trial, at most one label, and
each kind of outcome once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from scoring.example import Example
from scoring.outcomes import IMPRESSION, Outcomes
from scoring.pending import Pending, Position, Reaction

# What made no example. LATE: outcomes in the window that were admitted after it had been closed. UNKNOWN: outcomes that
# name an answer that is not waited for, or that did not show this to this user. DUPLICATE: outcomes of a kind that had
# come of the same shown thing. UNCONFIRMED: positions without outcome that no impression confirmed within the window.
COUNTED = LATE, UNKNOWN, DUPLICATE, UNCONFIRMED = "late", "unknown", "duplicate", "unconfirmed"


class Attribution:
    """Makes examples of reactions and of their absence.

    changed   request ids of what was changed on the way
    counts    how many made no example, by the words of COUNTED
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self.changed: dict[str, None] = {}
        self.counts: Counter[str] = Counter()
        self._outcomes = outcomes

    def named(self, pending: Pending, reaction: Reaction) -> Iterator[Example]:
        """The examples of a reaction that names the answer; its clock may be behind ours."""
        is_theirs = reaction.user_id == pending.user_id and reaction.e < self.ends(pending)
        reached = _meant_by(reaction, pending) if is_theirs else []
        if not reached:
            self.counts[UNKNOWN] += reaction.kind != IMPRESSION
        for position in reached:
            yield from self._settle(pending, position, reaction, is_credited=True)

    def unnamed(self, waiting: Iterable[Pending], reaction: Reaction) -> Iterator[Example]:
        """The examples of a reaction that names no answer, of those that the same user waits with."""
        e = reaction.e
        within = [each for each in waiting if each.as_of <= e < self.ends(each)]
        # In an order that does not depend on what a restart has put back first.
        reached = sorted([each for each in within if each.reached_by(reaction)], key=Pending.order)
        credited = [] if reaction.is_taken else reached[-1:]
        reaction.is_taken |= bool(reached)
        for pending in reached if reaction.kind == self._outcomes.learned else credited:
            for position in pending.reached_by(reaction):
                yield from self._settle(pending, position, reaction, is_credited=pending in credited)

    def expired(self, pending: Pending) -> Iterator[Example]:
        """The negatives of an answer whose window has ended: of what was seen and did not have the learned outcome."""
        pending.is_open = False
        self.changed[pending.request_id] = None
        for position in pending.positions:
            if not self._is_seen(position):
                self.counts[UNCONFIRMED] += 1
            elif self._outcomes.learned not in position.outcomes:
                yield pending.example(position, self.ends(pending), "", 0.0, label=False)

    def ends(self, pending: Pending) -> int:
        """The end of the window of an answer, µs."""
        return pending.as_of + self._outcomes.window_us

    def _is_seen(self, position: Position) -> bool:
        return position.is_seen or position.is_tried or self._outcomes.is_seen_assumed

    def _settle(
        self, pending: Pending, position: Position, reaction: Reaction, *, is_credited: bool
    ) -> Iterator[Example]:
        if reaction.kind != IMPRESSION:
            yield from self._outcome(pending, position, reaction, is_credited)
        elif pending.is_open and not position.is_seen:
            position.is_seen = True
            self.changed[pending.request_id] = None

    def _outcome(
        self, pending: Pending, position: Position, reaction: Reaction, is_credited: bool
    ) -> Iterator[Example]:
        kind = reaction.kind
        reward = self._outcomes.rewards[kind] if is_credited and pending.is_open else 0.0
        gain = max(reward - position.earned, 0.0)
        is_first = kind not in position.outcomes
        if not (is_first or gain):
            self.counts[DUPLICATE] += is_credited
            return
        self.changed[pending.request_id] = None
        if is_first:
            position.outcomes += (kind,)
        if not (is_credited or self._is_seen(position)):
            return
        if not pending.is_open:
            self.counts[LATE] += 1
            return
        position.earned = max(position.earned, reward)
        label = True if is_first and kind == self._outcomes.learned else None
        yield pending.example(position, reaction.e, kind, gain, label)


def _meant_by(reaction: Reaction, pending: Pending) -> Sequence[Position]:
    """What a reaction that names the answer is about: of an impression that says nothing more, all that was shown."""
    is_whole = reaction.kind == IMPRESSION and reaction.item is None and reaction.category is None
    return pending.positions if is_whole else pending.reached_by(reaction)
