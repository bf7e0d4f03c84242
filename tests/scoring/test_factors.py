"""Factors: each keeps the contract of the list, and the breakdown adds up to the score to the last bit."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.column import Column
from behavior.context import Counts, tables_of
from behavior.event import HOUR_US, SECOND_US
from behavior.manifest import Span
from behavior.moment import Moment
from behavior.served import CATEGORY, ITEM
from scoring.candidates import Candidates
from scoring.factors import FACTORS, Evidence, Factor, relevance, views_read, weigh
from scoring.placements import OF_REQUEST, Placement
from scoring.request import ScoreRequest
from scoring.signals import Signals
from scoring.standing import Standing

NOW = 1_508_040_000_000_000
ALL = Signals(
    pair_count="pair:n", user_count="user:n", pair_ages=("pair:age", "pair:seen"), taste="pair:n", likes="pair:likes",
    dislikes="pair:dislikes", recent="user:recent",
)  # fmt: skip
EVERY = {factor.name: 1.0 for factor in FACTORS}
LARGE = 2.0**40


def number(values: np.ndarray, known: np.ndarray, dtype: str) -> Column:
    return Column(values.astype(dtype), known)


def evidence(n: int = 3, seed: int = 0, kind: str = CATEGORY, signals: Signals = ALL, **said: Any) -> Evidence:
    """Random evidence about n candidates of as many categories, some of it missing, some of it large."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"c{place}" for place in range(n))
    categories = ids if kind == CATEGORY else tuple(f"g{place % 7}" if place % 5 else "" for place in range(n))

    def counts(size: int) -> Column:
        return number(np.exp2(rng.uniform(0, 40, size)) - 1, rng.random(size) < 0.7, "int64")

    finals = {
        "pair:n": counts(n), "pair:likes": counts(n), "pair:dislikes": counts(n), "user:n": counts(1),
        "pair:age": number(rng.uniform(0, 4e7, n), rng.random(n) < 0.5, "float32"),
        "pair:seen": number(rng.uniform(0, 4e7, n), rng.random(n) < 0.5, "float32"),
        "user:recent": Column.of(
            [[f"purchase|{NOW - HOUR_US}|c0", f"item_view|{NOW}|c1", f"purchase|{NOW}|"]], "texts"
        ),
    }  # fmt: skip
    known = n // 2 + 1
    item_rows = {f"c{place}": place for place in range(known)}
    standing = Standing(
        category_rows=item_rows if kind == CATEGORY else {f"g{place}": place for place in range(5)},
        category_shares=rng.dirichlet(np.ones((known if kind == CATEGORY else 5) + 1)) + 1e-12,
        items_within=rng.integers(0, 9, (known if kind == CATEGORY else 5) + 1),
        item_rows=item_rows,
        item_counts=np.append(rng.integers(0, 1000, known), 0).astype(np.float64),
        item_categories=[*(f"c{place}" for place in range(known)), ""],
        bought=1e5,
    )
    groups = tuple(sorted(set(categories)))[: known + 1]
    counted = [rng.integers(0, 10**9, (len(groups), width)) for width in (24, 7, 1)]
    tables = tables_of(Counts(groups, counted[0], counted[1], ("Loyal",), counted[2]), Span(0, 1), "personas")
    fields = {
        "request": ScoreRequest("u", device="phone", page="/home"),
        "placement": Placement(weights=EVERY, boosts={"c1": 0.5}, devices={"phone": {"c0": 1.0}}, pages={"/x": {}}),
        "candidates": Candidates(kind, ids, categories, (OF_REQUEST,)),
        "moment": Moment(np.array([NOW]), np.array([0])),
        "persona": "Loyal",
        "finals": finals,
        "margins": rng.normal(-3, 2, n).astype(np.float32).astype(np.float64),
        "residuals": rng.uniform(-1, 1, n),
        "signals": signals,
        "standing": standing,
        "tables": tables,
    }
    return Evidence(**fields | said)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda factor: factor.name)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), kind=st.sampled_from([CATEGORY, ITEM]))
