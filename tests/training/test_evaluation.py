"""Evaluations: paired on the same users, as wide as users differ, and refused where rows make no sense."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from behavior.errors import BadInput
from training.evaluation import Evaluation, evaluate, render, to_json

USERS, GROUPS, ITEMS = 60, 4, 12


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Users, groups, labels and honest propensities of 60 users x 4 rankings x 12 items; users differ."""
    generator = np.random.default_rng(seed)
    user = np.repeat(np.arange(USERS), GROUPS * ITEMS)
    group = np.repeat(np.arange(USERS * GROUPS), ITEMS)
    margin = generator.normal(size=len(user)) - 2 + np.repeat(generator.normal(size=USERS), GROUPS * ITEMS)
    propensity = 1 / (1 + np.exp(-margin))
    return user, group, (generator.random(len(user)) < propensity).astype(np.uint8), propensity


def evaluated(seed: int = 1) -> Evaluation:
    user, group, label, propensity = rows()
    noise = np.random.default_rng(9).normal(size=len(user))
    scores = {"model": propensity, "nearly": propensity + 1e-3 * noise, "noise": noise}
    return evaluate(user, group, label, scores, propensities=["model"], replicates=100, seed=seed)


def test_the_counts_are_those_of_the_rows() -> None:
    """Rows, users, rankings and positives are counted, and only a propensity has log loss and calibration error."""
    found = evaluated()
    assert (found.rows, found.users, found.groups) == (USERS * GROUPS * ITEMS, USERS, USERS * GROUPS)
    assert found.positive_share == pytest.approx(rows()[2].mean())
    assert set(found.scores[0].metrics) == {"auc", "ndcg_10", "log_loss", "calibration_error"}
    assert set(found.scores[2].metrics) == {"auc", "ndcg_10"}


def test_a_sure_difference_is_told_from_none() -> None:
    """The model beats noise beyond the interval; against itself nothing is sure."""
    user, group, label, propensity = rows()
    found = evaluated()
    against_noise = found.differences[1]
    assert (against_noise.name, against_noise.baseline) == ("model", "noise")
    assert against_noise.beats("auc")
    assert against_noise.beats("ndcg_10")
    twin = evaluate(user, group, label, {"a": propensity, "b": propensity.copy()}, replicates=20).differences[0]
    assert not twin.beats("auc")
    assert not twin.metrics["auc"].excludes_zero
    assert (twin.metrics["auc"].value, twin.metrics["auc"].low, twin.metrics["auc"].high) == (0, 0, 0)


def test_differences_are_paired() -> None:
    """Two nearly equal scores differ within a far narrower interval than either has: the replicates are the same."""
    found = evaluated()
    model, difference = found.scores[0].metrics["auc"], found.differences[0].metrics["auc"]
    assert difference.high - difference.low < (model.high - model.low) / 5


def test_intervals_resample_users_not_rows() -> None:
    """Copying every user's rows five times makes no interval narrower, although there are five times the rows."""
    user, group, label, propensity = rows()
    once = evaluate(user, group, label, {"model": propensity}, replicates=100)
    copies = [np.tile(each, 5) for each in (user, label, propensity)]
    groups = np.concatenate([group + copy * USERS * GROUPS for copy in range(5)])
    more = evaluate(copies[0], groups, copies[1], {"model": copies[2]}, replicates=100)
    for metric in ("auc", "ndcg_10"):
        narrow, wide = more.scores[0].metrics[metric], once.scores[0].metrics[metric]
        assert narrow.high - narrow.low == pytest.approx(wide.high - wide.low, rel=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Over 40 repetitions the interval of the positive share's log loss holds the long-run value nearly always."""

    def estimate(seed: int, replicates: int) -> tuple[float, float, float]:
        user, group, label, propensity = rows(seed)
        found = evaluate(user, group, label, {"p": propensity}, propensities=["p"], replicates=replicates)
        each = found.scores[0].metrics["log_loss"]
        return each.value, each.low, each.high

    truth = np.mean([estimate(seed, 1)[0] for seed in range(1000, 1100)])
    held = sum(low <= truth <= high for _, low, high in (estimate(seed, 100) for seed in range(40)))
    assert 33 <= held <= 40


def test_equal_seeds_give_equal_evaluations() -> None:
    """An evaluation can be repeated to the last digit, and another seed moves intervals only."""
    assert evaluated(seed=1) == evaluated(seed=1)
    other = evaluated(seed=2)
    assert other != evaluated(seed=1)
    assert other.scores[0].metrics["auc"].value == evaluated(seed=1).scores[0].metrics["auc"].value


def test_it_can_be_read_by_people_and_programs() -> None:
    """The table shows every score and difference with its interval; the JSON holds the same numbers."""
    found = evaluated()
    console = Console(file=io.StringIO(), width=200)
    console.print(render(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("model", "noise", "model − noise", "NDCG@10", f"{found.scores[0].metrics['auc'].value:.4f}"):
        assert word in text
    plain = json.loads(json.dumps(to_json(found)))
    assert plain["scores"]["model"]["auc"]["value"] == found.scores[0].metrics["auc"].value
    assert set(plain["differences"]) == {"model - nearly", "model - noise"}


def test_rows_that_make_no_sense_are_refused() -> None:
    """Lengths, labels, groups of two users, scores that are not finite, propensities outside 0..1, unknown names."""
    user, group, label, p = rows()
    for arguments in (
        (user[1:], group, label, {"p": p}),
        (user[:0], group[:0], label[:0], {"p": p[:0]}),
        (user, group, label + 1, {"p": p}),
        (user, group // 5, label, {"p": p}),
        (user, group, label, {"p": p[1:]}),
        (user, group, label, {"p": np.where(p > 0.5, np.nan, p)}),
        (user, group, label, {"p": p * 9}),
        (user, group, label, {"q": p}),
    ):
        with pytest.raises(BadInput):
            evaluate(*arguments, propensities=["p"], replicates=2)
