"""Guards: whether corrections still help, by persona; where they do harm, they go back to what was good, and rest.

Each labelled example gives two losses before it is learned: of what was believed with the correction, and of the batch
model alone, which is frozen. ADWIN (Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM
2007) watches both. It is harm

  - when the difference, below 0 while the correction helps, has changed to above 0, or lies above 0 by HARMFUL standard
    errors over all that is watched;
  - when the loss of the batch model has changed to above that of saying nothing, ln 2: no taste makes a model worse
    than none, so it is the labels that cannot be believed.

    learning ── harm: GO_BACK ──▶ weights as they were last good; REST examples, and more while labels cannot be
       ▲  ▲                       believed, are only looked at
       │  └───────────────────────────────┘ watching begins anew
       └── FORGET: harm again within SOON examples, what was good is so no more, tastes have changed

Weights count as good when VETTED examples have been learned after them without harm: the learner sets a mark then, and
goes back to the mark before. Pure; the state is plain numbers: ADWIN itself has none to take out, so what it was fed is
kept and fed again.
"""

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import chain
from typing import Any

from river import drift

from scoring.learners import REST as RESTING
from scoring.learners import Numbers, key_of, parts_of

# ADWIN is begun anew with the newest HELD pairs whenever it was fed twice as many.
HELD = 1_000
# Pairs that are one number of the state together: one each would be most of what is committed.
TOGETHER = 25
# Standard errors above 0 from which a difference is harm, and of how many at least.
HARMFUL = 4.0
FEWEST = 200
# Examples that are only looked at after harm, and within how many after that it is harm again.
REST = 500
SOON = 500
# Weights are good after so many examples: then a mark is set.
VETTED = 750
# A loss is bounded by what a margin can be; one difference of more says no more.
LARGEST = 4.0
# The loss of saying nothing.
OF_NOTHING = math.log(2.0)
# The first parts of its keys, beside RESTING.
_WATCH, _FED = "watch", "fed"


class Harm(Enum):
    """What is to be done about harm."""

    GO_BACK = auto()
    FORGET = auto()


class Adwins:
    """ADWIN of the difference and of the batch model's loss, by the pairs that they were fed."""

    def __init__(self) -> None:
        self.difference, self.loss = _adwin(), _adwin()

    def feed(self, pair: tuple[float, float]) -> None:
        """Take what one example gave."""
        self.difference.update(pair[0])
        self.loss.update(pair[1])


@dataclass(slots=True, eq=False)
class Watch:
    """What is known of one persona's corrections.

    fed       the pairs (difference, loss of the batch model) that ADWIN was fed since it was begun, oldest first;
              `first` is the number of the oldest
    resting   examples that are still only looked at
    doubted   examples within which harm is harm again
    harms     how often harm was seen
    age       examples learned since the last mark
    now, next   what watches, and what will when it is begun anew: fed the newest pairs beside it, all at once would be
                a pause
    """

    fed: list[tuple[float, float]] = field(default_factory=list)
    first: int = 0
    resting: int = 0
    doubted: int = 0
    harms: int = 0
    age: int = 0
    now: Adwins = field(default_factory=Adwins)
    next: Adwins = field(default_factory=Adwins)

    @classmethod
    def of(cls, counts: tuple[float, ...]) -> "Watch":
        """A watch with these counts, fed nothing yet."""
        first, resting, doubted, harms, age = map(int, counts)
        return cls(first=first, resting=resting, doubted=doubted, harms=harms, age=age)

    @property
    def counts(self) -> tuple[float, ...]:
        """Everything but what was fed."""
        return (float(self.first), float(self.resting), float(self.doubted), float(self.harms), float(self.age))

    @property
    def end(self) -> int:
        """The number of the pair that comes next."""
        return self.first + len(self.fed)

    def feed(self, pair: tuple[float, float]) -> None:
        """Take what one example gave."""
        self.fed.append(pair)
        self.now.feed(pair)
        if len(self.fed) > HELD:
            self.next.feed(pair)

    def renew(self) -> range:
        """Let ADWIN be the one that knows the newest pairs only, if it is time; the numbers of those that are gone."""
        if len(self.fed) < 2 * HELD:
            return range(0)
        self.now, self.next = self.next, Adwins()
        return self._drop(HELD)

    def block(self, number: int) -> tuple[float, ...] | None:
        """The number of the block's first pair, then its pairs, one after the other; None if all of them are gone."""
        since, until = max(number * TOGETHER, self.first), min((number + 1) * TOGETHER, self.end)
        if since >= until:
            return None
        return (float(since), *chain.from_iterable(self.fed[since - self.first : until - self.first]))

    def forget(self) -> range:
        """Watch from here on; the numbers of the pairs that are gone."""
        self.now, self.next = Adwins(), Adwins()
        return self._drop(len(self.fed))

    def _drop(self, oldest: int) -> range:
        gone = range(self.first, self.first + oldest)
        self.first += oldest
        del self.fed[:oldest]
        return gone

    def is_harm(self) -> bool:
        """Whether the correction does harm, or labels cannot be believed."""
        return self._is_worse() or (bool(self.now.loss.drift_detected) and not self.believes())

    def believes(self) -> bool:
        """Whether labels can be believed."""
        return bool(self.now.loss.estimation <= OF_NOTHING)

    def _is_worse(self) -> bool:
        watched = self.now.difference
        mean, n = float(watched.estimation), float(watched.width)
        if mean <= 0.0:
            return False
        error = math.sqrt(watched.variance) / n  # River's variance is the sum of squares about the mean
        return bool(watched.drift_detected) or (n >= FEWEST and mean > HARMFUL * error)


