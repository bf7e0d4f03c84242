"""What is learned of the personas of one shard: River's weights per persona and category, as numbers."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable

from river import linear_model, optim
from river.utils import VectorDict

from scoring.example import Example
from scoring.learners import Numbers, key_of

# AdaGrad's first step is this long whatever the gradient; a hundred outcomes move a weight by about one logit at most.
LEARNING_RATE = 0.05
# The gradient of the log loss lies within ±1 by itself; this keeps that true should the loss ever change.
CLIP_GRADIENT = 1.0


class OffsetLogisticRegression(linear_model.LogisticRegression):
    """River's logistic regression on top of a margin that is given with each example.

    The gradient is that of log loss at `weights · x + offset`, so the weights learn the residual only.

    >>> model = OffsetLogisticRegression(optim.SGD(0.1), intercept_lr=0.0)
    >>> model.learn_one_from({"TEA": 1.0}, True, offset=20.0)  # the margin was right: nothing left to learn
    >>> abs(model.weights["TEA"]) < 1e-9
    True
    """

    _offset = 0.0

    def learn_one_from(self, x: dict[str, float], y: bool, offset: float) -> None:
        """Learn one example whose margin before any correction is `offset`."""
        self._offset = offset
        try:
            self.learn_one(x, y)
        finally:
            self._offset = 0.0

    def _raw_dot_one(self, x: dict[str, float]) -> float:
        return float(super()._raw_dot_one(x)) + self._offset


class Shard:
    """Learns examples in their order; `numbers` is all the state there is: (weight, AdaGrad's sum of squares)."""

    def __init__(self) -> None:
        self._touched: dict[str, None] = {}
        self.restore({})

    def learn(self, examples: Iterable[Example]) -> None:
        """Learn those that have a label and a finite margin."""
        for example in examples:
            if example.label is None or not math.isfinite(example.margin):
                continue
            key = key_of(example.persona, example.category)
            self._model.learn_one_from({key: 1.0}, example.label, example.margin)
            self._touched[key] = None

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """What has changed since this was last asked."""
        touched, self._touched = self._touched, {}
        return {key: self._of(key) for key in touched}

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state, from which `restore` continues bit for bit."""
        return {str(key): self._of(str(key)) for key in self._model.weights}

    def restore(self, numbers: Numbers) -> None:
        """Be as the one was that these numbers are of."""
        optimizer = optim.AdaGrad(LEARNING_RATE)
        squares: defaultdict[Hashable, float] = defaultdict(float)
        squares.update({key: square for key, (_, square) in numbers.items()})
        optimizer.g2 = squares
        self._model = OffsetLogisticRegression(optimizer, intercept_lr=0.0, clip_gradient=CLIP_GRADIENT)
        self._model._weights = VectorDict({key: weight for key, (weight, _) in numbers.items()})

    def _of(self, key: str) -> tuple[float, ...]:
        return float(self._model.weights[key]), float(self._model.optimizer.g2[key])
