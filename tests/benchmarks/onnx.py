"""Raw margins of ONNX Runtime beside LightGBM's own, on rows that are made to find a difference.

models       as training fits them, on generated rows: small and deep, with missing values and without, with ages of
             days in seconds and amounts of millions, with values around 1e-35, with codes of a vocabulary, as
             numbers and as categories; and the current bundles of the home, as they are served
rows         real ones; at every threshold of every tree, one and two float32 to each side; NaN, both infinities and
             zeros, subnormal numbers; codes that are unseen, negative or no whole number
refused      models that would not be the same in ONNX, each really fitted, and why its export is refused
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from rich.console import Group
from rich.table import Table

from behavior.errors import BadInput
from deployment.bundles import Bundles
from deployment.settings import load
from training.fit import PARAMETERS
from training.onnx_check import LIMIT, verify
from training.onnx_export import export
from training.targets import TARGETS

SUMMARY = "raw margins of ONNX Runtime beside LightGBM's, on rows made to find differences"
ROWS = 60_000


@dataclass(frozen=True, slots=True)
class OnnxBench:
    """What was compared; see the module."""

    values: int
    max_abs_margin_diff: float
    limit: float
    values_by_model: dict[str, int]
    refused_kinds: list[str]
    refusals: dict[str, str]


def measure(home: Path, rounds: int) -> OnnxBench:
    """Fit each kind of model on `rounds` seeds, export it, and compare; then what the home serves, if it does."""
    compared: dict[str, int] = dict.fromkeys(MODELS, 0)
    worst = 0.0
    for name, booster, exported, x in served(home):
        found = verify(booster, exported, x)
        compared[name], worst = found.margins, max(worst, found.difference)
    for name, parameters in MODELS.items():
        for seed in range(rounds):
            x, y = drawn(ROWS, seed)
            booster = fitted(x, y, {**parameters, "seed": seed})
            found = verify(booster, export(booster), x, seed=seed)
            compared[name] += found.margins
            worst = max(worst, found.difference)
    refusals = {name: refused(kind) for name, kind in REFUSED.items()}
    return OnnxBench(sum(compared.values()), worst, LIMIT, compared, list(refusals), refusals)


def render(found: OnnxBench) -> Group:
    """The figures as tables for people."""
    models = Table("model", "margins compared", title="onnx", title_justify="left")
    for name, number in found.values_by_model.items():
        models.add_row(name, f"{number:,}")
    models.caption = f"greatest difference {found.max_abs_margin_diff:.2g} (limit {found.limit:g})"
    refusals = Table("refused", "why")
    for name, why in found.refusals.items():
        refusals.add_row(name, why)
    return Group(models, refusals)


def served(home: Path) -> Iterator[tuple[str, lightgbm.Booster, bytes, np.ndarray]]:
    """Per target of the home its current bundle: id, model, its file in ONNX, and its golden rows, which are real."""
    if not home.is_dir():
        return
    bundles = Bundles.of(load(home=home))
    for target in TARGETS:
        bundle_id = bundles.current_id(target)
        if bundle_id is not None:
            _, files = bundles.read(bundle_id)
            with np.load(io.BytesIO(files["golden.npz"])) as golden:
                yield (
                    bundle_id,
                    lightgbm.Booster(model_str=files["model.txt"].decode()),
                    files["model.onnx"],
                    golden["x"],
                )


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows float32[n, 8] of counts, ages, amounts, flags, tiny numbers, codes; labels that depend on most of them."""
    generator = np.random.default_rng(seed)
    counts = generator.poisson(3, (n, 2)).astype(np.float32)
    age = (generator.exponential(20 * 86_400, n) + generator.random(n)).astype(np.float32)
    amount = np.round(generator.lognormal(9, 2, n)).astype(np.float32)
    tiny = (generator.normal(size=n) * 1e-35).astype(np.float32)
    code = generator.integers(-1, 60, n).astype(np.float32)
    hour = generator.integers(0, 24, n).astype(np.float32)
    x = np.column_stack([counts, age, amount, tiny, code, hour, generator.normal(size=n)]).astype(np.float32)
    x[generator.random(x.shape) < 0.05] = np.nan
    x[generator.random(n) < 0.01, 5] += np.float32(0.5)  # a code that is no whole number
    margin = np.nan_to_num(x[:, 0] - 3) - np.nan_to_num(x[:, 2]) / 2e6 + np.nan_to_num(np.sin(x[:, 5])) - 1.0
    margin += np.nan_to_num(x[:, 4] * 1e35) * 0.5 + 1.0 * np.isnan(x[:, 3])
    return x, (generator.random(n) < 1 / (1 + np.exp(-margin))).astype(np.uint8)


def fitted(x: np.ndarray, y: np.ndarray, parameters: Mapping[str, Any]) -> lightgbm.Booster:
    """A booster as training makes it, but for the parameters."""
    asked = dict(parameters)
    trees, codes = asked.pop("trees", 60), asked.pop("categorical", "auto")
    every = dict(PARAMETERS) | {"num_threads": 1} | asked
    return lightgbm.train(every, lightgbm.Dataset(x, y, params=every, categorical_feature=codes), trees)


def refused(parameters: Mapping[str, Any]) -> str:
    """Why a model of these parameters is not exported; raises AssertionError if it is."""
    x, y = drawn(4_000, 1)
    booster = fitted(x, y, {"min_data_in_leaf": 20, "trees": 5, **parameters})
    try:
        export(booster)
    except BadInput as error:
        return str(error).partition(": ")[2]
    raise AssertionError(f"a model of {dict(parameters)} was exported, though ONNX cannot answer the same")


def _log_loss(margins: np.ndarray, rows: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and curvature of the log loss, as `objective=binary` has them; but no model tells that it was this."""
    p = 1 / (1 + np.exp(-margins))
    return p - rows.get_label(), p * (1 - p)


MODELS: dict[str, dict[str, Any]] = {
    "as trained": {},
    "deep": {"num_leaves": 255, "min_data_in_leaf": 20, "lambda_l2": 1.0, "trees": 30},
    "many small trees": {"num_leaves": 7, "trees": 300},
    "missing values read as zero": {"use_missing": False},
    "random thresholds": {"extra_trees": True},
    "sets of categories": {"categorical": [5, 6], "min_data_per_group": 10},
    "one category against the rest": {"categorical": [5, 6], "max_cat_to_onehot": 1_000},
    "deep, with categories": {"categorical": [0, 5, 6], "min_data_per_group": 10, "num_leaves": 255, "trees": 20},
    "categories, missing values read as zero": {"categorical": [5, 6], "use_missing": False, "trees": 20},
    "dropped trees": {"boosting": "dart"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "zero as missing": {"zero_as_missing": True},
    "linear leaves": {"linear_tree": True, "deterministic": False},
    "averaged trees": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "several classes": {"objective": "multiclass", "num_class": 2, "metric": "multi_logloss"},
    "another objective": {"objective": "regression", "metric": "l2"},
    "an objective of its own": {"objective": _log_loss},
    "thousands of tests in line": {
        "categorical": [3], "max_cat_threshold": 10_000, "max_bin": 10_000, "min_data_in_bin": 1,
        "min_data_per_group": 1, "cat_smooth": 0.0, "cat_l2": 0.0, "lambda_l2": 0.0,
    },
}  # fmt: skip
