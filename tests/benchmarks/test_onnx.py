"""The benchmark of the export can fail, and every refusal in it is a real one."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from behavior.errors import NotExact
from tests.benchmarks import onnx
from tests.training.test_bundle import trained
from training import onnx_export
from training.bundle import point, write_bundle
from training.onnx_check import verify


def test_thresholds_rounded_to_the_nearest_are_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The most natural mistake of an exporter is a difference beyond the limit, not a small one."""
    monkeypatch.setattr(onnx, "ROWS", 3_000)
    monkeypatch.setattr(onnx_export, "round_down", lambda thresholds: thresholds.astype(np.float32))
    with pytest.raises(NotExact, match="differs from LightGBM"):
        onnx.measure(tmp_path, 1)


def test_ends_of_categories_that_are_wrong_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a category that is taken for the one whole number."""
    x, y = onnx.drawn(3_000, 0)
    booster = onnx.fitted(x, y, {**onnx.MODELS["one category against the rest"], "min_data_in_leaf": 20, "trees": 5})
    monkeypatch.setattr(onnx_export, "range_ends", lambda left: [*(end for k in left for end in (k - 0.5, float(k)))])
    with pytest.raises(NotExact, match="differs from LightGBM"):
        verify(booster, onnx_export.export(booster), x)


def test_the_bundles_of_a_home_are_compared_as_they_are_served(tmp_path: Path) -> None:
    """The file that is served is what is looked at, with the model beside it, on the bundle's own rows."""
    assert not list(onnx.served(tmp_path / "none"))
    bundle_id = write_bundle(tmp_path / "bundles", trained(), datetime(2026, 11, 28, tzinfo=UTC))
    point(tmp_path / "bundles", "current", bundle_id)
    ((name, booster, exported, x),) = onnx.served(tmp_path)
    assert name == bundle_id
    assert verify(booster, exported, x).margins > len(x)


@pytest.mark.parametrize("kind", onnx.REFUSED)
def test_what_would_not_be_exact_is_refused(kind: str) -> None:
    """A model of the kind is fitted, and its export refused with a reason."""
    assert onnx.refused(onnx.REFUSED[kind])


def test_a_model_that_is_exact_is_not_refused() -> None:
    """Else a refusal would say nothing."""
    with pytest.raises(AssertionError, match="was exported"):
        onnx.refused({})