def test_every_factor_keeps_the_contract(factor: Factor, seed: int, n: int, kind: str) -> None:
    """One finite float64 per candidate, the same for the same evidence, and none of it is changed by asking."""
    first, again = factor.of(evidence(n, seed, kind)), factor.of(evidence(n, seed, kind))
    assert first is not None
    assert again is not None
    assert (first.dtype, first.shape) == (np.float64, (n,))
    assert np.isfinite(first).all()
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("factor", FACTORS, ids=lambda factor: factor.name)
def test_a_factor_of_weight_0_is_not_computed(factor: Factor) -> None:
    """It is neither asked for its values nor part of the breakdown, and the views it reads are not read."""

    def refuse(_: Evidence) -> np.ndarray:
        raise AssertionError(factor.name)

    never = Factor(factor.name, "", "", 1.0, refuse, factor.reads)
    others = [each for each in FACTORS if each is not factor]
    asked = evidence(placement=Placement(weights={**EVERY, factor.name: 0.0}))
    assert factor.name not in [each.name for each in weigh(asked, [never, *others])]
    assert views_read(asked.placement, ALL, [never]) == set()


@pytest.mark.parametrize("factor", [each for each in FACTORS if each.reads], ids=lambda factor: factor.name)
def test_a_factor_that_the_plan_has_no_features_for_is_left_out(factor: Factor) -> None:
    """No feature to make it from means no addend, not an addend of 0."""
    names = [each.name for each in weigh(evidence(signals=Signals(), finals={}))]
    assert factor.name not in names
    assert factor.name in [each.name for each in weigh(evidence())]


@given(seed=st.integers(0, 2**32), n=st.integers(1, 30), data=st.data())
def test_the_breakdown_adds_up_to_the_score_exactly(seed: int, n: int, data: st.DataObject) -> None:
    """Whatever the weights, adding the contributions in their order, in float64, gives the very bits of the score."""
    weights = {name: data.draw(st.floats(-100, 100)) for name in EVERY}
    weighed = weigh(evidence(n, seed, placement=Placement(weights=weights)))
    scores = relevance(weighed, n)
    for place in range(n):
        total = 0.0
        for factor in weighed:
            assert factor.contributions[place] == factor.weight * factor.values[place]
            total += float(factor.contributions[place])
        assert struct.pack("<d", total) == struct.pack("<d", float(scores[place]))
        assert math.isfinite(total)


@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.prove)])
def test_the_breakdown_adds_up_in_very_many_candidates(n: int) -> None:
    """All factors at once, irregular weights: not one score is off by a bit, in plain Python floats."""
    weights = {factor.name: 1 / (3 + place) for place, factor in enumerate(FACTORS)}
    placement = Placement(
        weights=weights, boosts={"c1": 0.1, "c7": -0.3}, devices={"phone": {"c0": 0.7}}, pages={"/home": {"c2": 0.9}}
    )
    weighed = weigh(evidence(n, seed=5, placement=placement))
    assert [each.name for each in weighed] == [factor.name for factor in FACTORS]
    scores = relevance(weighed, n).tolist()
    totals = [0.0] * n
    for factor in weighed:
        totals = [total + share for total, share in zip(totals, factor.contributions.tolist(), strict=True)]
    assert totals == scores
    assert all(map(math.isfinite, scores))


def test_without_a_placement_model_and_learner_make_the_score() -> None:
    """The built-in weights, and the order in which all factors are added."""
    assert [each.name for each in weigh(evidence(placement=Placement()))] == ["propensity", "learner"]
    assert [factor.name for factor in FACTORS] == [
        "propensity", "affinity", "preference", "recency", "popularity", "persona", "daypart", "weekday", "learner",
        "device", "page", "fatigue", "boost",
    ]  # fmt: skip


def test_nothing_to_add_is_0() -> None:
    """A placement whose only factor is not there still has a score for each candidate."""
    weights = dict.fromkeys(EVERY, 0.0) | {"preference": 1.0}
    weighed = weigh(evidence(signals=Signals(), finals={}, placement=Placement(weights=weights)))
    assert relevance(weighed, 3).tolist() == [0.0, 0.0, 0.0]


