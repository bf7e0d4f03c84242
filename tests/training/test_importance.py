"""Importance: inputs that made the labels matter, others do not, and the same seed tells the same."""

import numpy as np

from behavior.calibration import propensities
from tests.training.models import model, sample
from training.importance import REPEATS, SHAP_ROWS, permutation, shap

MADE = [0, 1, 5]  # the columns that the labels of tests.training.models are made of


def test_shap_is_of_a_bounded_sample() -> None:
    """No more rows than the bound are explained, each with its own values beside it."""
    x = sample(SHAP_ROWS + 500, 3)[0]
    found = shap(model().model_to_string(), x, threads=1)
    assert found.added.shape == found.x.shape == (SHAP_ROWS, x.shape[1])
    rows = {row.tobytes() for row in x}
    assert all(row.tobytes() in rows for row in found.x)
    assert set(np.argsort(-found.mean)[:3].tolist()) == set(MADE)


def test_shuffling_hurts_where_the_labels_come_from() -> None:
    """The log loss rises, beyond its spread, for the inputs that made the labels, and hardly for the others."""
    x, label, _ = sample(4_000, 3)
    found = permutation(model().model_to_string(), x, label, np.arange(6), propensities, threads=1)
    assert [each.place for each in found] == list(range(6))
    for each in found:
        if each.place in MADE:
            assert each.mean > 3 * each.spread > 0
            assert each.mean > 0.005
        else:
            assert abs(each.mean) < 0.003


def test_a_seed_fixes_what_is_drawn() -> None:
    """Equal calls tell equal figures; REPEATS shufflings are more than one."""
    x, label, _ = sample(4_000, 3)
    text = model().model_to_string()
    once, again = (permutation(text, x, label, np.array([0]), propensities, threads=1) for _ in range(2))
    assert once == again
    assert REPEATS > 1
    other = permutation(text, x, label, np.array([0]), propensities, threads=1, seed=2)
    assert other != once
