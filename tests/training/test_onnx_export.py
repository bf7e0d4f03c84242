"""The export: the very leaf that LightGBM takes, for every float32, or a refusal that says why."""

from collections.abc import Callable

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.errors import BadInput, NotExact
from tests.training.models import model, rows, sample
from training import onnx_export
from training.onnx_check import LIMIT, open_session, run, verify
from training.onnx_export import export, round_down

Rounding = Callable[[np.ndarray], np.ndarray]
TINY = float(np.float32(1e-35))
near_zero = st.floats(-3e-35, 3e-35)
thresholds = (
    st.floats(allow_nan=False) | near_zero | st.sampled_from([0.0, -0.0, TINY, -TINY, 1e300, -1e300, 1e39, -1e39])
)
float32s = st.floats(width=32, allow_nan=False) | st.sampled_from([TINY, -TINY, 1e-38, 0.0, -0.0]).map(np.float32)


@given(thresholds, float32s, st.integers(-3, 3))
def test_a_rounded_threshold_decides_as_lightgbm_does(threshold: float, x: float, steps: int) -> None:
    """For any threshold and any float32, also the nearest to the threshold: the same side as LightGBM's own rule."""
    real = np.inf * np.sign(threshold) if abs(threshold) >= 1e300 else threshold
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    for _ in range(abs(steps)):
        with np.errstate(over="ignore"):
            near = np.nextafter(near, np.float32(np.copysign(np.inf, steps)))
    for value in (np.float32(x), near):
        read = 0.0 if abs(float(value)) <= TINY else float(value)
        assert bool(value <= round_down(np.array([threshold]))[0]) == (read <= real)


def test_margins_agree_on_real_and_on_made_rows() -> None:
    """The exported model answers what LightGBM answers, rounded to float32 once, wherever it was looked."""
    compared, difference = verify(model(), export(model()), rows())
    assert compared > 100_000
    assert 0 < difference < 5e-7 < LIMIT  # half a float32 ulp of a margin below 8


def test_the_model_has_a_split_of_nan_from_all_the_rest() -> None:
    """The rows of these tests lead to a split at infinity, which the dump writes as 1e300."""
    lines = [line for line in model().model_to_string().splitlines() if line.startswith("threshold=")]
    assert any("inf" in line.removeprefix("threshold=").split() for line in lines)


def _to_nearest(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _only_down(values: np.ndarray) -> np.ndarray:
    """Down, but deaf to LightGBM's band around zero."""
    nearest = _to_nearest(np.where(np.abs(values) >= 1e300, np.copysign(np.inf, values), values))
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _dumped_infinity(values: np.ndarray) -> np.ndarray:
    """As it should be, but taking the dump's 1e300 at its word."""
    return np.where(np.abs(values) >= 1e300, np.finfo(np.float32).max, round_down(values)).astype(np.float32)


@pytest.mark.parametrize("wrong", [_to_nearest, _only_down, _dumped_infinity])
def test_wrongly_rounded_thresholds_are_caught(wrong: Rounding, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has power: each known way to round wrongly is found, on made rows, from one real row."""
    monkeypatch.setattr(onnx_export, "round_down", wrong)
    with pytest.raises(NotExact, match="differs from LightGBM"):
        verify(model(), export(model()), rows()[:1])


@pytest.mark.parametrize("flipped", [0, 1])
def test_wrong_missing_directions_are_caught(flipped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending every NaN to the one side is found, whichever side."""
    append = onnx_export._Nodes._append

    def all_one_way(self, *values):  # type: ignore[no-untyped-def]
        append(self, *values)
        self._nan_true[-1] = flipped

    monkeypatch.setattr(onnx_export._Nodes, "_append", all_one_way)
    with pytest.raises(NotExact):
        verify(model(), export(model()), rows()[:1])


def test_a_single_leaf_and_one_row_are_fine() -> None:
    """A model without any split exports to its constant."""
    x, y, _ = sample(200, 0)
    booster = lightgbm.train(
        {"objective": "binary", "min_data_in_leaf": 1000, "verbosity": -1}, lightgbm.Dataset(x, y), num_boost_round=2
    )
    assert run(open_session(export(booster)), x[:1]).shape == (1,)
    assert verify(booster, export(booster), x).difference <= LIMIT


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"zero_as_missing": True}, "zero_as_missing"),
        ({"linear_tree": True}, "linear"),
        ({"categories": [1], "min_data_per_group": 5, "cat_smooth": 1.0}, "categories"),
        ({"objective": "regression"}, "objective"),
        ({"objective": "multiclass", "num_class": 2}, "objective"),
        ({"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, "averages"),
    ],
)
@pytest.mark.parametrize("reloaded", [False, True])
def test_what_cannot_be_exact_is_refused(parameters: dict[str, object], told: str, reloaded: bool) -> None:
    """Every unsupported model is refused with its reason, also when only its text is left."""
    x, y, _ = sample(3_000, 0)
    x = np.nan_to_num(x)
    x[:, 1] = np.abs(x[:, 1]) * 7 % 5
    y = ((x[:, 1] == 2) | (x[:, 0] > 1)).astype(np.uint8)
    settings = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1} | parameters
    categories = settings.pop("categories", "auto")
    rows = lightgbm.Dataset(x, y, params=settings, categorical_feature=categories)
    booster = lightgbm.train(settings, rows, num_boost_round=3)
    if reloaded:
        booster = lightgbm.Booster(model_str=booster.model_to_string())
    with pytest.raises(BadInput, match=told):
        export(booster)


def test_a_check_without_rows_is_refused() -> None:
    """Nothing is called verified that was not looked at."""
    with pytest.raises(BadInput, match="real rows"):
        verify(model(), export(model()), rows()[:0])
    with pytest.raises(BadInput, match="real rows"):
        verify(model(), export(model()), rows().astype(np.float64))