def value_of(name: str, asked: Evidence) -> list[float]:
    (factor,) = (each for each in FACTORS if each.name == name)
    values = factor.of(asked)
    assert values is not None
    return values.tolist()


def known(values: list[Any], dtype: str = "int64") -> Column:
    return Column.of(values, dtype)


def test_affinity_is_the_lift_over_everybody() -> None:
    """By hand: 8 of 10 where everybody has a quarter, smoothed by 10 purchases as everybody makes them; 0 of a
    stranger.
    """
    standing = Standing(category_rows={"c0": 0, "c1": 1}, category_shares=np.array([0.25, 0.5, 0.25]))
    finals = {"pair:n": known([8, None, None]), "user:n": known([10])}
    expected = [math.log((8 + 2.5) / 20 / 0.25), math.log(5 / 20 / 0.5), math.log(2.5 / 20 / 0.25)]
    assert value_of("affinity", evidence(finals=finals, standing=standing)) == pytest.approx(expected, rel=1e-12)
    stranger = {"pair:n": known([None] * 3), "user:n": known([None])}
    assert value_of("affinity", evidence(finals=stranger, standing=standing)) == [0.0, 0.0, 0.0]


def test_recency_takes_the_latest_act_and_fades() -> None:
    """A week halves it; of the acts the youngest counts; never is 0."""
    week = 7 * 86_400.0
    finals = {"pair:age": known([week, 2 * week, None], "float32"), "pair:seen": known([2 * week, 0, None], "float32")}
    assert value_of("recency", evidence(finals=finals)) == [0.5, 1.0, 0.0]


def test_preference_is_the_odds_of_likes() -> None:
    """Three likes and no dislike, one each, nothing said."""
    finals = {"pair:likes": known([3, 1, None]), "pair:dislikes": known([0, 1, None])}
    assert value_of("preference", evidence(finals=finals)) == [math.log(4), 0.0, 0.0]


@pytest.mark.parametrize("kind", [CATEGORY, ITEM])
def test_fatigue_counts_purchases_and_impressions_and_fades(kind: str) -> None:
    """Once now and once a half-life ago; a view does not tire; what is bought after `as_of` counts as now."""
    half = 24 * HOUR_US
    events = [f"purchase|{NOW + SECOND_US}|i", f"impression|{NOW - half}|i", f"item_view|{NOW}|other"]
    ids, categories = (("c", "d"), ("c", "d")) if kind == CATEGORY else (("i", "other"), ("c", "d"))
    asked = evidence(
        finals={"user:recent": known([events], "texts")},
        candidates=Candidates(kind, ids, categories, (OF_REQUEST,)),
        standing=Standing(item_rows={"i": 0, "other": 1}, item_categories=["c", "d", ""]),
    )
    assert value_of("fatigue", asked) == [-math.log2(2.5), 0.0]
    nobody = evidence(finals={"user:recent": known([None], "texts")})
    assert value_of("fatigue", nobody) == [0.0, 0.0, 0.0]


def test_a_boost_of_the_item_goes_before_that_of_its_category() -> None:
    """The item's own number, else the category's, else nothing."""
    asked = evidence(
        placement=Placement(boosts={"c": 1.0, "i": -2.0}),
        candidates=Candidates(ITEM, ("i", "j", "k"), ("c", "c", ""), (OF_REQUEST,)),
    )
    assert value_of("boost", asked) == [-2.0, 1.0, 0.0]


@pytest.mark.parametrize(("name", "table"), [("device", "devices"), ("page", "pages")])
def test_context_fits_add_what_the_placement_says(name: str, table: str) -> None:
    """By the candidate's category; another device or page adds 0, and without a table there is no such factor."""
    said = {"phone": {"c1": 0.5}, "/home": {"c2": -0.5}}
    asked = evidence(placement=Placement(**{table: said}))
    assert value_of(name, asked) == ([0.0, 0.5, 0.0] if name == "device" else [0.0, 0.0, -0.5])
    other = evidence(placement=Placement(**{table: said}), request=ScoreRequest("u", device="tv", page="/"))
    assert value_of(name, other) == [0.0, 0.0, 0.0]
    assert name not in [each.name for each in weigh(evidence(placement=Placement()))]
