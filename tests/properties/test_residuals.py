"""What scorers hold is what the learners have learned: to the last bit, by whatever deltas it came."""

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.event import DAY_US
from scoring import thing_tables
from scoring.cross_keys import Context, cross_features
from scoring.crosses import OffsetLogisticRegression
from scoring.example import Example
from scoring.learners import Numbers, apart, key_of
from scoring.rates import Rates
from scoring.residuals import Residuals
from scoring.shard import Shard
from tests.scoring.examples import CATEGORIES, DAYPARTS, DEVICES, ITEMS, PAGES, PERSONAS, PLACEMENTS, WEEKDAYS, drawn

BOUND = 0.25
UNKNOWN = "unheard of"
KEYS = st.one_of(
    st.builds(
        lambda cross, *parts: key_of("crosses", cross, *parts),
        st.sampled_from(["category", "daypart", "placement"]),
        st.sampled_from(["", "home", "night"]),
        st.sampled_from(PERSONAS),
        st.sampled_from(CATEGORIES),
    ),
    st.builds(lambda *parts: key_of("crosses", "item", "", *parts), st.sampled_from(PERSONAS), st.sampled_from(ITEMS)),
    st.builds(
        lambda *parts: key_of("rates", "category", *parts), st.sampled_from(PERSONAS), st.sampled_from(CATEGORIES)
    ),
    st.builds(lambda persona: key_of("rates", "category", persona), st.sampled_from(PERSONAS)),
    st.just(key_of("of a learner that is no more", "TEA")),
)
NUMBER = st.one_of(st.floats(-1.0, 1.0), st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e308, -1e308]))
VALUES = st.one_of(st.none(), st.tuples(NUMBER, NUMBER, NUMBER, NUMBER))


def contexts() -> Iterator[Context]:
    """Some of all contexts, known and unknown ones."""
    rng = random.Random(2)
    for _ in range(20):
        yield Context(*[rng.choice(each) for each in (DAYPARTS, WEEKDAYS, DEVICES, (*PAGES, UNKNOWN), PLACEMENTS)])


def everything(residuals: Residuals) -> list[list[float]]:
    """Everything that can be asked, of known and unknown things."""
    found = []
    categories = [*CATEGORIES, UNKNOWN]
    items = [*ITEMS, UNKNOWN]
    for persona in (*PERSONAS, UNKNOWN):
        for context in contexts():
            found.append(residuals.lookup(persona, context, "category", categories, categories).tolist())
            of_items = [categories[place % len(categories)] for place in range(len(items))]
            found.append(residuals.lookup(persona, context, "item", items, of_items).tolist())
        found += [each.tolist() for each in residuals.rates(persona, categories, 3 * DAY_US)]
        for placement in PLACEMENTS:
            found += [each.tolist() for each in residuals.block_rates(persona, placement, items, 3 * DAY_US)]
    return found


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=8), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_reload_equals_any_sequence_of_deltas(deltas: list[dict[str, tuple[float, ...] | None]]) -> None:
    """Whatever came in whatever steps, forgotten things and numbers that are none included."""
    numbers: dict[str, tuple[float, ...] | None] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(thing_tables, "_FEW", 4)  # tidied up again and again
        followed = Residuals(BOUND)
        for version, delta in enumerate(deltas, 1):
            followed.apply(version, delta)
            numbers |= delta
    held: Numbers = {key: values for key, values in numbers.items() if values is not None}
    reloaded = Residuals(BOUND)
    reloaded.apply(7, {key_of("crosses", "item", "", "loyal", "i0"): (9.0, 1.0, 1.0)})  # what is held no more
    reloaded.reload(len(deltas), held)
    assert reloaded.version == followed.version == len(deltas)
    assert everything(reloaded) == everything(followed)
    corrections = [each for found in everything(followed) for each in found]
    assert all(math.isfinite(each) for each in corrections)


