"""Metrics equal their definitions, in any row order, under any weights of users."""

from itertools import permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from training.metrics import (
    Auc,
    CalibrationError,
    Mean,
    Rows,
    group_ndcg,
    interval,
    log_losses,
    user_replicates,
)

USERS = 4
# Few distinct scores, so that ties are the rule.
coarse = st.sampled_from([-1.5, 0.0, 0.25, 0.5, 1.0])


@st.composite
def scored(draw: st.DrawFn) -> tuple[Rows, np.ndarray]:
    """Rows of up to four users with two groups each, in no order, with both labels, and coarse scores."""
    n = draw(st.integers(2, 40))
    group = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2 * USERS - 1)))
    label = draw(hnp.arrays(np.uint8, n, elements=st.integers(0, 1)))
    label[:2] = (0, 1)
    group[0] = 2 * USERS - 1  # all user numbers up to the last exist, as after np.unique
    score = draw(hnp.arrays(np.float64, n, elements=coarse))
    return Rows(group // 2, group, label), score


weights = hnp.arrays(np.int32, USERS, elements=st.integers(0, 3))


def repeated(rows: Rows, weight: np.ndarray) -> np.ndarray:
    """Row numbers, each as often as its user weighs: what a weight means."""
    return np.repeat(np.arange(len(rows.user)), weight[rows.user].astype(int))


@given(scored(), weights)
def test_auc_is_that_of_the_repeated_rows(case: tuple[Rows, np.ndarray], weight: np.ndarray) -> None:
    """A weighted AUC equals scikit-learn's on rows written out as often as they weigh; without both classes NaN."""
    rows, score = case
    at = repeated(rows, weight)
    ours = Auc(rows, score)(weight)
    if len(np.unique(rows.label[at])) < 2:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(roc_auc_score(rows.label[at], score[at]), abs=1e-12)


@given(scored(), weights)
def test_auc_counts_pairs(case: tuple[Rows, np.ndarray], weight: np.ndarray) -> None:
    """AUC is the share of pairs (positive, negative) in the right order, ties half: the definition, naively."""
    rows, score = case
    won = pairs = 0.0
    for i in np.flatnonzero(rows.label == 1):
        for j in np.flatnonzero(rows.label == 0):
            both = weight[rows.user[i]] * weight[rows.user[j]]
            pairs += both
            won += both * (float(score[i] > score[j]) + float(score[i] == score[j]) / 2)
    ours = Auc(rows, score)(weight)
    assert np.isnan(ours) if not pairs else ours == pytest.approx(won / pairs, abs=1e-12)


@given(scored())
def test_ndcg_is_scikit_learns(case: tuple[Rows, np.ndarray]) -> None:
    """NDCG@10 of each group with a positive equals scikit-learn's, which also averages over the orders of ties."""
    rows, score = case
    user, ndcg = group_ndcg(rows, score)
    wanted = []
    for group in np.unique(rows.group):
        at = rows.group == group
        if not rows.label[at].any():
            continue
        # One row more that can never be among the first: scikit-learn refuses lists of one.
        gains, scores = np.append(rows.label[at], 0), np.append(score[at], -9.0)
        wanted.append((group // 2, ndcg_score([gains], [scores], k=10)))
    assert user.tolist() == [each[0] for each in wanted]
    assert ndcg == pytest.approx([each[1] for each in wanted], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 1), coarse), min_size=1, max_size=6), st.integers(1, 4))
def test_ties_count_in_the_expectation_over_their_orders(items: list[tuple[int, float]], depth: int) -> None:
    """NDCG with ties is the mean over every order that the scores allow: the definition, by trying them all."""
    label = np.array([item[0] for item in items], dtype=np.uint8)
    if not label.any():
        return
    score = np.array([item[1] for item in items])
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    orders = [list(order) for order in permutations(range(len(items))) if (np.diff(score[list(order)]) <= 0).all()]
    dcg = np.mean(
        [(label[order][:depth] * discounts[: len(items)][: len(label[order][:depth])]).sum() for order in orders]
    )
    ideal = discounts[: min(depth, int(label.sum()))].sum()
    zeros = np.zeros(len(items), dtype=np.int64)
    assert group_ndcg(Rows(zeros, zeros, label), score, depth)[1] == pytest.approx([dcg / ideal], abs=1e-12)


