"""The trees of a bundle's ONNX file as arrays, read without ONNX: the few messages of its format that they need.

Only what our own writer writes is understood: a cast to float64, then one `TreeEnsembleRegressor` of one sum per row,
whose every test is `x <= threshold`. Of anything else it is said what it is, and ONNX Runtime answers alone.
Numbers of fields are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from behavior.errors import BadInput

_Field = descriptor_pb2.FieldDescriptorProto
# {message: {field: (number, type, repeated)}}; a type that is a text is one of these messages.
_MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "Tensor": {
        "dims": (1, _Field.TYPE_INT64, True),
        "data_type": (2, _Field.TYPE_INT32, False),
        "raw_data": (9, _Field.TYPE_BYTES, False),
    },
    "Attribute": {
        "name": (1, _Field.TYPE_STRING, False),
        "i": (3, _Field.TYPE_INT64, False),
        "s": (4, _Field.TYPE_BYTES, False),
        "t": (5, "Tensor", False),
        "ints": (8, _Field.TYPE_INT64, True),
        "strings": (9, _Field.TYPE_BYTES, True),
    },
    "Node": {
        "input": (1, _Field.TYPE_STRING, True),
        "output": (2, _Field.TYPE_STRING, True),
        "op_type": (4, _Field.TYPE_STRING, False),
        "attribute": (5, "Attribute", True),
        "domain": (7, _Field.TYPE_STRING, False),
    },
    "Graph": {"node": (1, "Node", True), "initializer": (5, "Tensor", True)},
    "Model": {"graph": (7, "Graph", False)},
}
_DOUBLE = 11  # TensorProto.DataType
_INNER, _LEAF = b"BRANCH_LEQ", b"LEAF"
_LISTS = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids",
    "nodes_missing_value_tracks_true", "target_treeids", "target_nodeids", "target_ids",
)  # fmt: skip
_NAMES = {
    *_LISTS, "nodes_modes", "nodes_values_as_tensor", "target_weights_as_tensor", "n_targets", "post_transform",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forest:
    """The nodes of all trees, m in parallel arrays, tree after tree; the first of a tree is its root.

    tree        int64[m], 0, 1, 2, ... as they are summed
    leaf        bool[m]; the others test
    feature     int64[m], the input that is tested
    threshold   float64[m], and by `<=` what with
    true        int64[m], the node that the test leads to if it holds, as its place here; of a leaf its own
    false       int64[m], if it does not
    nan_true    bool[m], whether it holds for NaN
    value       float64[m], what a leaf adds
    """

    tree: np.ndarray
    leaf: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    true: np.ndarray
    false: np.ndarray
    nan_true: np.ndarray
    value: np.ndarray


def read_forest(model: bytes) -> Forest:
    """The trees of an ONNX file. Raises BadInput that says what of it is not understood."""
    given = _attributes(_ensemble(model))
    count = len(given["nodes_treeids"])
    leaf = given["nodes_modes"] == _LEAF
    if not count or not (leaf | (given["nodes_modes"] == _INNER)).all():
        raise _foreign("tests that are not `<=`")
    if any(len(each) != count for name, each in given.items() if name.startswith("nodes_")):
        raise _foreign("lists of nodes of several lengths")
    root = np.diff(given["nodes_treeids"], prepend=given["nodes_treeids"][0] - 1)
    if not np.isin(root, (0, 1)).all():
        raise _foreign("trees that do not follow each other")
    tree = np.cumsum(root) - 1
    places = _Places(tree, given["nodes_treeids"], given["nodes_nodeids"])
    own = np.arange(count)
    return Forest(
        tree=tree,
        leaf=leaf,
        feature=np.where(leaf, 0, given["nodes_featureids"]),
        threshold=given["nodes_values_as_tensor"],
        true=np.where(leaf, own, places.of(given["nodes_treeids"], given["nodes_truenodeids"])),
        false=np.where(leaf, own, places.of(given["nodes_treeids"], given["nodes_falsenodeids"])),
        nan_true=given["nodes_missing_value_tracks_true"] != 0,
        value=_values(given, leaf, places),
    )


class _Places:
    """Where nodes stand among all, by the ids of their trees and their own."""

    def __init__(self, tree: np.ndarray, trees: np.ndarray, nodes: np.ndarray) -> None:
        first = np.flatnonzero(np.diff(tree, prepend=-1))
        # Our writer numbers the nodes of a tree from 0.
        if not np.array_equal(nodes, np.arange(len(tree)) - first[tree]):
            raise _foreign("nodes that are not numbered from 0")
        self._first, self._id = first, trees[0]
        self._size = np.diff(first, append=len(tree))

    def of(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Places int64[k]. Raises BadInput if one is not there."""
        which = trees - self._id
        if not ((which >= 0) & (which < len(self._first))).all():
            raise _foreign("a tree that is not there")
        if not ((nodes >= 0) & (nodes < self._size[which])).all():
            raise _foreign("a node that is not there")
        found: np.ndarray = self._first[which] + nodes
        return found


