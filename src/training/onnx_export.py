"""LightGBM to ONNX, exactly: the same leaf for every float32 input, and float64 sums rounded to float32 once.

One `TreeEnsembleRegressor` (ai.onnx.ml), no link function: input "x" float32[N, d], output "margin" float32[N, 1].

Where the two differ, and what is done about it (LightGBM's `Tree::NumericalDecision` and `kZeroThreshold`):
* LightGBM's thresholds are float64, the node's are float32. For float32 x, `x <= T` is `x <= down(T)` with the greatest
  float32 that is not above T. To the nearest would send values equal to a threshold the wrong way in half of all cases.
* LightGBM's predictor reads |x| <= 1e-35 as 0. A threshold in that band is moved to its edge, which answers the same.
* A split of NaN from all the rest has threshold inf, which `dump_model` writes as 1e300: it is read back as inf.
* The node sums leaves in the type of its input, and 300 trees summed in float32 are up to 7e-6 off. So the input is
  cast to float64 before it: 5 % slower, and the margin is within half a float32 ulp (2.4e-7 below 8).
* Without a missing type NaN is read as 0; with `NaN` it follows `default_left`. Both become a flag of the node.
* A split of categories (`Tree::CategoricalDecision`) casts its input to int and looks it up in a set: k is all of
  [k, k + 1), and 0 is (-1, 1). What is in no such range goes right: NaN with any missing type, negative, unseen and
  infinite values. So the set is a chain of `<=` at the ends of its ranges, whose answers share the two children.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from behavior.errors import BadInput

INPUT = "x"
OUTPUT = "margin"
_WIDE = "x_float64"
# Version 3 of the operator set is what every ONNX Runtime since 1.11 executes; 5 would deprecate the operator.
_OPSETS = (("", 17), ("ai.onnx.ml", 3))
_IR_VERSION = 8
_TINY = np.float32(1e-35)  # LightGBM's kZeroThreshold is this very float32
_DUMPED_INF = 1e300
# ONNX Runtime 1.32 lays out a tree by recursion, up to 1 KiB of stack a test, and overflows without an exception:
# seen dead at 12,000 tests in line on 8 MiB and at 2,000 on 1 MiB. Models as training fits them have about 30.
DEEPEST = 1_000


def export(booster: lightgbm.Booster) -> bytes:
    """The booster as an ONNX model of raw margins.

    Raises BadInput naming the reason if the model has anything whose export would not be exact.
    """
    model = booster.dump_model()
    refuse_inexact(model, booster.params | _trained_with(booster))
    nodes = _Nodes()
    for tree in model["tree_info"]:
        nodes.add_tree(tree)
    width = model["max_feature_idx"] + 1
    cast = helper.make_node("Cast", [INPUT], [_WIDE], to=TensorProto.DOUBLE)
    trees = helper.make_node(
        "TreeEnsembleRegressor",
        [_WIDE],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=1,
        post_transform="NONE",
        **nodes.columns,
    )
    graph = helper.make_graph(
        [cast, trees],
        "propensity",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    exported = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="opportune")
    onnx.checker.check_model(exported)
    return bytes(exported.SerializeToString())


def refuse_inexact(model: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raise BadInput with the reason if the dumped model is not one that `export` translates exactly."""
    if "objective" not in model:
        raise _refused("its objective is a function that the model does not hold", "fit with objective binary")
    if not str(model["objective"]).startswith("binary"):
        raise _refused(f"its objective is {model['objective']!r}", "fit with objective binary")
    if model["num_tree_per_iteration"] != 1 or model["average_output"]:
        raise _refused("it has several outputs or averages its trees", "fit one gradient-boosted propensity per target")
    if str(parameters.get("zero_as_missing", "0")).lower() in ("1", "true"):
        raise _refused("it was fitted with zero_as_missing", "fit with missing values as NaN")
    if str(parameters.get("linear_tree", "0")).lower() in ("1", "true"):
        raise _refused("its leaves are linear models", "fit with linear_tree=false")
    for tree in model["tree_info"]:
        _refuse_tree(tree["tree_structure"], f"tree {tree['tree_index']}")


def _refuse_tree(root: Mapping[str, Any], where: str) -> None:
    for node in _walk(root):
        if "leaf_coeff" in node:
            raise _refused(f"{where} has linear leaves", "fit with linear_tree=false")
        if node.get("decision_type", "<=") not in ("<=", "=="):
            raise _refused(
                f"{where} decides by {node['decision_type']!r}", "fit with a version of LightGBM that is pinned"
            )
        if node.get("missing_type", "None") not in ("None", "NaN"):
            raise _refused(f"{where} treats zero as missing", "fit with zero_as_missing=false")
    deepest = _deepest(root)
    if deepest > DEEPEST:
        raise _refused(
            f"{where} asks {deepest:,} tests in line, and ONNX Runtime dies of some thousands",
            f"fit with a lower max_depth or max_cat_threshold, for at most {DEEPEST:,}",
        )


def round_down(thresholds: np.ndarray) -> np.ndarray:
    """Float32 thresholds that decide `x <= T` for every float32 x exactly as LightGBM decides it for float64 T."""
    thresholds = np.where(np.abs(thresholds) >= _DUMPED_INF, np.copysign(np.inf, thresholds), thresholds)
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    down = np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    # In the band around 0 every x counts as 0: below 0 none of the band goes left, from 0 on all of it.
    below = (down >= -_TINY) & (thresholds < 0)
    above = (thresholds >= 0) & (down < _TINY)
    down = np.where(below, np.nextafter(-_TINY, np.float32(-np.inf)), down)
    return np.where(above, _TINY, down).astype(np.float32)


