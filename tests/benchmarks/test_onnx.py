"""The benchmark of the export can fail, and every refusal in it is a real one."""

import numpy as np
import pytest

from behavior.errors import NotExact
from tests.benchmarks import onnx
from training import onnx_export


def test_thresholds_rounded_to_the_nearest_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most natural mistake of an exporter is a difference beyond the limit, not a small one."""
    monkeypatch.setattr(onnx, "ROWS", 3_000)
    monkeypatch.setattr(onnx_export, "round_down", lambda thresholds: thresholds.astype(np.float32))
    with pytest.raises(NotExact, match="differs from LightGBM"):
        onnx.measure(onnx.Path(), 1)


@pytest.mark.parametrize("kind", onnx.REFUSED)
def test_what_would_not_be_exact_is_refused(kind: str) -> None:
    """A model of the kind is fitted, and its export refused with a reason."""
    assert onnx.refused(onnx.REFUSED[kind])


def test_a_model_that_is_exact_is_not_refused() -> None:
    """Else a refusal would say nothing."""
    with pytest.raises(AssertionError, match="was exported"):
        onnx.refused({})