def _values(given: Mapping[str, np.ndarray], leaf: np.ndarray, places: _Places) -> np.ndarray:
    """What each node adds, float64[m]: 0 if it is no leaf."""
    trees, nodes, weights = (given[f"target_{name}"] for name in ("treeids", "nodeids", "weights_as_tensor"))
    if not len(trees) == len(nodes) == len(weights) or given["target_ids"].any():
        raise _foreign("other sums than one per row")
    told = places.of(trees, nodes)
    if not np.array_equal(np.sort(told), np.flatnonzero(leaf)):
        raise _foreign("leaves that add not exactly one value")
    values = np.zeros(len(leaf))
    values[told] = weights
    return values


def _ensemble(model: bytes) -> Any:
    """The node of the trees."""
    read = _reader()()
    try:
        read.ParseFromString(model)
    except DecodeError as error:
        raise _foreign(f"bytes that are no ONNX ({error})") from None
    graph: Any = read.graph  # type: ignore[attr-defined]
    kinds = [(node.domain, node.op_type, list(node.input), list(node.output)) for node in graph.node]
    if len(kinds) != 2 or graph.initializer:
        raise _foreign(f"{len(kinds)} nodes, where a cast and an ensemble are expected")
    wide = kinds[0][3]
    if kinds != [("", "Cast", ["x"], wide), ("ai.onnx.ml", "TreeEnsembleRegressor", wide, ["margin"])]:
        raise _foreign(" and ".join(kind for _, kind, _, _ in kinds))
    if [(each.name, each.i) for each in graph.node[0].attribute] != [("to", _DOUBLE)]:
        raise _foreign("sums that are not float64")
    return graph.node[1]


def _attributes(node: Any) -> dict[str, np.ndarray]:
    """The lists of the ensemble by name, if it says nothing besides."""
    found = {each.name: each for each in node.attribute}
    if found.keys() != _NAMES or len(node.attribute) != len(_NAMES):
        raise _foreign(f"an ensemble with {', '.join(sorted(found.keys() ^ _NAMES))}")
    if found["n_targets"].i != 1 or found["post_transform"].s != b"NONE":
        raise _foreign("other sums than one per row, or transformed ones")
    lists: dict[str, np.ndarray] = {name: np.array(found[name].ints, dtype=np.int64) for name in _LISTS}
    lists["nodes_modes"] = np.array(found["nodes_modes"].strings, dtype=np.bytes_)
    for name in ("nodes_values_as_tensor", "target_weights_as_tensor"):
        tensor = found[name].t
        if tensor.data_type != _DOUBLE or [8 * each for each in tensor.dims] != [len(tensor.raw_data)]:
            raise _foreign("numbers that are not float64")
        lists[name] = np.frombuffer(tensor.raw_data, dtype="<f8").astype(np.float64)
    return lists


@cache
def _reader() -> type[Message]:
    """The class of the messages; they are in a pool of their own, so that another package may bring all of ONNX."""
    file = descriptor_pb2.FileDescriptorProto(name="onnx_trees.proto", package="onnx_trees", syntax="proto3")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in members.items():
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                made.type, made.type_name = _Field.TYPE_MESSAGE, f".onnx_trees.{kind}"
            else:
                made.type = kind  # type: ignore[assignment]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx_trees.Model"))


def _foreign(what: str) -> BadInput:
    return BadInput(f"the trees cannot be read as masks: they have {what}; ONNX Runtime answers alone")
