"""The learner of crosses learns the residual, stays within its memory, and is a River estimator."""

import math
import random

import pytest
from msgspec.structs import replace
from river.linear_model import LogisticRegression

from scoring.cross_keys import IN_CONTEXT, cross_features, persona_of
from scoring.crosses import CLIP_GRADIENT, LEARNING_RATE, Crosses, OffsetLogisticRegression
from scoring.example import Example
from scoring.learners import MARKS
from tests.scoring.examples import PERSONAS, drawn
from tests.scoring.river_checks import Check, checks_of


def example(margin: float, label: bool | None, category: str = "TEA") -> Example:
    what = ("r", "u", "loyal", "", 1, "category", category, category, "", "", "", "")
    return Example(*what, 0, margin, "", 0.0, True, label)


@pytest.mark.parametrize("check", checks_of(OffsetLogisticRegression(room=20)))
def test_it_is_what_river_asks_of_an_estimator(check: Check) -> None:
    """Each of River's own checks of classifiers passes."""
    check(OffsetLogisticRegression(room=20))


def test_a_step_is_the_textbooks() -> None:
    """AdaGrad with a fading sum of squares, at sigmoid(offset + weight): nothing else moves a weight."""
    model = OffsetLogisticRegression(learning_rate=0.5, accumulated=1.0, fade=0.9)
    weight, squares = 0.0, 0.0
    for offset, label, share in ((-2.0, True, 1.0), (1.0, False, 0.5), (0.3, True, 0.25)):
        model.learn_one({"TEA": 1.0}, label, share, offset)
        gradient = share * (1.0 / (1.0 + math.exp(-(offset + weight))) - label)
        squares = 0.9 * squares + gradient**2
        weight -= 0.5 / math.sqrt(1.0 + squares) * gradient
        assert model.weights["TEA"] == pytest.approx(weight, abs=1e-12)
    assert model.intercept == 0.0


def test_an_example_takes_part_in_its_crosses_in_one_order() -> None:
    """A category's crosses are those of the words that are known; an item has its own besides, after the category's."""
    words = ("r", "u", "loyal", "home", 3, "item", "green|tea", "TEA", "evening", "mon", "", "front")
    of_item = Example(*words, 0, 0.0, "", 0.0, True, True)
    assert list(cross_features(of_item).items()) == [
        ("category||loyal|TEA", 1.0),
        ("item||loyal|green%7Ctea", 1.0),
        ("daypart|evening|loyal|TEA", IN_CONTEXT),
        ("weekday|mon|loyal|TEA", IN_CONTEXT),
        ("page|front|loyal|TEA", IN_CONTEXT),
        ("placement|home|loyal|TEA", IN_CONTEXT),
    ]
    assert cross_features(example(0.0, True)) == {"category||loyal|TEA": 1.0}


def test_it_learns_what_the_model_does_not_know() -> None:
    """Where margins are right hardly anything is learned; where they are one logit too low, about one logit is."""
    rng = random.Random(3)
    crosses = Crosses()
    for _ in range(20_000):
        for name, shift in (("RIGHT", 0.0), ("TOO LOW", 1.0)):
            margin = rng.uniform(-2.0, 1.0)
            bought = rng.random() < 1.0 / (1.0 + math.exp(-(margin + shift)))
            crosses.learn(example(margin, bought, name), 1.0)
    weights = {key: weight for key, (weight, *_) in crosses.numbers().items()}
    assert abs(weights["category||loyal|RIGHT"]) < 0.15
    assert 0.85 < weights["category||loyal|TOO LOW"] < 1.15


def test_a_rare_outcome_does_not_drive_right_margins_away() -> None:
    """With one outcome in a hundred, as the margins say, weights stay near 0 (from no accumulator they do not)."""

    def learned(accumulated: float) -> float:
        rng = random.Random(5)
        model = OffsetLogisticRegression(LEARNING_RATE, accumulated)
        greatest, x = 0.0, {"category": 1.0} | {f"in context {number}": IN_CONTEXT for number in range(5)}
        for _ in range(300):
            model.learn_one(x, rng.random() < 0.01, 1.0, -4.595)
            greatest = max(greatest, abs(model.residual_one(x)))
        return greatest

    assert learned(accumulated=1.0) < 0.8
    assert learned(accumulated=1e-8) > 1.5


@pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_left_out(margin: float) -> None:
    """A poisoned margin, and an outcome that says nothing of the label, change nothing at all."""
    crosses = Crosses()
    crosses.learn(example(-1.0, True), 1.0)
    before = crosses.numbers()
    crosses.changed()
    crosses.learn(example(margin, True), 1.0)
    crosses.learn(example(-1.0, None), 1.0)
    assert crosses.numbers() == before
    assert crosses.changed() == {}


def test_no_step_is_longer_than_the_rate() -> None:
    """Whatever finite margins come, and however wrong they are."""
    crosses, before = Crosses(), 0.0
    for margin in (1e300, -1e300, 800.0, -800.0):
        for label in (True, False):
            crosses.learn(example(margin, label), 1.0)
            (weight, square, *_), *_ = crosses.numbers().values()
            assert abs(weight - before) <= LEARNING_RATE
            assert square <= 8 * CLIP_GRADIENT**2
            before = weight


