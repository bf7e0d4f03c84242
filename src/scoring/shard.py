"""What the learners of one shard of personas have learned, as one state: learners side by side under their names.

    example ─▶ is its margin a number? ─▶ the guard looks ─▶ cap per user ─▶ every learner of the list
                                               └─ harm: the persona's corrections go back to what was good

While a persona rests after harm, or the operator has frozen the shard, examples are only looked at.
"""

from collections.abc import Callable, Iterable, Sequence

from scoring.crosses import MAX_MARGIN, Crosses
from scoring.example import Example
from scoring.guard import Guard, Harm, log_loss
from scoring.learners import CAPS, GUARD, Learner, Numbers, Stateful, apart, joined
from scoring.rates import Rates
from scoring.user_caps import UserCaps

# Every learner beside the crosses, whose corrections are guarded, in the order in which they learn an example.
LEARNERS: Sequence[Callable[[], Learner]] = (Rates,)


class Shard:
    """Learns examples in the order in which they are given; its numbers are all that a restart needs.

    bound       no correction is beyond ±bound, in logits: as scorers have it
    is_frozen   whether the operator wants nothing learned; no part of the numbers

    >>> def example(t: int, label: bool | None) -> Example:
    ...     words = ("r", "u", "loyal", "home", 1, "category", "TEA", "TEA", "evening", "mon", "phone", "front")
    ...     return Example(*words, t, -2.0, "purchase" if label else "", float(label or 0), True, label)
    >>> once, twice = Shard(bound=2.0), Shard(bound=2.0)
    >>> for shard in (once, twice): shard.learn([example(1, True), example(2, False)])
    >>> resumed = Shard(bound=2.0)
    >>> resumed.restore(twice.numbers())  # as after a restart
    >>> for shard in (once, resumed): shard.learn([example(3, False)])
    >>> once.numbers() == resumed.numbers()
    True
    """

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._crosses = Crosses()
        self._learners: list[Learner] = [*(learner() for learner in LEARNERS), self._crosses]
        self._guard = Guard()
        self._caps = UserCaps()
        self.is_frozen = False
        self._skipped = 0

    def learn(self, examples: Iterable[Example]) -> None:
        """Learn the examples in this order; those whose margin is no number, or far out, are counted as skipped."""
        for example in examples:
            if abs(example.margin) <= MAX_MARGIN:
                self._learn(example)
            else:
                self._skipped += 1

    def correction(self, example: Example) -> float:
        """What scorers add to the example's margin at this state, within ±bound."""
        return min(max(self._crosses.correction(example), -self._bound), self._bound)

    @property
    def harms(self) -> int:
        """How often the guard has seen harm."""
        return self._guard.harms

    @property
    def resting(self) -> int:
        """How many personas only have their examples looked at, after harm."""
        return len(self._guard.resting_personas())

    def take_skipped(self) -> int:
        """How many examples were left out since this was last asked, since their margin is no number, or far out."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""
        return {joined(name, key): values for name, part in self._parts() for key, values in part.changed().items()}

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return {joined(name, key): values for name, part in self._parts() for key, values in part.numbers().items()}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit. Numbers of learners that are no more are left out."""
        kept = apart(numbers)
        for name, part in self._parts():
            part.restore(kept.get(name, {}))

    def _learn(self, example: Example) -> None:
        if example.label is not None:
            self._look(example, example.label)
        if self.is_frozen or self._guard.is_resting(example.persona):
            return
        weight = self._caps.weight(example.user_id, example.t)
        for learner in self._learners:
            learner.learn(example, weight)
        if example.label is not None and self._guard.is_vetted(example.persona):
            self._crosses.mark(example.persona)

    def _look(self, example: Example, label: bool) -> None:
        alone = log_loss(example.margin, label)
        corrected = log_loss(example.margin + self.correction(example), label)
        match self._guard.look(example.persona, corrected - alone, alone):
            case Harm.GO_BACK:
                self._crosses.go_back(example.persona)
            case Harm.FORGET:
                self._crosses.forget(example.persona)

    def _parts(self) -> list[tuple[str, Stateful]]:
        return [*((each.name, each) for each in self._learners), (GUARD, self._guard), (CAPS, self._caps)]