def categories(node: Mapping[str, Any]) -> list[int]:
    """The categories that a dumped `==` node sends left, rising."""
    return sorted(int(text) for text in str(node["threshold"]).split("||"))


def range_ends(left: Iterable[int]) -> list[float]:
    """Rising thresholds between which a number is by turns outside and inside of the categories `left`, int >= 0.

    Outside up to the first, inside up to the second, ..., outside above the last. They stand for float64 `<=`, and
    become float32 by `round_down` as all thresholds do.

    >>> range_ends([0, 4, 5])
    [-1.0, 0.9999999999999999, 3.9999999999999996, 5.999999999999999]
    """
    ends: list[float] = []
    for category in sorted(left):
        below = float(np.nextafter(float(category), -np.inf)) if category else -1.0
        if ends and ends[-1] == below:
            ends.pop()  # neighbours are one range
        else:
            ends.append(below)
        ends.append(float(np.nextafter(category + 1.0, -np.inf)))
    return ends


class _Test(NamedTuple):
    """One `x <= threshold` of the exported tree: where it leads, and where NaN does."""

    feature: int
    threshold: float
    true: int
    false: int
    nan_true: bool


class _Nodes:
    """The operator's parallel attribute lists, filled tree by tree."""

    def __init__(self) -> None:
        self._tree: list[int] = []
        self._id: list[int] = []
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._mode: list[str] = []
        self._true: list[int] = []
        self._false: list[int] = []
        self._nan_true: list[int] = []
        self._leaf: list[tuple[int, int, float]] = []

    @property
    def columns(self) -> dict[str, Any]:
        """The lists under the operator's names; thresholds already rounded."""
        trees, ids, weights = zip(*self._leaf, strict=True)
        return {
            "nodes_treeids": self._tree,
            "nodes_nodeids": self._id,
            "nodes_featureids": self._feature,
            "nodes_values_as_tensor": _tensor(round_down(np.array(self._threshold, dtype=np.float64))),
            "nodes_modes": self._mode,
            "nodes_truenodeids": self._true,
            "nodes_falsenodeids": self._false,
            "nodes_missing_value_tracks_true": self._nan_true,
            "target_treeids": list(trees),
            "target_nodeids": list(ids),
            "target_ids": [0] * len(ids),
            "target_weights_as_tensor": _tensor(np.array(weights, dtype=np.float64)),
        }

    def add_tree(self, tree: Mapping[str, Any]) -> None:
        """Append one dumped tree; its leaf values already hold shrinkage and the initial score."""
        pending: list[Mapping[str, Any] | _Test] = [tree["tree_structure"]]
        for place in _places(pending):  # a node's id is its place
            node = pending[place]
            if isinstance(node, _Test):
                self._append(tree["tree_index"], place, "BRANCH_LEQ", *node)
            elif "leaf_value" in node:
                self._append(tree["tree_index"], place, "LEAF")
                self._leaf.append((tree["tree_index"], place, node["leaf_value"]))
            else:
                tests = list(_tests(node, len(pending)))
                self._append(tree["tree_index"], place, "BRANCH_LEQ", *tests[0])
                pending += [node["left_child"], node["right_child"], *tests[1:]]

    def _append(
        self,
        tree: int,
        place: int,
        mode: str,
        feature: int = 0,
        threshold: float = 0.0,
        true: int = 0,
        false: int = 0,
        nan_true: bool = False,
    ) -> None:
        self._tree.append(tree)
        self._id.append(place)
        self._mode.append(mode)
        self._feature.append(feature)
        self._threshold.append(threshold)
        self._true.append(true)
        self._false.append(false)
        self._nan_true.append(int(nan_true))


def _tests(node: Mapping[str, Any], left: int) -> Iterator[_Test]:
    """A split as tests whose children are at `left` and `left + 1`, further tests right behind them.

    ONNX Runtime lays out false branches first and lets a true branch lead to a node that has its place already: of a
    chain only true branches may share, and they do.
    """
    feature, right = node["split_feature"], left + 1
    if node["decision_type"] == "<=":
        threshold = float(node["threshold"])
        nan_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
        yield _Test(feature, threshold, left, right, bool(nan_left))
        return
    ends = range_ends(categories(node))
    for number, end in enumerate(ends):
        inside = number % 2 == 1
        last = number == len(ends) - 1
        # NaN leaves the chain at the first test, to the right as what is below the first range.
        yield _Test(feature, end, left if inside else right, right if last else right + 1 + number, nan_true=True)


def _tensor(values: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float64))


def _places(pending: list[Any]) -> Iterator[int]:
    """0, 1, 2, ... while the list still has that place; it may grow meanwhile."""
    place = 0
    while place < len(pending):
        yield place
        place += 1


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending += [node[side] for side in ("left_child", "right_child") if side in node]


def _deepest(root: Mapping[str, Any]) -> int:
    """The most tests between the root and a leaf of a dumped tree, a split of categories being as many as its ends."""
    deepest, pending = 0, [(root, 0)]
    while pending:
        node, depth = pending.pop()
        deepest = max(deepest, depth)
        if "split_feature" in node:
            depth += 1 if node["decision_type"] == "<=" else len(range_ends(categories(node)))
            pending += [(node[side], depth) for side in ("left_child", "right_child")]
    return deepest


def _trained_with(booster: lightgbm.Booster) -> dict[str, str]:
    """The parameters that the model's own text states; a loaded booster has no others."""
    lines = booster.model_to_string(num_iteration=1).splitlines()
    pairs = [line[1:-1].split(": ", 1) for line in lines if line.startswith("[") and line.endswith("]")]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _refused(reason: str, advice: str) -> BadInput:
    return BadInput(f"this LightGBM model cannot be exported to ONNX exactly: {reason}; {advice}")
