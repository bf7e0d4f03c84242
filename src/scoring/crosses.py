"""The learner of crosses: River's logistic regression on persona × content × context, on top of the batch margin.

The margin stands in the gradient, so what the model knows already is not learned again: weights are corrections in
logits. AdaGrad's steps (Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 12, 2011), with two changes:

  - the sum of squares does not begin at 0: a first step is as long as its gradient, not as long as the rate, so that of
    a rare outcome the many small gradients of what did not come do not outrun the few great ones of what did;
  - it fades: AdaGrad's own steps become ever shorter, and what was long learned would follow no change of tastes.

What weights were at the last two marks is remembered beside them, so that nobody need copy them to go back:

    mark 3 ──── learned ────▶ mark 4 ──── learned ────▶ now
      └─ `go_back` leads here   └─ too young to be known as good
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar

from river import linear_model, optim
from river.utils import VectorDict

from scoring.cross_keys import cross_features, persona_of, position_features
from scoring.example import Example
from scoring.learners import CROSSES, MARKS, Numbers, joined, key_of, parts_of
from scoring.recency import Recency

# Beyond, a probability is 0 or 1 to River.
MAX_MARGIN = 30.0
# Beyond these steps others than who changes lose more than that persona gains (`opportune bench adaptation`).
LEARNING_RATE = 0.2
ACCUMULATED = 1.0
# Half of what was learned of how long steps may be is of the last 34 examples.
FADE = 0.98
# The gradient of the log loss lies within ±1 by itself; this keeps that true should the loss ever change.
CLIP_GRADIENT = 1.0
ROOM = 100_000
_OF_MARKS = joined(key_of(MARKS), "")


# Mark, weight and squares at that mark, weight and squares at the mark before.
_Earlier = tuple[float, float, float, float, float]
# Weight and squares of what nothing was learned about.
_NOTHING = (0.0, 0.0)


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
        sums, rate, fade, accumulated = self.g2, self.learning_rate, self.fade, self.accumulated
        for name, gradient in g.items():
            sums[name] = squares = fade * sums[name] + gradient * gradient
            w[name] = w.get(name, 0.0) - rate * gradient / math.sqrt(accumulated + squares)
        return w


class OffsetLogisticRegression(linear_model.LogisticRegression):
    """River's logistic regression on top of a margin that is given with each example.

    The gradient is that of log loss at `offset + weights · x`, so the weights learn the residual only. Without an
    offset it is River's own, but that it has no intercept, sums the weights of the features in the order in which x
    gives them, and forgets the features that it learned about least recently where there are more than `room`.

    learning_rate, accumulated, fade   as in `FadingAdaGrad`
    room            how many features are remembered

    Its numbers are, for each feature: weight, sum of squared gradients, tick, then the mark under which it was learned
    about last, and weight and squares as they were at that mark and at the one before.

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
        self._earlier: dict[Any, _Earlier] = {}

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0, offset: float = 0.0, mark: int = 0) -> None:
        """Learn one example whose margin before any correction is `offset`, under a mark that never becomes less.

        To the last bit as River's own does; that goes through copies of the weights, which takes several times as long.
        """
        self._keep(x, mark)
        gradient = float(self.loss.gradient(y_true=y, y_pred=offset + self.residual_one(x))) * w
        gradient = min(max(gradient, -self.clip_gradient), self.clip_gradient)
        self.optimizer.step(w=self._weights, g={name: value * gradient for name, value in x.items()})
        self._remember(x)

    def learn_many(self, X: Any, y: Any, w: Any = 1) -> None:  # noqa: N803 River's name
        """Learn a mini-batch without offsets, as River does."""
        self._keep(X.columns, 0)
        super().learn_many(X, y, w)
        self._remember(X.columns)

    def predict_proba_one(self, x: dict[Any, Any], offset: float = 0.0, **kwargs: Any) -> dict[Any, float]:
        """The probability of False and of True, where the margin before any correction is `offset`."""
        p = self.loss.mean_func(offset + self.residual_one(x))
        return {False: 1.0 - p, True: p}

    def residual_one(self, x: dict[Any, float]) -> float:
        """The correction of the margin: weights · x, added in the order of x."""
        total, weight = 0.0, self._weights.get
        for name, value in x.items():
            total += weight(name, 0.0) * value
        return total

    def go_back(self, names: Iterable[Any], mark: int) -> None:
        """Let the features of these names be as they were at the mark before this one; forget those that were not."""
        known = sorted(name for name in names if name in self._earlier)
        old = {name: _at_the_mark_before(self._earlier[name], mark) for name in known}
        changed = {name: values for name, values in old.items() if values is not None}
        self.forget(name for name, values in changed.items() if values == _NOTHING)
        for name, (weight, square) in changed.items():
            if name in self._earlier:
                self._weights[name], self.optimizer.g2[name] = weight, square
                self._recency.touch([name])

    def forget(self, names: Iterable[Any]) -> None:
        """Forget the features of these names."""
        known = [name for name in names if name in self._earlier]
        self._recency.drop(known)
        self._drop(known)

    def changed(self) -> dict[Any, tuple[float, ...] | None]:
        """The numbers of each feature that have changed since this was last asked; None: forgotten."""
        return {name: self._of(name) if name in self._recency.ticks else None for name in self._recency.changed()}

    def numbers(self) -> dict[Any, tuple[float, ...]]:
        """The numbers of each feature."""
        return {name: self._of(name) for name in self._recency.ticks}

    def restore(self, numbers: dict[Any, tuple[float, ...]]) -> None:
        """Continue from the numbers, bit for bit."""
        self.optimizer.g2 = defaultdict(float, {name: square for name, (_, square, *_) in numbers.items()})
        self._weights = VectorDict({name: weight for name, (weight, *_) in numbers.items()})
        self._earlier = {name: (mark, w1, s1, w0, s0) for name, (_, _, _, mark, w1, s1, w0, s0) in numbers.items()}
        self._recency.restore({name: tick for name, (_, _, tick, *_) in numbers.items()})

    def _keep(self, names: Iterable[Any], mark: int) -> None:
        """Remember what features are that have not been learned about under this mark yet."""
        kept = self._earlier
        for name in names:
            if name not in kept:
                kept[name] = (float(mark), *_NOTHING, *_NOTHING)
            elif kept[name][0] != mark:
                now = self._weights[name], self.optimizer.g2[name]
                before = _at_the_mark_before(kept[name], mark)
                kept[name] = (float(mark), *now, *(now if before is None else before))

    def _remember(self, names: Any) -> None:
        self._drop(self._recency.touch(names))

    def _drop(self, names: Iterable[Any]) -> None:
        for name in names:
            del self._weights[name], self.optimizer.g2[name], self._earlier[name]

    def _of(self, name: Any) -> tuple[float, ...]:
        values = self._weights[name], self.optimizer.g2[name], float(self._recency.ticks[name])
        return (*map(float, values), *self._earlier[name])