@given(scored(), weights, st.randoms(use_true_random=False))
def test_no_metric_looks_at_the_row_order(case: tuple[Rows, np.ndarray], weight: np.ndarray, random: Random) -> None:
    """Shuffled rows give the same metrics: ties are never decided by place."""
    rows, score = case
    order = list(range(len(score)))
    random.shuffle(order)
    other = Rows(rows.user[order], rows.group[order], rows.label[order])
    p, q = 1 / (1 + np.exp(-score)), 1 / (1 + np.exp(-score[order]))
    for ours, theirs in (
        (Auc(rows, score), Auc(other, score[order])),
        (Mean(*group_ndcg(rows, score), USERS), Mean(*group_ndcg(other, score[order]), USERS)),
        (CalibrationError(rows, p), CalibrationError(other, q)),
    ):
        assert ours(weight) == pytest.approx(theirs(weight), abs=1e-12, nan_ok=True)


@given(scored(), weights)
def test_a_mean_is_that_of_the_repeated_units(case: tuple[Rows, np.ndarray], weight: np.ndarray) -> None:
    """Log loss under weights equals scikit-learn's on the repeated rows."""
    rows, score = case
    p = 1 / (1 + np.exp(-score))
    at = repeated(rows, weight)
    ours = Mean(rows.user, log_losses(rows.label, p), USERS)(weight)
    assert np.isnan(ours) if not len(at) else ours == pytest.approx(log_loss(rows.label[at], p[at], labels=[0, 1]))


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    """Propensities of exactly 0 and 1 do not make infinities."""
    assert np.isfinite(log_losses(np.array([0, 1], dtype=np.uint8), np.array([1.0, 0.0]))).all()


@given(scored(), weights, st.integers(1, 6))
def test_calibration_error_is_the_gap_within_bins(case: tuple[Rows, np.ndarray], weight: np.ndarray, bins: int) -> None:
    """The error equals that of bins formed naively, a run of equal propensities going where its first row goes."""
    rows, score = case
    p = 1 / (1 + np.exp(-score))
    n = len(p)
    below_edge = (
        np.sort(p)[[int(np.ceil(n * place / bins)) - 1 for place in range(1, bins)]] if bins > 1 else np.array([])
    )
    bin_of = np.array([sum(value > edge for edge in np.unique(below_edge)) for value in p])
    total, gap = weight[rows.user].sum(), 0.0
    for each in np.unique(bin_of):
        at = bin_of == each
        gap += abs(np.dot(weight[rows.user[at]], p[at] - rows.label[at]))
    ours = CalibrationError(rows, p, bins)(weight)
    assert np.isnan(ours) if not total else ours == pytest.approx(gap / total, abs=1e-12)


def test_bins_have_equal_mass_and_the_error_finds_a_shift() -> None:
    """Honest propensities have an error of sampling size only; shifted ones have the shift."""
    generator = np.random.default_rng(0)
    p = generator.random(50_000) * 0.2
    label = (generator.random(len(p)) < p).astype(np.uint8)
    rows = Rows(np.arange(len(p)) % 100, np.arange(len(p)), label)
    everyone = np.ones(100, dtype=np.int32)
    assert CalibrationError(rows, p)(everyone) < 0.006
    assert CalibrationError(rows, p + 0.05)(everyone) == pytest.approx(0.05, abs=0.005)


def test_replicates_draw_users_with_replacement() -> None:
    """Each replicate has as many draws as users, some user twice, and equal seeds draw equally."""
    drawn = user_replicates(50, 20, seed=3)
    assert drawn.shape == (20, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.max() > 1
    assert np.array_equal(drawn, user_replicates(50, 20, seed=3))
    assert not np.array_equal(drawn, user_replicates(50, 20, seed=4))


def test_an_interval_is_central_and_skips_what_has_no_value() -> None:
    """The middle 95 % of the replicates, NaN left out; NaN if nothing is left."""
    assert interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25, 975))
    assert all(np.isnan(interval(np.array([np.nan]))))
