"""Checking an exported model against LightGBM itself, on real rows and on rows made to find differences.

Every split of every tree is visited by rows built for it: their other inputs lie within the bounds that lead to the
split, its own input lies at the threshold, one float32 to each side of it, and at what float32 has besides (NaN, both
infinities, both zeros, numbers around 1e-35 and below the normal ones).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import onnxruntime

from behavior.errors import BadInput, NotExact

# Both sum the same leaves in float64; the exported margin is then rounded to float32, hence not 0.
LIMIT = 5e-6
_SLICE = 32_768  # rows at once: about 20 MB with what the two predictors need beside them
_DOWN, _UP = np.float32(-np.inf), np.float32(np.inf)
_TINY = np.array([1e-35, 1.0000001e-35, 9.999999e-36, 1e-36, 1e-37, 1e-38, 1e-40, 1e-45], dtype=np.float32)
SPECIAL = np.concatenate((np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38], dtype=np.float32), _TINY, -_TINY))


class Verified(NamedTuple):
    """How many raw margins were compared, and the greatest absolute difference between LightGBM and ONNX Runtime."""

    margins: int
    difference: float


def verify(booster: lightgbm.Booster, onnx_bytes: bytes, x: np.ndarray, *, seed: int = 0, threads: int = 1) -> Verified:
    """Compare LightGBM's raw margins with those of ONNX Runtime.

    x       float32[n, d], real rows, n >= 1; they are compared, and the made rows are varied from them
    Raises NotExact, telling the row, above LIMIT; BadInput without rows. Memory does not grow with n beyond x itself.
    """
    if x.dtype != np.float32 or x.ndim != 2 or not len(x):
        raise BadInput(f"an export is verified on real rows float32[n, d], not on {x.dtype}{list(x.shape)}; pass some")
    session = open_session(onnx_bytes, threads)
    compared, worst = 0, 0.0
    for what, rows in _slices(booster, x, np.random.default_rng(seed)):
        expected = np.asarray(booster.predict(rows, raw_score=True, num_threads=threads), dtype=np.float64)
        difference = np.abs(run(session, rows) - expected)
        # A margin that is not a number anywhere is a difference too, and compares as none.
        place = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
        if not difference[place] <= LIMIT:
            raise NotExact(
                f"the exported model differs from LightGBM by {difference[place]:.3g} (limit {LIMIT:g}) on {what} "
                f"{rows[place].tolist()}; the bundle is not written: report this model with its text"
            )
        compared, worst = compared + len(rows), max(worst, float(difference[place]))
    return Verified(compared, worst)


def open_session(onnx_bytes: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the processor, warnings off."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    """Margins float32[n] of float32[n, d]."""
    return np.asarray(session.run(["margin"], {"x": x})[0], dtype=np.float32)[:, 0]


def _slices(
    booster: lightgbm.Booster, x: np.ndarray, generator: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    for start in range(0, len(x), _SLICE):
        yield "the real row", np.ascontiguousarray(x[start : start + _SLICE])
    for tree in booster.dump_model()["tree_info"]:
        for rows in _rows_at_splits(tree["tree_structure"], x, generator):
            yield f"a row made for tree {tree['tree_index']}", rows
    yield "a row of special values", generator.choice(SPECIAL, size=(4096, x.shape[1])).astype(np.float32)


def _rows_at_splits(root: Mapping[str, Any], x: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows for all splits of one tree, float32[m, d], a slice at a time."""
    width = x.shape[1]
    made: list[np.ndarray] = []
    pending = [(root, np.full(width, -np.inf), np.full(width, np.inf))]
    while pending:
        node, low, high = pending.pop()
        if "leaf_value" in node:
            continue
        made.append(_rows_at(node, _within(x[generator.integers(len(x))], low, high)))
        feature, threshold = node["split_feature"], node["threshold"]
        left_high, right_low = high.copy(), low.copy()
        left_high[feature] = min(high[feature], threshold)
        right_low[feature] = max(low[feature], threshold)
        pending += [(node["left_child"], low, left_high), (node["right_child"], right_low, high)]
        if len(made) * len(made[-1]) > _SLICE:
            yield np.concatenate(made)
            made = []
    if made:
        yield np.concatenate(made)


def _within(row: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The row moved to where low < value <= high holds for every input; NaN only where nothing is asked."""
    asked = np.isfinite(low) | np.isfinite(high)
    values = np.where(asked & np.isnan(row), np.float32(0), row)
    with np.errstate(over="ignore", invalid="ignore"):
        least = np.nextafter(low.astype(np.float32), _UP)
        return np.where(asked, np.clip(values, least, high.astype(np.float32)), values).astype(np.float32)


def _rows_at(node: Mapping[str, Any], row: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        nearest = np.float32(node["threshold"])
        # Two floats to each side: whichever way the threshold rounds, both of its true neighbours are among them.
        below, above = np.nextafter(nearest, _DOWN), np.nextafter(nearest, _UP)
        around = [nearest, below, above, np.nextafter(below, _DOWN), np.nextafter(above, _UP)]
    values = np.concatenate((np.array(around, dtype=np.float32), SPECIAL))
    rows = np.repeat(row[None, :], len(values), axis=0)
    rows[:, node["split_feature"]] = values
    return rows