def _at_the_mark_before(earlier: _Earlier, mark: int) -> tuple[float, float] | None:
    """Weight and squares of a feature at the mark before this one; None where they are what they are now."""
    last, weight, square, weight_before, square_before = earlier
    if last == mark:
        return weight_before, square_before
    return (weight, square) if last == mark - 1 else None


class Crosses:
    """Corrects the batch margin per cross of persona × content × context.

    It learns where the learned outcome is known, and the margin is a number. Its numbers are those of the model, by
    `cross_key`, and each persona's mark.
    """

    name: ClassVar[str] = CROSSES

    def __init__(self, model: OffsetLogisticRegression | None = None) -> None:
        self._model = model or OffsetLogisticRegression()
        self._of_persona: dict[str, set[str]] = {}
        self._marks: dict[str, int] = {}
        self._newly_marked: set[str] = set()
        # An example is looked at and then learned: its crosses are the same.
        self._latest: tuple[Example | None, dict[str, float]] = (None, {})

    def correction(self, example: Example) -> float:
        """The correction of the example's margin, in logits, not bounded."""
        return self._model.residual_one(self._crossed(example))

    def learn(self, example: Example, weight: float) -> None:
        """Learn the example's label, if it has one."""
        if example.label is None or not math.isfinite(example.margin):
            return
        offset = min(max(example.margin, -MAX_MARGIN), MAX_MARGIN)
        features = self._crossed(example) | position_features(example)
        self._model.learn_one(features, example.label, weight, offset, self._marks.get(example.persona, 0))
        self._of_persona.setdefault(example.persona, set()).update(features)

    def mark(self, persona: str) -> None:
        """Set a mark: from here on `go_back` leads to where the persona's last one was set."""
        self._set(persona, self._marks.get(persona, 0) + 1)

    def go_back(self, persona: str) -> None:
        """Let the persona's crosses be as they were at the mark before the last one; both marks are there then."""
        mark = self._marks.get(persona, 0)
        self._model.go_back(self._of_persona.get(persona, ()), mark)
        self._set(persona, mark + 2)

    def forget(self, persona: str) -> None:
        """Forget the persona's crosses."""
        self._model.forget(sorted(self._of_persona.pop(persona, ())))
        self._set(persona, self._marks.get(persona, 0) + 2)

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """The numbers that differ from when this was last asked; None of what was forgotten since."""
        found = self._model.changed()
        for key, values in found.items():
            if values is None:
                self._of_persona.get(persona_of(key), set()).discard(key)
        newly, self._newly_marked = self._newly_marked, set()
        return found | {key_of(MARKS, persona): (float(self._marks[persona]),) for persona in newly}

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return self._model.numbers() | {key_of(MARKS, each): (float(mark),) for each, mark in self._marks.items()}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        marks = {key: values for key, values in numbers.items() if key.startswith(_OF_MARKS)}
        self._marks = {parts_of(key)[1]: int(mark) for key, (mark,) in marks.items()}
        self._model.restore({key: values for key, values in numbers.items() if key not in marks})
        self._of_persona = {}
        for key in numbers.keys() - marks.keys():
            self._of_persona.setdefault(persona_of(key), set()).add(key)

    def _set(self, persona: str, mark: int) -> None:
        self._marks[persona] = mark
        self._newly_marked.add(persona)

    def _crossed(self, example: Example) -> dict[str, float]:
        if self._latest[0] is not example:
            self._latest = (example, cross_features(example))
        return self._latest[1]
