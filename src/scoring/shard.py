"""What the learners of one shard of personas have learned, as one state: learners side by side under their names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from scoring.crosses import Crosses
from scoring.example import Example
from scoring.learners import Learner, Numbers, apart, joined, key_of
from scoring.rates import Rates

Values = TypeVar("Values")
# Every learner, in the order in which they learn an example.
LEARNERS: Sequence[Callable[[], Learner]] = (Rates, Crosses)


class Shard:
    """Learns examples in the order in which they are given; its numbers are all that a restart needs.

    >>> def example(t: int, label: bool | None) -> Example:
    ...     words = ("r", "u", "loyal", "home", "category", "TEA", "TEA", "evening", "mon", "phone", "front")
    ...     return Example(*words, t, -2.0, "purchase" if label else "", float(label or 0), True, label)
    >>> once, twice = Shard(), Shard()
    >>> for shard in (once, twice): shard.learn([example(1, True), example(2, False)])
    >>> resumed = Shard()
    >>> resumed.restore(twice.numbers())  # as after a restart
    >>> for shard in (once, resumed): shard.learn([example(3, False)])
    >>> once.numbers() == resumed.numbers()
    True
    """

    def __init__(self) -> None:
        self._learners = [learner() for learner in LEARNERS]

    def learn(self, examples: Iterable[Example]) -> None:
        """Have every learner learn every example."""
        for example in examples:
            for learner in self._learners:
                learner.learn(example, 1.0)

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""
        return {
            joined(key_of(each.name), key): values for each in self._learners for key, values in each.changed().items()
        }

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return {
            joined(key_of(each.name), key): values for each in self._learners for key, values in each.numbers().items()
        }

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit. Numbers of learners that are no more are left out."""
        parts = apart(numbers)
        for learner in self._learners:
            learner.restore(parts.get(learner.name, {}))

    def _named(self, of: Callable[[Learner], Mapping[str, Values]]) -> dict[str, Values]:
        """What is asked of each learner, under its name."""
        return {joined(key_of(each.name), key): values for each in self._learners for key, values in of(each).items()}
