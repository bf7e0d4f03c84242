"""The learner of crosses: River's logistic regression on persona × content × context, on top of the batch margin.

The margin stands in the gradient, so what the model knows already is not learned again: weights are corrections in
logits. AdaGrad's steps (Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 12, 2011), with two changes:

  - the sum of squares does not begin at 0: a first step is as long as its gradient, not as long as the rate, so that of
    a rare outcome the many small gradients of what did not come do not outrun the few great ones of what did;
  - it fades: AdaGrad's own steps become ever shorter, and what was long learned would follow no change of tastes.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar

from river import linear_model, optim
from river.utils import VectorDict

from scoring.cross_keys import cross_keys, persona_of, position_keys
from scoring.example import Example
from scoring.learners import CROSSES, Numbers
from scoring.recency import Recency

# Beyond, a probability is 0 or 1 to River.
MAX_MARGIN = 30.0
# A hundred outcomes move a weight by about one logit at most.
LEARNING_RATE = 0.1
ACCUMULATED = 1.0
# Half of what was learned of how long steps may be is of the last 69 examples.
FADE = 0.99
# The gradient of the log loss lies within ±1 by itself; this keeps that true should the loss ever change.
CLIP_GRADIENT = 1.0
ROOM = 100_000


class FadingAdaGrad(optim.base.Optimizer):
    """AdaGrad whose sums of squared gradients forget: of each feature, a gradient of k examples ago counts fade^k.

        squares = fade · squares + gradient²          step = rate · gradient / √(accumulated + squares)

    rate          no step of a weight is longer than that over √accumulated, times the gradient
    accumulated   what stands beside the squares from the start, above 0
    fade          1 is AdaGrad itself
    """

    def __init__(self, rate: float = LEARNING_RATE, accumulated: float = ACCUMULATED, fade: float = FADE) -> None:
        super().__init__(rate)
        self.accumulated = accumulated
        self.fade = fade
        self.g2: defaultdict[Any, float] = defaultdict(float)

    def _step_with_dict(self, w: Any, g: Any) -> Any:
        for name, gradient in g.items():
            self.g2[name] = squares = self.fade * self.g2[name] + gradient * gradient
            w[name] -= self.learning_rate * gradient / math.sqrt(self.accumulated + squares)
        return w


class OffsetLogisticRegression(linear_model.LogisticRegression):
    """River's logistic regression on top of a margin that is given with each example.

    The gradient is that of log loss at `offset + weights · x`, so the weights learn the residual only. Without an
    offset it is River's own, but that it has no intercept, sums the weights of the features in the order in which x
    gives them, and forgets the features that it learned about least recently where there are more than `room`.

    learning_rate, accumulated, fade   as in `FadingAdaGrad`
    room            how many features are remembered

    >>> model = OffsetLogisticRegression()
    >>> model.learn_one({"TEA": 1.0}, True, offset=20.0)  # the margin was right: nothing left to learn
    >>> abs(model.weights["TEA"]) < 1e-8
    True
    >>> model.learn_one({"TEA": 1.0}, True, offset=-1.0)
    >>> model.predict_proba_one({"TEA": 1.0})[True] > 0.5
    True
    """

    def __init__(
        self,
        learning_rate: float = LEARNING_RATE,
        accumulated: float = ACCUMULATED,
        fade: float = FADE,
        room: int = ROOM,
    ) -> None:
        self.learning_rate = learning_rate
        self.accumulated = accumulated
        self.fade = fade
        self.room = room
        super().__init__(FadingAdaGrad(learning_rate, accumulated, fade), intercept_lr=0.0, clip_gradient=CLIP_GRADIENT)
        self._recency: Recency[Any] = Recency(room)
        self._offset = 0.0

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0, offset: float = 0.0) -> None:
        """Learn one example whose margin before any correction is `offset`."""
        self._offset = offset
        try:
            super().learn_one(x, y, w)
        finally:
            self._offset = 0.0
        self._remember(x)

    def learn_many(self, X: Any, y: Any, w: Any = 1) -> None:  # noqa: N803 River's name
        """Learn a mini-batch without offsets, as River does."""
        super().learn_many(X, y, w)
        self._remember(X.columns)

    def predict_proba_one(self, x: dict[Any, Any], offset: float = 0.0, **kwargs: Any) -> dict[Any, float]:
        """The probability of False and of True, where the margin before any correction is `offset`."""
        p = self.loss.mean_func(offset + self.residual_one(x))
        return {False: 1.0 - p, True: p}

    def residual_one(self, x: dict[Any, float]) -> float:
        """The correction of the margin: weights · x, added in the order of x."""
        total = 0.0
        for name, value in x.items():
            total += self._weights.get(name, 0.0) * value
        return total

    def numbers_of(self, names: Iterable[Any]) -> dict[Any, tuple[float, ...]]:
        """(weight, sum of squared gradients, tick) of those features that are known."""
        return {name: self._of(name) for name in names if name in self._recency.ticks}

    def put_back(self, names: Iterable[Any], numbers: Numbers) -> None:
        """Forget the features of these names, and take up those of the numbers as if learned about just now."""
        known = [name for name in names if name in self._recency.ticks]
        self._recency.drop(known)
        for name in known:
            del self._weights[name]
            del self.optimizer.g2[name]
        for name, (weight, square, _) in sorted(numbers.items()):
            self._weights[name] = weight
            self.optimizer.g2[name] = square
        self._remember(sorted(numbers))

    def changed(self) -> dict[Any, tuple[float, ...] | None]:
        """(weight, sum of squared gradients, tick) of each feature since this was last asked; None: forgotten."""
        return {name: self._of(name) if name in self._recency.ticks else None for name in self._recency.changed()}

    def numbers(self) -> dict[Any, tuple[float, ...]]:
        """(weight, sum of squared gradients, tick) of each feature."""
        return {name: self._of(name) for name in self._recency.ticks}

    def restore(self, numbers: dict[Any, tuple[float, ...]]) -> None:
        """Continue from the numbers, bit for bit."""
        squares: defaultdict[Any, float] = defaultdict(float)
        squares.update({name: square for name, (_, square, _) in numbers.items()})
        self.optimizer.g2 = squares
        self._weights = VectorDict({name: weight for name, (weight, _, _) in numbers.items()})
        self._recency.restore({name: tick for name, (_, _, tick) in numbers.items()})

    def _raw_dot_one(self, x: dict[Any, float]) -> float:
        return self._offset + self.residual_one(x)

    def _remember(self, names: Any) -> None:
        for name in self._recency.touch(names):
            del self._weights[name]
            del self.optimizer.g2[name]

    def _of(self, name: Any) -> tuple[float, ...]:
        return float(self._weights[name]), float(self.optimizer.g2[name]), float(self._recency.ticks[name])


class Crosses:
    """Corrects the batch margin per cross of persona × content × context.

    It learns where the learned outcome is known, and the margin is a number. Its numbers are (weight, sum of squared
    gradients, tick) by `cross_key`.
    """

    name: ClassVar[str] = CROSSES

    def __init__(self, model: OffsetLogisticRegression | None = None) -> None:
        self._model = model or OffsetLogisticRegression()
        self._of_persona: dict[str, dict[str, None]] = {}

    def correction(self, example: Example) -> float:
        """The correction of the example's margin, in logits, not bounded."""
        return self._model.residual_one(_features(example))

    def learn(self, example: Example, weight: float) -> None:
        """Learn the example's label, if it has one."""
        if example.label is None or not math.isfinite(example.margin):
            return
        offset = min(max(example.margin, -MAX_MARGIN), MAX_MARGIN)
        features = dict.fromkeys([*cross_keys(example), *position_keys(example)], 1.0)
        self._model.learn_one(features, example.label, weight, offset)
        self._of_persona.setdefault(example.persona, {}).update(dict.fromkeys(features))

    def of_persona(self, persona: str) -> dict[str, tuple[float, ...]]:
        """The numbers of one persona's crosses."""
        found = self._model.numbers_of(self._of_persona.get(persona, ()))
        self._of_persona[persona] = dict.fromkeys(found)  # those forgotten meanwhile need not be looked up any more
        return found

    def put_back(self, persona: str, numbers: Numbers) -> None:
        """Let the persona's crosses be what `of_persona` gave, and nothing else."""
        self._model.put_back(self._of_persona.get(persona, ()), numbers)
        self._of_persona[persona] = dict.fromkeys(numbers)

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""
        return self._model.changed()

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return self._model.numbers()

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        self._model.restore(dict(numbers))
        self._of_persona = {}
        for key in numbers:
            self._of_persona.setdefault(persona_of(key), {})[key] = None


def _features(example: Example) -> dict[str, float]:
    return dict.fromkeys(cross_keys(example), 1.0)