def test_what_was_learned_least_recently_is_forgotten() -> None:
    """Beyond its room a model forgets weights and squares together, says so once, and starts anew."""
    model = OffsetLogisticRegression(room=2)
    for name in ("a", "b", "a", "c"):
        model.learn_one({name: 1.0}, True)
    assert set(model.weights) == set(model.optimizer.g2) == {"a", "c"}
    changed = model.changed()
    assert changed["b"] is None
    assert changed["a"] == model.numbers()["a"]
    assert model.changed() == {}
    model.learn_one({"b": 1.0}, True)
    assert list(model.numbers()) == ["c", "b"]
    assert model.changed() == {"b": model.numbers()["b"], "a": None}
    first = OffsetLogisticRegression()
    first.learn_one({"b": 1.0}, True)
    assert model.numbers()["b"][:2] == first.numbers()["b"][:2]


def weights_of(crosses: Crosses, persona: str) -> dict[str, tuple[float, ...]]:
    """Weight and squares of a persona's crosses."""
    return {
        key: values[:2] for key, values in crosses.numbers().items() if MARKS not in key and persona_of(key) == persona
    }


@pytest.mark.parametrize("seed", range(5))
def test_it_goes_back_to_the_mark_before_the_last(seed: int) -> None:
    """As if copied: whatever was learned, marked and gone back before, of this persona and of others."""
    rng, crosses, first, last = random.Random(seed), Crosses(), {}, {}
    went_back = 0
    for each in drawn(seed, 2_000):
        crosses.learn(each, 0.5)
        draw, persona = rng.random(), rng.choice(PERSONAS)
        if draw < 0.02:
            crosses.mark(persona)
            first[persona], last[persona] = last.get(persona, {}), weights_of(crosses, persona)
        elif draw < 0.03:
            crosses.go_back(persona)
            went_back += bool(first.get(persona))
            assert weights_of(crosses, persona) == first.get(persona, {})
            first[persona] = last[persona] = first.get(persona, {})
        elif draw < 0.034:
            crosses.forget(persona)
            first[persona] = last[persona] = {}
            assert weights_of(crosses, persona) == {}
    assert went_back


@pytest.mark.parametrize("seed", range(3))
def test_restarts_change_nothing(seed: int) -> None:
    """Made anew from its numbers after any example, in whatever order they come, with a room that is too small."""
    rng = random.Random(seed)
    whole, broken = (Crosses(OffsetLogisticRegression(room=40)) for _ in range(2))
    for each in drawn(seed, 300):
        if rng.random() < 0.05:
            turn = rng.choice(["mark", "mark", "go_back", "forget"])
            for crosses in (whole, broken):
                getattr(crosses, turn)(each.persona)
        whole.learn(each, 0.5)
        if rng.random() < 0.2:
            numbers = list(broken.numbers().items())
            rng.shuffle(numbers)
            broken = Crosses(OffsetLogisticRegression(room=40))
            broken.restore(dict(numbers))
        broken.learn(each, 0.5)
    assert broken.numbers() == whole.numbers()
    features = [[key for key in each.numbers() if not key.startswith(MARKS)] for each in (whole, broken)]
    assert features[0] == features[1], "in the order in which they will be forgotten"
    assert 20 < len(features[0]) <= 40


def test_what_stands_low_does_not_seem_worse_than_it_is() -> None:
    """Looked at half as often from place to place, equal things get equal corrections: positions explain the rest."""
    rng, crosses = random.Random(5), Crosses()
    for _ in range(6_000):
        for position, category in enumerate(("TEA", "RICE", "SALT"), 1):
            came = rng.random() < 0.4 / 2 ** (position - 1)
            crosses.learn(replace(example(-1.0, came, category), position=position), 1.0)
    first, _, last = (crosses.correction(example(-1.0, True, each)) for each in ("TEA", "RICE", "SALT"))
    alone = Crosses()
    rng = random.Random(5)
    for _ in range(6_000):
        for position, category in enumerate(("TEA", "RICE", "SALT"), 1):
            came = rng.random() < 0.4 / 2 ** (position - 1)
            alone.learn(example(-1.0, came, category), 1.0)
    said = alone.correction(example(-1.0, True, "TEA")) - alone.correction(example(-1.0, True, "SALT"))
    assert abs(first - last) < 0.75 * said


class RiversOwn(OffsetLogisticRegression):
    """The same model, but that it learns as River does."""

    offset = 0.0

    def learn_one(self, x: dict[str, float], y: bool, w: float = 1.0, offset: float = 0.0, mark: int = 0) -> None:
        self.offset = offset
        LogisticRegression.learn_one(self, x, y, w)

    def _raw_dot_one(self, x: dict[str, float]) -> float:
        return self.offset + self.residual_one(x)


def test_it_learns_as_river_does_to_the_last_bit() -> None:
    """Thousands of examples with weights, offsets and odd values: River's own path ends with these bits."""
    rng, ours, rivers = random.Random(1), OffsetLogisticRegression(), RiversOwn()
    for _ in range(3_000):
        x = {name: rng.choice([1.0, rng.gauss(0.0, 1.0)]) for name in rng.sample("abcdefghij", 4)}
        what = x, rng.random() < 0.3, rng.random(), rng.uniform(-40.0, 40.0)
        for model in (ours, rivers):
            model.learn_one(*what)
        assert ours.predict_proba_one(x, 0.5) == rivers.predict_proba_one(x, 0.5)
    assert ours.weights == rivers.weights
    assert ours.optimizer.g2 == rivers.optimizer.g2
    assert ours.optimizer.n_iterations == rivers.optimizer.n_iterations
