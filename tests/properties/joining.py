"""A naive joiner, written from what is promised: it remembers everything and looks through all of it each time.

    step by step:  whom does the reaction mean ──▶ what has come of that before ──▶ the example, or why there is none
                   whose window has ended by now ──▶ negatives

Nothing is indexed, nothing is stored: what a shown thing has earned, whether it was seen and what came of it is read
off the list of all that ever happened to it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from behavior.event import MINUTE_US, Admitted
from behavior.served import Served
from scoring.example import Example
from scoring.outcomes import Outcomes


class Answered(NamedTuple):
    """A served entry, appended at k."""

    served: Served
    k: int


class Idle(NamedTuple):
    """Nothing is admitted before this instant any more: by the clock, or up to where the log was trimmed away."""

    until: int


Step = Admitted | Answered | Idle


@dataclass(frozen=True)
class Fact:
    """Something that happened to a shown thing, and whether an example was made of it."""

    kind: str
    is_credited: bool
    was_open: bool
    made: bool


@dataclass
class Answer:
    """An answer that was given, with the facts about each of its positions."""

    served: Served
    is_open: bool = True
    is_remembered: bool = True
    facts: list[list[Fact]] = field(default_factory=list)


@dataclass
class Oracle:
    """Joins steps in order; `counts` are what made no example."""

    outcomes: Outcomes
    mine: Callable[[str], bool]
    counts: Counter[str] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    # Every reaction that there ever was, with whether an answer has been found for it.
    reactions: list[tuple[Admitted, list[bool]]] = field(default_factory=list)
    watermark: int = 0

    def take(self, step: Step) -> list[Example]:
        """The examples of one step."""
        examples: list[Example] = []
        if isinstance(step, Answered):
            examples += self._answered(step)
        elif isinstance(step, Admitted) and self._is_reaction(step):
            self.reactions.append((step, []))
            examples += self._reaction(step, self.reactions[-1][1])
        before, self.watermark = self.watermark, max(self.watermark, _instant(step))
        self._give_up(before)
        return examples + list(self._negatives())

    def _answered(self, step: Answered) -> Iterator[Example]:
        served = step.served
        if served.as_of + self.outcomes.window_us + self.outcomes.horizon_us <= step.k:
            return
        if any(each.is_remembered and each.served.request_id == served.request_id for each in self.answers):
            return
        answer = Answer(served, facts=[[] for _ in served.shown])
        self.answers.append(answer)
        for event, found in self.reactions:
            if event.k <= step.k - MINUTE_US:
                continue
            if event.event.request_id is None:
                yield from self._unnamed(event, found, [answer])
            elif event.event.request_id == served.request_id and not found:
                found.append(True)
                yield from self._named(event, answer)

    def _reaction(self, event: Admitted, found: list[bool]) -> Iterator[Example]:
        named = event.event.request_id
        remembered = [each for each in self.answers if each.is_remembered]
        if named is None:
            yield from self._unnamed(event, found, remembered)
        for answer in remembered:
            if answer.served.request_id == named:
                found.append(True)
                yield from self._named(event, answer)

    def _named(self, event: Admitted, answer: Answer) -> Iterator[Example]:
        if not self.mine(answer.served.persona):
            return
        said = event.event
        is_right = said.user_id == answer.served.user_id and event.e < self._ends(answer)
        is_whole = said.kind == "impression" and said.item is None and said.category is None
        meant = [
            place
            for place in range(len(answer.served.shown))
            if is_right and (is_whole or _means(event, answer, place))
        ]
        if not meant and said.kind != "impression":
            self.counts["unknown"] += 1
        for place in meant:
            yield from self._happens(event, answer, place, is_credited=True)

    def _unnamed(self, event: Admitted, found: list[bool], answers: Sequence[Answer]) -> Iterator[Example]:
        showed = [
            each
            for each in answers
            if self.mine(each.served.persona)
            and each.served.user_id == event.event.user_id
            and each.served.as_of <= event.e < self._ends(each)
            and any(_means(event, each, place) for place in range(len(each.served.shown)))
        ]
        showed.sort(key=lambda each: (each.served.as_of, each.served.request_id))
        was_found = bool(found)
        if showed:
            found.append(True)
        for answer in showed:
            is_credited = answer is showed[-1] and not was_found
            if is_credited or event.event.kind == self.outcomes.learned:
                for place in range(len(answer.served.shown)):
                    if _means(event, answer, place):
                        yield from self._happens(event, answer, place, is_credited=is_credited)

    def _happens(self, event: Admitted, answer: Answer, place: int, *, is_credited: bool) -> Iterator[Example]:
        kind, facts = event.event.kind, answer.facts[place]
        if kind == "impression":
            if answer.is_open and is_credited:
                facts.append(Fact(kind, True, True, False))
            return
        has_come = any(each.kind == kind for each in facts)
        earned = self._earned(facts)
        with_it = self._earned([*facts, Fact(kind, is_credited, answer.is_open, True)])
        if has_come and with_it == earned:
            self.counts["duplicate"] += is_credited
            return
        concerns = is_credited or self._is_seen(facts)
        made = concerns and answer.is_open
        if concerns and not made:
            self.counts["late"] += 1
        if made:
            label = True if kind == self.outcomes.learned and not has_come else None
            yield self._example(answer, place, event.e, kind, with_it - earned, label)
        facts.append(Fact(kind, is_credited, answer.is_open, made))

    def _negatives(self) -> Iterator[Example]:
        ended = [each for each in self.answers if each.is_open and self._ends(each) <= self.watermark]
        for answer in sorted(ended, key=lambda each: (each.served.as_of, each.served.request_id)):
            answer.is_open = False
            if self.mine(answer.served.persona):
                yield from self._expired(answer)
        for answer in self.answers:
            answer.is_remembered = self._ends(answer) + self.outcomes.horizon_us > self.watermark

    def _expired(self, answer: Answer) -> Iterator[Example]:
        for place, facts in enumerate(answer.facts):
            if not self._is_seen(facts):
                self.counts["unconfirmed"] += 1
            elif not any(each.kind == self.outcomes.learned for each in facts):
                yield self._example(answer, place, self._ends(answer), "", 0.0, False)
                facts.append(Fact("", False, False, True))

    def _give_up(self, before: int) -> None:
        """What names an answer that did not come within a minute is unknown, to the shard that knows all answers."""
        for event, found in self.reactions:
            is_over = before < event.k + MINUTE_US <= self.watermark
            if is_over and event.event.request_id is not None and event.event.kind != "impression" and not found:
                self.counts["unknown"] += self.mine("")

    def _is_reaction(self, event: Admitted) -> bool:
        kinds = {"impression", *self.outcomes.rewards}
        return event.event.kind in kinds and event.event.purposes % 2 == 1

    def _ends(self, answer: Answer) -> int:
        return answer.served.as_of + self.outcomes.window_us

    def _earned(self, facts: Sequence[Fact]) -> float:
        rewarded = [each for each in facts if each.is_credited and each.was_open]
        return max([self.outcomes.rewards.get(each.kind, 0.0) for each in rewarded], default=0.0)

    def _is_seen(self, facts: Sequence[Fact]) -> bool:
        return self.outcomes.is_seen_assumed or any(each.made or each.kind == "impression" for each in facts)

    def _example(self, answer: Answer, place: int, t: int, outcome: str, reward: float, label: bool | None) -> Example:
        served, shown = answer.served, answer.served.shown[place]
        category = shown.id if shown.kind == "category" else served.categories[place]
        daypart, weekday = _context(served)
        is_trial = not any(each.made for each in answer.facts[place])
        device, page = (served.basis.device, served.basis.page) if served.basis else ("", "")
        return Example(
            served.request_id, served.user_id, served.persona, served.placement or "", place + 1, shown.kind, shown.id,
            category, daypart, weekday, device, page, t, served.believed(shown), outcome, reward, is_trial, label,
        )  # fmt: skip


def _instant(step: Step) -> int:
    return step.until if isinstance(step, Idle) else step.k


def _means(event: Admitted, answer: Answer, place: int) -> bool:
    shown = answer.served.shown[place]
    return shown.id == {"item": event.event.item, "category": event.event.category}[shown.kind]


def _context(served: Served) -> tuple[str, str]:
    """The part of the day and the weekday, by the calendar of the standard library."""
    if served.basis is None:
        return "", ""
    zone = timezone(timedelta(seconds=served.basis.utc_offset_s))
    local = datetime.fromtimestamp(served.as_of // 1_000_000, UTC).astimezone(zone)
    return ("night", "morning", "afternoon", "evening")[local.hour // 6], local.strftime("%a").lower()
