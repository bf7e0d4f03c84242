"""Fitting one propensity with LightGBM: the only place that says how."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import lightgbm
import numpy as np

from behavior.errors import BadInput

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]  # x float32[n, d], y uint8[n], weight float32[n]

# deterministic and force_row_wise: the same rows give the same bits on any number of threads of one machine.
# feature_pre_filter off: a column that cannot be split under min_data_in_leaf stays in the model's input list.
PARAMETERS: Mapping[str, object] = MappingProxyType(
    {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": 0.05,
        "num_leaves": 63,
        "min_data_in_leaf": 200,
        # Few positives decide a leaf of 200 rows: it is drawn towards nothing by a hundred more.
        "lambda_l2": 100.0,
        "max_bin": 255,
        # Half of the inputs per tree: neighbours such as windows of one count stand in for each other.
        "feature_fraction": 0.5,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "verbosity": -1,
    }
)
MAX_TREES = 600
PATIENCE = 30


def fit(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    names: Sequence[str],
    *,
    valid: Sample,
    seed: int,
    threads: int,
) -> lightgbm.Booster:
    """Fit a binary classifier on x float32[n, d], y uint8[n], weight float32[n]; the booster ends at its best tree.

    names    d input names, kept in the model
    valid    (x, y, weight) of a later time slice; training stops when its log loss has not fallen for PATIENCE trees
    seed     fixes all that LightGBM draws; equal input and seed give an equal model
    Raises BadInput when a slice is malformed or holds only one class.
    """
    _check("training rows", (x, y, weight), len(names))
    _check("validation rows", valid, len(names))
    # Feature names may not hold JSON's own characters (":" among them), so the bundle keeps the references, in order.
    plain = [name.replace(":", "__") for name in names]
    parameters = dict(PARAMETERS) | {"seed": seed, "num_threads": threads}
    train_set = lightgbm.Dataset(x, y, weight=weight, feature_name=plain, params=parameters, free_raw_data=True)
    valid_set = lightgbm.Dataset(valid[0], valid[1], weight=valid[2], reference=train_set, params=parameters)
    booster = lightgbm.train(
        parameters,
        train_set,
        num_boost_round=MAX_TREES,
        valid_sets=[valid_set],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
    # Without the trees after the best one: what is saved, exported and explained is one and the same model.
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))


def fit_again(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, names: Sequence[str], *, trees: int, seed: int, threads: int
) -> lightgbm.Booster:
    """The same fit on rows that now hold the later slice too, with as many trees as stopping early found to be best.

    Raises BadInput when the rows are malformed or hold only one class.
    """
    _check("all rows", (x, y, weight), len(names))
    plain = [name.replace(":", "__") for name in names]
    parameters = dict(PARAMETERS) | {"seed": seed, "num_threads": threads}
    rows = lightgbm.Dataset(x, y, weight=weight, feature_name=plain, params=parameters, free_raw_data=True)
    return lightgbm.train(parameters, rows, num_boost_round=trees)


def margins(booster: lightgbm.Booster, x: np.ndarray, *, threads: int) -> np.ndarray:
    """Raw margins float64[n] of x float32[n, d] by LightGBM itself."""
    return np.asarray(booster.predict(x, raw_score=True, num_threads=threads), dtype=np.float64)


def _check(what: str, sample: Sample, width: int) -> None:
    x, y, weight = sample
    if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != width:
        # float64 would put thresholds between values that are one and the same at serving time.
        raise BadInput(f"{what}: x must be float32[n, {width}], it is {x.dtype}{list(x.shape)}; cast it before fitting")
    if y.shape != (len(x),) or weight.shape != (len(x),):
        raise BadInput(f"{what}: {len(x)} rows need as many labels and weights, not {len(y)} and {len(weight)}")
    if not np.isfinite(weight).all() or (weight <= 0).any():
        raise BadInput(f"{what}: every weight must be positive and finite; leave out rows that should not count")
    if len(np.unique(y)) != 2:
        raise BadInput(f"{what}: both labels 0 and 1 must occur in {len(y)} rows; widen the time span")
