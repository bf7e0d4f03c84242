"""Fitting: repeatable, stopped by the later slice, refusing what would not be served as it was trained."""

import numpy as np
import pytest

from behavior.errors import BadInput
from tests.training.models import NAMES, model, sample
from training.fit import MAX_TREES, fit, margins


def test_equal_rows_and_seed_give_an_equal_model_on_any_number_of_threads() -> None:
    """Training twice, on one thread and on two, gives the same trees to the last bit."""
    again = fit(*sample(12_000, 0), NAMES, valid=sample(4_000, 1), seed=1, threads=2)
    trees = [each.model_to_string().split("end of trees")[0] for each in (model(), again)]
    assert trees[0] == trees[1]


def test_the_model_ends_at_its_best_tree() -> None:
    """Early stopping leaves fewer trees than allowed, and none of those after the best one."""
    booster = model()
    assert 1 < booster.num_trees() < MAX_TREES
    x, y, _ = sample(4_000, 1)

    def log_loss(trees: int) -> float:
        p = booster.predict(x, num_iteration=trees)
        return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())

    losses = [log_loss(trees) for trees in range(1, booster.num_trees() + 1)]
    assert int(np.argmin(losses)) == len(losses) - 1


def test_weights_count_as_rows_do() -> None:
    """A negative kept with weight 4 for four like it gives the base rate of all four."""
    x, y, _ = sample(20_000, 3)
    positive = y == 1
    kept = positive | (np.arange(len(y)) % 4 == 0)
    weight = np.where(positive, 1, 4).astype(np.float32)[kept]
    booster = fit(x[kept], y[kept], weight, NAMES, valid=sample(4_000, 1), seed=1, threads=1)
    p = 1 / (1 + np.exp(-margins(booster, x, threads=1)))
    assert p.mean() == pytest.approx(y.mean(), rel=0.05)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y, w: (x.astype(np.float64), y, w), "float32"),
        (lambda x, y, w: (x[:, :3], y, w), "float32"),
        (lambda x, y, w: (x, y[1:], w), "labels"),
        (lambda x, y, w: (x, np.zeros_like(y), w), "both labels"),
        (lambda x, y, w: (x, y, w * 0), "weight"),
        (lambda x, y, w: (x, y, w * np.float32(np.nan)), "weight"),
    ],
)
def test_malformed_rows_are_refused(change, told) -> None:  # type: ignore[no-untyped-def]
    """Each malformed slice is refused with what is wrong, in training and in validation rows alike."""
    good = sample(500, 0)
    with pytest.raises(BadInput, match=told):
        fit(*change(*good), NAMES, valid=good, seed=1, threads=1)
    with pytest.raises(BadInput, match="validation rows"):
        fit(*good, NAMES, valid=change(*good), seed=1, threads=1)
