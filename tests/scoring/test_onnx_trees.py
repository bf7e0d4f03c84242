"""Reading the trees of an ONNX file without ONNX: what it says, or that it is not understood."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from behavior.errors import BadInput
from scoring.onnx_trees import read_forest
from tests.scoring.ensembles import made

EXPORTED = made(3).onnx


def attributes(model: onnx.ModelProto) -> dict[str, Any]:
    """The attributes of the ensemble by name."""
    return {each.name: each for each in model.graph.node[1].attribute}


def test_the_forest_is_what_onnx_reads() -> None:
    """Every list of the file, with nodes in place of their ids."""
    forest, said = read_forest(EXPORTED), attributes(onnx.load_from_string(EXPORTED))
    first = np.flatnonzero(np.diff(forest.tree, prepend=-1))[forest.tree]
    inner = ~forest.leaf
    assert np.array_equal(forest.leaf, [mode == b"LEAF" for mode in said["nodes_modes"].strings])
    assert np.array_equal(forest.tree, said["nodes_treeids"].ints)
    assert np.array_equal(forest.feature[inner], np.array(said["nodes_featureids"].ints)[inner])
    assert np.array_equal((forest.true - first)[inner], np.array(said["nodes_truenodeids"].ints)[inner])
    assert np.array_equal((forest.false - first)[inner], np.array(said["nodes_falsenodeids"].ints)[inner])
    assert np.array_equal(forest.nan_true, np.array(said["nodes_missing_value_tracks_true"].ints) == 1)
    assert np.array_equal(forest.threshold, numpy_helper.to_array(said["nodes_values_as_tensor"].t))
    assert np.array_equal(forest.value[forest.leaf], numpy_helper.to_array(said["target_weights_as_tensor"].t))
    assert forest.nan_true.any()


def _set(name: str, **values: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        attribute = attributes(model)[name]
        attribute.CopyFrom(helper.make_attribute(name, values["value"]))

    return change


def _with_element(name: str, place: int, value: Any, field: str = "ints") -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        getattr(attributes(model)[name], field)[place] = value

    return change


def _added(name: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node[1].attribute.append(helper.make_attribute(name, value))


def _shorter(name: str) -> Callable[[onnx.ModelProto], None]:
    return lambda model: attributes(model)[name].ints.pop()


def _float32_sums(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].i = TensorProto.FLOAT


def _one_more_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Neg", ["margin"], ["turned"]))


def _another_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "TreeEnsembleClassifier"


def _float32_leaves(model: onnx.ModelProto) -> None:
    tensor = attributes(model)["target_weights_as_tensor"].t
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32)))


CHANGES = [
    (_set("post_transform", value="LOGISTIC"), "transformed"),
    (_set("n_targets", value=2), "other sums"),
    (_with_element("target_ids", 0, 1), "other sums"),
    (_with_element("nodes_modes", 0, b"BRANCH_LT", "strings"), "not `<=`"),
    (_with_element("nodes_treeids", 0, 7), "follow each other"),
    (_with_element("nodes_nodeids", 1, 5), "numbered from 0"),
    (_with_element("nodes_truenodeids", 0, 10_000), "a node that is not there"),
    (_with_element("nodes_falsenodeids", 0, -1), "a node that is not there"),
    (_with_element("target_treeids", 0, 99), "a tree that is not there"),
    (_with_element("target_nodeids", 0, 0), "exactly one value"),
    (_added("base_values", [0.5]), "base_values"),
    (_added("aggregate_function", "AVERAGE"), "aggregate_function"),
    (_shorter("nodes_featureids"), "several lengths"),
    (_shorter("target_nodeids"), "other sums"),
    (_float32_sums, "float64"),
    (_float32_leaves, "float64"),
    (_one_more_node, "3 nodes"),
    (_another_operator, "TreeEnsembleClassifier"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_what_is_not_understood_is_refused(change: Callable[[onnx.ModelProto], None], reason: str) -> None:
    """Whatever our own writer does not write is named, and nothing is guessed."""
    model = onnx.load_from_string(EXPORTED)
    change(model)
    with pytest.raises(BadInput, match=reason):
        read_forest(model.SerializeToString())


@given(st.integers(0, len(EXPORTED) - 1), st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_damaged_files_are_read_or_refused(place: int, bit: int) -> None:
    """A flipped bit gives another forest or a refusal, never another error."""
    data = bytearray(EXPORTED)
    data[place] ^= 1 << bit
    try:
        forest = read_forest(bytes(data))
    except BadInput:
        return
    assert ((forest.true >= 0) & (forest.true < len(forest.tree))).all()


@pytest.mark.parametrize("data", [b"", b"no model"])
def test_what_is_no_onnx_is_refused(data: bytes) -> None:
    """Bytes of something else are refused."""
    with pytest.raises(BadInput, match="cannot be read as masks"):
        read_forest(data)