def log_loss(margin: float, label: bool) -> float:
    """−log of the probability that the margin gave to what came, without overflow.

    >>> log_loss(0.0, True) == math.log(2.0), log_loss(-800.0, True)
    (True, 800.0)
    """
    return math.log1p(math.exp(-abs(margin))) + max(-margin if label else margin, 0.0)


class Guard:
    """The watch over every persona of a shard."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        # What differs from when this was last asked for: of personas, of who began or ceased to rest, of blocks of
        # pairs.
        self._seen: set[str] = set()
        self._turned: set[str] = set()
        self._blocks: set[tuple[str, int]] = set()

    def is_resting(self, persona: str) -> bool:
        """Whether the persona's examples are only looked at, since harm was seen lately."""
        watch = self._watches.get(persona)
        return watch is not None and watch.resting > 0

    @property
    def harms(self) -> int:
        """How often harm was seen, of all personas."""
        return sum(watch.harms for watch in self._watches.values())

    def resting_personas(self) -> tuple[str, ...]:
        """The personas that rest, by name."""
        return tuple(sorted(persona for persona in self._watches if self.is_resting(persona)))

    def look(self, persona: str, difference: float, loss: float) -> Harm | None:
        """Take the loss of the batch model, and how much greater it is with the correction, of a labelled example.

        Returns what is to be done if that shows harm.
        """
        watch = self._watch(persona)
        watch.doubted = max(watch.doubted - 1, 0)
        self._blocks.add((persona, watch.end // TOGETHER))
        watch.feed((max(-LARGEST, min(LARGEST, difference)), min(LARGEST, loss)))
        harm = None
        if watch.resting:
            self._rest(persona, watch)
        elif watch.is_harm():
            harm = self._harmed(persona, watch)
        self._gone(persona, watch.renew())
        return harm

    def is_vetted(self, persona: str) -> bool:
        """Whether enough was learned without harm to set a mark; counts one learned example."""
        watch = self._watch(persona)
        watch.age = (watch.age + 1) % VETTED
        return watch.age == 0

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """What has changed since this was last asked; None where there is nothing any more."""
        found: dict[str, tuple[float, ...] | None] = {}
        for persona in self._seen:
            found[key_of(_WATCH, persona)] = self._watches[persona].counts
        for persona in self._turned:
            found[key_of(RESTING, persona)] = (1.0,) if self.is_resting(persona) else None
        for persona, block in self._blocks:
            found[key_of(_FED, persona, str(block))] = self._watches[persona].block(block)
        self._seen, self._turned, self._blocks = set(), set(), set()
        return found

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """All state."""
        found: dict[str, tuple[float, ...]] = {}
        for persona, watch in self._watches.items():
            found[key_of(_WATCH, persona)] = watch.counts
            for block in range(watch.first // TOGETHER, watch.end // TOGETHER + 1):
                values = watch.block(block)
                if values is not None:
                    found[key_of(_FED, persona, str(block))] = values
        return found | {key_of(RESTING, persona): (1.0,) for persona in self.resting_personas()}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        blocks: dict[str, list[tuple[float, ...]]] = {}
        for key, values in numbers.items():
            match parts_of(key):
                case name, persona if name == _WATCH:
                    self._watches[persona] = Watch.of(values)
                case name, persona, _ if name == _FED:
                    blocks.setdefault(persona, []).append(values)
        for persona, watch in self._watches.items():
            for _, *pairs in sorted(blocks.get(persona, ())):
                for pair in zip(pairs[::2], pairs[1::2], strict=True):
                    watch.feed(pair)

    def _rest(self, persona: str, watch: Watch) -> None:
        """One example less to rest; the last ones only go by while labels can be believed."""
        if watch.resting > 1 or watch.believes():
            watch.resting -= 1
        if not watch.resting:
            self._turned.add(persona)
            self._gone(persona, watch.forget())
            watch.doubted = SOON

    def _harmed(self, persona: str, watch: Watch) -> Harm:
        is_again = watch.doubted > 0
        self._gone(persona, watch.forget())
        watch.harms += 1
        watch.age = watch.doubted = 0
        watch.resting = 0 if is_again else REST
        self._turned.add(persona)
        return Harm.FORGET if is_again else Harm.GO_BACK

    def _watch(self, persona: str) -> Watch:
        """The persona's watch, which is about to change."""
        self._seen.add(persona)
        watch = self._watches.get(persona)
        if watch is None:
            watch = self._watches[persona] = Watch()
        return watch

    def _gone(self, persona: str, pairs: range) -> None:
        if pairs:
            self._blocks.update((persona, block) for block in range(pairs[0] // TOGETHER, pairs[-1] // TOGETHER + 1))


def told(numbers: Numbers) -> tuple[int, tuple[str, ...]]:
    """How often harm was seen, and which personas rest, as a guard's numbers say."""
    guard = Guard()
    guard.restore({key: values for key, values in numbers.items() if parts_of(key)[0] == _WATCH})
    return guard.harms, guard.resting_personas()


def _adwin() -> Any:
    make: Any = drift.ADWIN  # River has no types
    return make()
