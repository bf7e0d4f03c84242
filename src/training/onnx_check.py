"""Checking an exported model against LightGBM itself, on real rows and on rows made to find differences.

Every split of every tree is visited by rows built for it: their other inputs lie within the bounds that lead to the
split, its own input lies at the threshold, one float32 to each side of it, and at what float32 has besides (NaN, both
infinities, both zeros, numbers around 1e-35 and below the normal ones). At a split of categories it lies at every end
of the ranges that count as its categories, within them, and below, above and between them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import onnxruntime

from behavior.errors import BadInput, NotExact
from training.onnx_export import categories

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
    pending = [(root, _Path(np.full(width, -np.inf), np.full(width, np.inf)))]
    while pending:
        node, path = pending.pop()
        if "leaf_value" in node:
            continue
        made.append(_rows_at(node, path.lead(x[generator.integers(len(x))], generator)))
        pending += [(node["left_child"], path.left(node)), (node["right_child"], path.right(node))]
        if sum(map(len, made)) > _SLICE:
            yield np.concatenate(made)
            made = []
    if made:
        yield np.concatenate(made)


@dataclass(frozen=True, slots=True)
class _Path:
    """What leads to a node: bounds `low < x <= high` of float64[d], and categories by input that x is or is not."""

    low: np.ndarray
    high: np.ndarray
    inside: Mapping[int, frozenset[int]] = field(default_factory=dict)
    outside: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def left(self, node: Mapping[str, Any]) -> "_Path":
        """The path on to the left child."""
        which = node["split_feature"]
        if node["decision_type"] == "==":
            found = frozenset(categories(node))
            return replace(self, inside={**self.inside, which: self.inside.get(which, found) & found})
        high = self.high.copy()
        high[which] = min(high[which], node["threshold"])
        return replace(self, high=high)

    def right(self, node: Mapping[str, Any]) -> "_Path":
        """The path on to the right child."""
        which = node["split_feature"]
        if node["decision_type"] == "==":
            found = self.outside.get(which, frozenset()) | frozenset(categories(node))
            return replace(self, outside={**self.outside, which: found})
        low = self.low.copy()
        low[which] = max(low[which], node["threshold"])
        return replace(self, low=low)

    def lead(self, row: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The row, changed where it would not take this path."""
        row = _within(row, self.low, self.high)
        for which in self.inside.keys() | self.outside.keys():
            banned = self.outside.get(which, frozenset())
            wanted = sorted(self.inside.get(which, frozenset()) - banned)
            if wanted:
                row[which] = generator.choice(wanted)
            elif np.isfinite(row[which]) and int(row[which]) in banned:
                row[which] = np.nan  # goes right at every split of categories
        return row


def _within(row: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The row moved to where low < value <= high holds for every input, and to NaN where no number is between."""
    asked = np.isfinite(low) | np.isfinite(high)
    values = np.where(asked & np.isnan(row), np.float32(0), row)
    with np.errstate(over="ignore"):
        least, most = np.nextafter(_at_most(low), _UP), _at_most(high)
    # The dump writes an infinite threshold as 1e300: above it there is no float32 but the infinite one.
    reached = np.where(
        (least > most) | (low > np.finfo(np.float32).max), np.float32(np.nan), np.clip(values, least, most)
    )
    return np.where(asked, reached, values).astype(np.float32)


def _at_most(bounds: np.ndarray) -> np.ndarray:
    """The greatest float32 that is not above each float64 bound: to the nearest, rows would miss half of the splits."""
    with np.errstate(over="ignore"):
        nearest = bounds.astype(np.float32)
        return np.where(nearest > bounds, np.nextafter(nearest, _DOWN), nearest)


def _rows_at(node: Mapping[str, Any], row: np.ndarray) -> np.ndarray:
    if node["decision_type"] == "==":
        found = np.array(categories(node), dtype=np.float64)
        points = np.unique(np.concatenate([found - 1, found, found + 0.5, found + 1, [-1.0, -0.5, found[-1] + 1e6]]))
    else:
        points = np.array([node["threshold"]], dtype=np.float64)
    with np.errstate(over="ignore"):
        nearest = points.astype(np.float32)
        # Two floats to each side: whichever way the threshold rounds, both of its true neighbours are among them.
        below, above = np.nextafter(nearest, _DOWN), np.nextafter(nearest, _UP)
        around = [nearest, below, above, np.nextafter(below, _DOWN), np.nextafter(above, _UP)]
    values = np.concatenate((*around, SPECIAL))
    rows = np.repeat(row[None, :], len(values), axis=0)
    rows[:, node["split_feature"]] = values
    return rows
