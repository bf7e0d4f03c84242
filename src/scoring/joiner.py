"""What was shown, joined with what came of it: labelled examples in the order of the log.

    served entry ──▶ pending ──┬─ impression ─────────────────────────▶ its positions are seen
                               ├─ outcome, before as_of + window ─────▶ reward and positive, at once
                               └─ watermark reaches as_of + window ───▶ negatives of what was seen

What belongs to what is said in `scoring.attribution`. The watermark is the admission instant up to which the partition
has been read, by whatever event, or the clock where nothing comes in. What is admitted after the negatives were given
is counted as late, not unlearned.

A joiner keeps the answers of its own personas. What names an answer that nobody gave can only be told by one that knows
all of them: the shard of the users without a persona remembers the others' answers by name.

Pure: no clock, no I/O; everything that a restart needs is in `Place` and `Pending`.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from behavior.event import MINUTE_US, PERSONALIZATION, Admitted
from behavior.served import Served
from scoring.attribution import UNKNOWN, Attribution
from scoring.example import Example
from scoring.outcomes import IMPRESSION, Outcomes
from scoring.pending import Pending, Place, Reaction

# A served entry is appended after its answer: a reaction may stand before it in the log, by this much at most.
_REORDER_US = MINUTE_US


class PartitionJoin:
    """The join of one partition, for one shard of personas.

    mine      whether a persona is this shard's; of all shards exactly one says so of the empty name
    changed   request ids whose pending entry differs from what was last committed; gone if not in `pending`
    counts    what made no example since this was last cleared, by the words of `attribution.COUNTED`
    """

    def __init__(
        self, outcomes: Outcomes, mine: Callable[[str], bool] = lambda persona: True, place: Place | None = None
    ) -> None:
        self.place = place or Place()
        self.pending: dict[str, Pending] = {}
        self._outcomes = outcomes
        self._mine = mine
        self._knows_all = mine("")
        self._attribution = Attribution(outcomes)
        self.changed = self._attribution.changed
        self.counts = self._attribution.counts
        self._of_user: dict[str, dict[str, Pending]] = {}
        # The reactions of `place.recent` by what they wait for, in order.
        self._ahead: dict[tuple[str | None, str], list[Reaction]] = {}
        for reaction in self.place.recent:
            self._ahead.setdefault(reaction.waits_for, []).append(reaction)
        # (when something is due, request id): first the negatives, then that the entry is forgotten.
        self._due: list[tuple[int, str]] = []

    def restore(self, pending: Pending) -> None:
        """Put back an entry that was pending when the state was committed."""
        self.pending[pending.request_id] = pending
        self._of_user.setdefault(pending.user_id, {})[pending.request_id] = pending
        ends = self._attribution.ends(pending)
        heappush(self._due, (ends if pending.is_open else ends + self._outcomes.horizon_us, pending.request_id))

    def take_event(self, event: Admitted) -> list[Example]:
        """The examples that an event settles: positives, then the negatives that its admission instant brings."""
        examples = list(self._react(Reaction.of(event))) if self._is_reaction(event) else []
        return examples + self._pass(event.k)

    def take_served(self, served: Served, k: int) -> list[Example]:
        """The examples that a served entry settles: reactions that overtook it, then negatives that are due.

        An answer that is waited for already, or that would be forgotten by now, is not begun again.
        """
        self._forget_reactions(k - _REORDER_US)
        is_over = served.as_of + self._outcomes.window_us + self._outcomes.horizon_us <= k
        examples = [] if is_over or served.request_id in self.pending else list(self._begin(served))
        return examples + self._pass(k)

    def take_gap(self, k: int) -> list[Example]:
        """The negatives that time brings where entries up to k were trimmed away before they could be read."""
        return self._pass(k)

    def is_due(self, until: int) -> bool:
        """Whether time until then settles anything."""
        return bool(self._due) and self._due[0][0] <= until

    def wait(self, until: int) -> list[Example]:
        """The negatives that are due when nothing more than has been read can be admitted before `until`."""
        return self._advance(until)

    def _is_reaction(self, event: Admitted) -> bool:
        said = event.event
        is_one = said.kind in self._outcomes.rewards or said.kind == IMPRESSION
        return is_one and said.purposes & PERSONALIZATION != 0

    def _react(self, reaction: Reaction) -> Iterator[Example]:
        named = reaction.request_id
        if named is None:
            self._keep(reaction)
            yield from self._attribution.unnamed(self._of_user.get(reaction.user_id, {}).values(), reaction)
        elif named in self.pending:
            yield from self._named(self.pending[named], reaction)
        else:
            self._keep(reaction)

    def _keep(self, reaction: Reaction) -> None:
        self.place.recent.append(reaction)
        self._ahead.setdefault(reaction.waits_for, []).append(reaction)

    def _named(self, pending: Pending, reaction: Reaction) -> Iterator[Example]:
        if self._mine(pending.persona):
            yield from self._attribution.named(pending, reaction)

    def _begin(self, served: Served) -> Iterator[Example]:
        """Wait for the outcomes of an answer, after those that overtook it."""
        if not (self._mine(served.persona) or self._knows_all):
            return
        pending = Pending.of(served) if self._mine(served.persona) else Pending.bare(served)
        self.restore(pending)
        self.changed[pending.request_id] = None
        named = self._ahead.get((pending.request_id, ""), [])
        for reaction in sorted(named + self._ahead.get((None, pending.user_id), []), key=lambda each: each.k):
            if reaction.request_id is None:
                yield from self._attribution.unnamed([pending], reaction)
            else:
                reaction.is_taken = True
                yield from self._named(pending, reaction)

    def _pass(self, k: int) -> list[Example]:
        self.place.offset = k
        return self._advance(k)

    def _advance(self, watermark: int) -> list[Example]:
        self.place.watermark = watermark = max(watermark, self.place.watermark)
        self._forget_reactions(watermark - _REORDER_US)
        examples: list[Example] = []
        while self._due and self._due[0][0] <= watermark:
            due, request_id = heappop(self._due)
            pending = self.pending[request_id]
            if pending.is_open:
                examples += self._attribution.expired(pending)
                heappush(self._due, (due + self._outcomes.horizon_us, request_id))
            else:
                self._forget(pending)
        return examples

    def _forget_reactions(self, until: int) -> None:
        """Wait no longer for the answers of reactions that were admitted up to an instant (µs)."""
        recent = self.place.recent
        while recent and recent[0].k <= until:
            gone = recent.pop(0)
            self._ahead[gone.waits_for].pop(0)
            if not self._ahead[gone.waits_for]:
                del self._ahead[gone.waits_for]
            is_unknown = gone.request_id is not None and gone.kind != IMPRESSION and not gone.is_taken
            self.counts[UNKNOWN] += is_unknown and self._knows_all

    def _forget(self, pending: Pending) -> None:
        self.changed[pending.request_id] = None
        del self.pending[pending.request_id]
        of_user = self._of_user[pending.user_id]
        del of_user[pending.request_id]
        if not of_user:
            del self._of_user[pending.user_id]