@given(st.dictionaries(KEYS, VALUES, max_size=20))
def test_no_correction_is_beyond_the_bound(changed: dict[str, tuple[float, ...] | None]) -> None:
    """However wrong a learner is."""
    residuals = Residuals(BOUND)
    residuals.apply(1, changed)
    for persona in PERSONAS:
        for context in contexts():
            found = residuals.lookup(persona, context, "item", ITEMS[: len(CATEGORIES)], CATEGORIES)
            assert np.all(np.abs(found) <= BOUND)


@pytest.mark.parametrize("kind", ["category", "item"])
def test_a_hundred_candidates_are_rivers_to_the_last_bit(kind: str) -> None:
    """sigmoid(offset + residual) by `math.exp` is `predict_proba_one` of the learner's own model."""
    shard = Shard(bound=100.0)
    shard.learn(drawn(1, 2_000))
    model, residuals = OffsetLogisticRegression(), Residuals(bound=100.0)
    model.restore(apart(shard.numbers())["crosses"])
    residuals.reload(1, shard.numbers())
    rng = random.Random(7)
    distinct = set()
    for context in contexts():
        persona = rng.choice(PERSONAS)
        categories = [rng.choice([*CATEGORIES, UNKNOWN]) for _ in range(100)]
        ids = [rng.choice([*ITEMS, UNKNOWN]) for _ in range(100)] if kind == "item" else categories
        offsets = [rng.uniform(-6.0, 6.0) for _ in range(100)]
        words = [context.daypart, context.weekday, context.device, context.page]
        found = residuals.lookup(persona, context, kind, ids, categories).tolist()
        for offset, residual, thing, category in zip(offsets, found, ids, categories, strict=True):
            shown = ("r", "u", persona, context.placement, 1, kind, thing, category, *words)
            x = cross_features(Example(*shown, 0, offset, "", 0.0, True, None))
            rivers = model.predict_proba_one(x, offset)[True]
            assert 1.0 / (1.0 + math.exp(-(offset + residual))) == rivers
            distinct.add(residual)
    assert len(distinct) > 50


def test_rates_are_the_learners() -> None:
    """(a, b) of categories and blocks is what the learner itself says, of known and unknown ones."""
    rates, residuals = Rates(), Residuals(BOUND)
    for each in drawn(3, 1_000):
        rates.learn(each, 1.0)
    residuals.reload(1, {f"rates|{key}": values for key, values in rates.numbers().items()})
    categories, items, t = [*CATEGORIES, UNKNOWN], [*ITEMS, UNKNOWN], 60 * DAY_US
    for persona in (*PERSONAS, UNKNOWN):
        found = zip(*residuals.rates(persona, categories, t), strict=True)
        expected = [rates.beta("category", t=t, persona=persona, category=each) for each in categories]
        assert np.array(list(found)) == pytest.approx(np.array(expected), rel=1e-12)
        found = zip(*residuals.block_rates(persona, "home", items, t), strict=True)
        expected = [rates.beta("block", t=t, persona=persona, placement="home", item=each) for each in items]
        assert np.array(list(found)) == pytest.approx(np.array(expected), rel=1e-12)


def test_what_was_forgotten_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Things and contexts that come and go leave nothing behind, and those that stay keep their numbers."""
    monkeypatch.setattr(thing_tables, "_FEW", 16)
    residuals = Residuals(BOUND)
    kept = {key_of("crosses", "category", "", "loyal", f"c{number}"): (number / 100.0,) for number in range(10)}
    residuals.apply(1, kept)
    for number in range(2_000):
        passing = key_of("crosses", "page", f"page {number}", "loyal", f"thing {number}")
        residuals.apply(number, {passing: (0.1,)})
        residuals.apply(number, {passing: None})
    tables = residuals._categories
    assert len(tables._rows) + len(tables._tables) < 40
    names = [f"c{number}" for number in range(10)]
    found = residuals.lookup("loyal", Context(), "category", names, names)
    assert found.tolist() == [number / 100.0 for number in range(10)]
