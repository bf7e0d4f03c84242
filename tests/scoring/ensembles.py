"""Small models of many shapes, exported by our own writer, and rows that are hard for them."""

from typing import NamedTuple

import lightgbm
import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import numpy_helper

from training.onnx_check import SPECIAL, open_session, run
from training.onnx_export import export

WIDTH = 4  # two numbers, a number of few values, a code


class Ensemble(NamedTuple):
    """A model as LightGBM has it and as ONNX, and rows float32[n, 4] at its thresholds and beside them."""

    booster: lightgbm.Booster
    onnx: bytes
    rows: np.ndarray

    def through_onnx(self, x: np.ndarray) -> np.ndarray:
        """Margins float32[n] by ONNX Runtime."""
        return run(open_session(self.onnx), np.ascontiguousarray(x))


def made(
    seed: int, trees: int = 6, leaves: int = 20, missing: float = 0.2, least: int = 5, *, categories: bool = True
) -> Ensemble:
    """A model of rows that are drawn by the seed.

    missing       share of values that are NaN
    least         rows that a leaf must hold; with more than there are, trees are single leaves
    categories    whether the last input is split as a set
    """
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(400, WIDTH)).astype(np.float32)
    x[:, 2] = np.round(x[:, 2] * 2)
    x[:, 3] = generator.integers(0, 12, len(x))
    y = np.nan_to_num(x[:, 0] + x[:, 1] * x[:, 2]) + (x[:, 3] % 3 == 1) > generator.normal(size=len(x))
    x[generator.random(x.shape) < missing] = np.nan
    parameters = {
        "objective": "binary", "num_leaves": leaves, "min_data_in_leaf": least, "min_data_per_group": 2,
        "verbosity": -1, "num_threads": 1, "max_cat_to_onehot": 1, "seed": seed,
    }  # fmt: skip
    data = lightgbm.Dataset(x, y, params=parameters, categorical_feature=[3] if categories else [])
    booster = lightgbm.train(parameters, data, trees)
    return Ensemble(booster, export(booster), _hard_rows(booster, x, generator))


def with_cancelling_leaves(ensemble: Ensemble) -> Ensemble:
    """The ensemble with leaves about 1 and of ±1e17, which cancel or not by the order in which trees are added."""
    model = onnx.load_from_string(ensemble.onnx)
    weights = next(each.t for each in model.graph.node[1].attribute if each.name == "target_weights_as_tensor")
    generator = np.random.default_rng(0)
    count = weights.dims[0]
    leaves = generator.choice([-1e17, 0.0, 1e17], count) + generator.normal(size=count)
    weights.CopyFrom(numpy_helper.from_array(leaves))
    return ensemble._replace(onnx=model.SerializeToString())


@st.composite
def ensembles(draw: st.DrawFn) -> Ensemble:
    """Of single leaves up to trees of 64 leaves, with and without missing values and sets of categories."""
    return made(
        draw(st.integers(0, 10_000)),
        draw(st.integers(1, 9)),
        draw(st.sampled_from([2, 3, 20, 64])),
        draw(st.sampled_from([0.0, 0.3])),
        draw(st.sampled_from([1, 5, 500])),
        categories=draw(st.booleans()),
    )


def _hard_rows(booster: lightgbm.Booster, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    frame = booster.trees_to_dataframe()
    texts = [text for each in frame["threshold"].dropna() for text in str(each).split("||")]
    with np.errstate(over="ignore"):  # the dump writes an infinite threshold as 1e300
        told = np.array([*map(float, texts), 0.0]).astype(np.float32)
    beside = [np.nextafter(told, np.float32(to)) for to in (-np.inf, np.inf)]
    values = np.concatenate([told, told + 1, *beside, SPECIAL])
    rows = np.concatenate([x[:60], generator.choice(values, size=(140, WIDTH))])
    return np.where(generator.random(rows.shape) < 0.3, generator.choice(values, size=rows.shape), rows)
