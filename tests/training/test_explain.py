"""Explanations add up to the margin that is served."""

import numpy as np
import pytest

from behavior.errors import BadInput
from tests.training.models import model, rows
from training.explain import contributions
from training.onnx_check import LIMIT, open_session, run
from training.onnx_export import export


def test_contributions_add_up_to_the_exported_margin() -> None:
    """Each row's contributions sum to what the exported model answers."""
    added = contributions(model().model_to_string(), rows()[:50])
    assert added.shape == (50, rows().shape[1] + 1)
    assert np.abs(added.sum(axis=1) - run(open_session(export(model())), rows()[:50])).max() <= LIMIT


def test_an_input_that_decides_nothing_contributes_nothing() -> None:
    """The inputs that made the labels weigh more than those that did not."""
    weights = np.abs(contributions(model().model_to_string(), rows()[:200])[:, :-1]).mean(axis=0)
    assert min(weights[[0, 1, 5]]) > 3 * max(weights[[2, 3, 4]])


@pytest.mark.parametrize(("text", "x"), [("no model", rows()), (None, rows()[:, :3])])
def test_a_wrong_model_or_width_is_refused(text: str | None, x: np.ndarray) -> None:
    """One clear error instead of LightGBM's own."""
    with pytest.raises(BadInput):
        contributions(model().model_to_string() if text is None else text, x)
