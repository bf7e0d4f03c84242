"""Guards: whether corrections still help, by persona; where they do harm, they go back to what was good, and rest.

Each labelled example gives two losses before it is learned: of what was believed with the correction, and of the batch
model alone, which is frozen. ADWIN (Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM
2007) watches both. It is harm

  - when the difference, below 0 while the correction helps, has changed to above 0, or lies above 0 by HARMFUL standard
    errors over all that is watched;
  - when the loss of the batch model has changed to above that of saying nothing, ln 2: no taste makes a model worse
    than none, so it is the labels that cannot be believed.

    learning ── harm ──▶ weights as they were last good; REST examples, and more while labels cannot be
       ▲  ▲              believed, are only looked at
       │  └───────────────────────────────┘ watching begins anew
       └── no weights ◀── harm again within SOON examples: what was good is so no more, tastes have changed

Weights count as good when VETTED examples have been learned after them without harm. Pure; the state is plain numbers:
ADWIN itself has none to take out, so what it was fed is kept and fed again, and it is begun anew from the newest HELD
differences whenever it was fed twice as many.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from river import drift

from scoring.learners import WATCH, Numbers, key_of, parts_of

# Differences that ADWIN is begun anew with; it holds at most twice as many.
HELD = 1_000
# Standard errors above 0 from which a difference is harm, and of how many at least.
HARMFUL = 4.0
FEWEST = 200
# Examples that are only looked at after harm, and within how many after that it is harm again.
REST = 500
SOON = 500
# Weights that were put by are good after so many examples.
VETTED = 750
# A loss is bounded by what a margin can be; one difference of more says no more.
LARGEST = 4.0
# The loss of saying nothing.
OF_NOTHING = math.log(2.0)


@dataclass(slots=True, eq=False)
class Watch:
    """What is known of one persona's corrections.

    fed       the pairs (difference, loss of the batch model) that ADWIN was fed since it was begun, oldest first;
              `first` is the number of the oldest
    resting   examples that are still only looked at
    doubted   examples within which harm is harm again
    harms     how often harm was seen
    age       examples learned since the weights were put by that are being vetted; -1 while there are none
    """

    fed: list[tuple[float, float]] = field(default_factory=list)
    first: int = 0
    resting: int = 0
    doubted: int = 0
    harms: int = 0
    age: int = -1
    difference: Any = field(default_factory=lambda: _adwin())
    loss: Any = field(default_factory=lambda: _adwin())

    @classmethod
    def of(cls, counts: tuple[float, ...]) -> "Watch":
        """A watch with these counts, fed nothing yet."""
        first, resting, doubted, harms, age = map(int, counts)
        return cls(first=first, resting=resting, doubted=doubted, harms=harms, age=age)

    @property
    def counts(self) -> tuple[float, ...]:
        """Everything but what was fed."""
        return (float(self.first), float(self.resting), float(self.doubted), float(self.harms), float(self.age))

    def feed(self, difference: float, loss: float) -> None:
        """Take what one example gave."""
        self.fed.append((difference, loss))
        self.difference.update(difference)
        self.loss.update(loss)

    def renew(self) -> range:
        """Feed ADWIN anew, so that what it was fed stays bounded; the numbers of the pairs that are no more."""
        if len(self.fed) < 2 * HELD:
            return range(0)
        return self._drop(HELD)

    def begin(self) -> None:
        """Feed ADWIN anew."""
        self.difference, self.loss = _adwin(), _adwin()
        for difference, loss in self.fed:
            self.difference.update(difference)
            self.loss.update(loss)

    def forget(self) -> range:
        """Watch from here on; the numbers of the pairs that are no more."""
        return self._drop(len(self.fed))

    def _drop(self, oldest: int) -> range:
        gone = range(self.first, self.first + oldest)
        self.first += oldest
        del self.fed[:oldest]
        self.begin()
        return gone

    def is_harm(self) -> bool:
        """Whether the correction does harm, or labels cannot be believed."""
        return self._is_worse() or (bool(self.loss.drift_detected) and not self.believes())

    def believes(self) -> bool:
        """Whether labels can be believed."""
        return bool(self.loss.estimation <= OF_NOTHING)

    def _is_worse(self) -> bool:
        mean, n = float(self.difference.estimation), float(self.difference.width)
        if mean <= 0.0:
            return False
        error = math.sqrt(self.difference.variance) / n  # River's variance is the sum of squares about the mean
        return bool(self.difference.drift_detected) or (n >= FEWEST and mean > HARMFUL * error)


def log_loss(margin: float, label: bool) -> float:
    """−log of the probability that the margin gave to what came, without overflow.

    >>> log_loss(0.0, True) == math.log(2.0), log_loss(-800.0, True)
    (True, 800.0)
    """
    return math.log1p(math.exp(-abs(margin))) + max(-margin if label else margin, 0.0)


class Guard:
    """The watch over every persona of a shard, and the weights to go back to.

    The weights of a persona are given and taken back as `Numbers`; what they mean is the learners' own.
    """

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._vetting: dict[str, dict[str, tuple[float, ...]]] = {}
        self._good: dict[str, dict[str, tuple[float, ...]]] = {}
        self._changed: dict[str, tuple[float, ...] | None] = {}

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
        return tuple(sorted(persona for persona, watch in self._watches.items() if watch.resting > 0))

    def look(self, persona: str, difference: float, loss: float) -> Numbers | None:
        """Take the loss of the batch model, and how much greater it is with the correction, of a labelled example.

        Returns the weights to go back to if that shows harm.
        """
        watch = self._watch(persona)
        watch.doubted = max(watch.doubted - 1, 0)
        number = watch.first + len(watch.fed)
        pair = (max(-LARGEST, min(LARGEST, difference)), min(LARGEST, loss))
        watch.feed(*pair)
        self._changed[key_of("fed", persona, str(number % (2 * HELD)))] = (float(number), *pair)
        back = None
        if watch.resting:
            self._rest(persona, watch)
        elif watch.is_harm():
            back = self._harmed(persona, watch)
        self._gone(persona, watch.renew())
        self._note(persona, watch)
        return back

    def _rest(self, persona: str, watch: Watch) -> None:
        """One example less to rest; the last ones only go by while labels can be believed."""
        if watch.resting > 1 or watch.believes():
            watch.resting -= 1
        if not watch.resting:
            self._gone(persona, watch.forget())
            watch.doubted = SOON

    def _harmed(self, persona: str, watch: Watch) -> Numbers:
        again = watch.doubted > 0
        self._gone(persona, watch.forget())
        watch.harms += 1
        watch.age = -1
        watch.resting, watch.doubted = 0 if again else REST, 0
        self._put("vetting", self._vetting, persona, {})
        if again:
            self._put("good", self._good, persona, {})
        return self._good.get(persona, {})

    def wants_weights(self, persona: str) -> bool:
        """Whether the persona's weights are to be put by now; counts one learned example."""
        watch = self._watch(persona)
        if watch.age >= 0:
            watch.age += 1
            if watch.age >= VETTED:
                self._put("good", self._good, persona, self._vetting.get(persona, {}))
                self._put("vetting", self._vetting, persona, {})
                watch.age = -1
        self._note(persona, watch)
        return watch.age < 0

    def put_by(self, persona: str, weights: Numbers) -> None:
        """Put the persona's weights by, to be vetted."""
        watch = self._watch(persona)
        watch.age = 0
        self._put("vetting", self._vetting, persona, weights)
        self._note(persona, watch)

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """What has changed since this was last asked; None where there is nothing any more."""
        changed, self._changed = self._changed, {}
        return changed

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """All state."""
        found: dict[str, tuple[float, ...]] = {}
        for persona, watch in self._watches.items():
            found[key_of(WATCH, persona)] = watch.counts
            for number, pair in enumerate(watch.fed, watch.first):
                found[key_of("fed", persona, str(number % (2 * HELD)))] = (float(number), *pair)
        for name, kept in (("vetting", self._vetting), ("good", self._good)):
            for persona, weights in kept.items():
                found |= {key_of(name, persona, key): values for key, values in weights.items()}
        return found

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        fed: dict[str, list[tuple[float, ...]]] = {}
        for key, values in numbers.items():
            match parts_of(key):
                case name, persona if name == WATCH:
                    self._watches[persona] = Watch.of(values)
                case "fed", persona, _:
                    fed.setdefault(persona, []).append(values)
                case ("vetting" | "good") as name, persona, weight:
                    kept = self._vetting if name == "vetting" else self._good
                    kept.setdefault(persona, {})[weight] = values
        for persona, watch in self._watches.items():
            its = sorted(fed.get(persona, ()))
            watch.fed = [(difference, loss) for _, difference, loss in its]
            watch.begin()

    def _watch(self, persona: str) -> Watch:
        return self._watches.setdefault(persona, Watch())

    def _note(self, persona: str, watch: Watch) -> None:
        self._changed[key_of(WATCH, persona)] = watch.counts

    def _gone(self, persona: str, pairs: range) -> None:
        self._changed.update({key_of("fed", persona, str(number % (2 * HELD))): None for number in pairs})

    def _put(self, name: str, kept: dict[str, dict[str, tuple[float, ...]]], persona: str, weights: Numbers) -> None:
        former = kept.pop(persona, {})
        if weights:
            kept[persona] = dict(weights)
        for key in former.keys() | weights.keys():
            self._changed[key_of(name, persona, key)] = weights.get(key)


def _adwin() -> Any:
    make: Any = drift.ADWIN  # River has no types
    return make()
