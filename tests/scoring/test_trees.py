"""Trees by masks: the margin of ONNX Runtime, bit for bit, whatever the ensemble and whatever the row."""

import dataclasses
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.errors import BadInput
from scoring import trees
from scoring.onnx_trees import Forest, read_forest
from scoring.trees import masks_of
from tests.scoring.ensembles import WIDTH, Ensemble, ensembles, made, with_cancelling_leaves
from tests.training.models import categorical_model, categorical_rows, model, rows
from training.onnx_check import open_session, run
from training.onnx_export import export

compiled = pytest.importorskip("scoring.compiled_trees", reason="there is no C compiler")

MISFITS = r"places must|not of one ensemble|a tree is named|there must be a mask"


def masked(onnx: bytes, width: int) -> Any:
    """The evaluator of an exported model."""
    return compiled.MaskedTrees(*masks_of(read_forest(onnx), width))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of float32 have the same bits."""
    return one.dtype == other.dtype == np.float32 and np.array_equal(one.view(np.uint32), other.view(np.uint32))


@given(ensembles(), st.integers(0, 9), st.sets(st.integers(0, WIDTH - 1)))
@settings(max_examples=60, deadline=None)
def test_masks_answer_as_onnx_runtime_and_lightgbm_do(ensemble: Ensemble, count: int, shared: set[int]) -> None:
    """All rows at once, few of them, and rows that share some inputs: the same bits as both."""
    margins = masked(ensemble.onnx, WIDTH).margins
    x = ensemble.rows
    assert same(margins(x), ensemble.through_onnx(x))
    assert same(margins(x), ensemble.booster.predict(x, raw_score=True, num_threads=1).astype(np.float32))
    assert same(margins(x[:count]), ensemble.through_onnx(x)[:count])
    x = x.copy()
    x[:, list(shared)] = x[0, list(shared)]
    assert same(margins(x), ensemble.through_onnx(x))


def test_rows_that_are_usual_in_most_inputs_are_answered_as_each_alone() -> None:
    """More inputs than a set has bits, all of which vary, and most of them in a few rows only, as a user's pairs do."""
    generator = np.random.default_rng(1)
    width, n = 70, 101
    x = generator.normal(size=(n, width)).astype(np.float32)
    parameters = {"objective": "binary", "num_leaves": 30, "min_data_in_leaf": 2, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, x[:, ::7].sum(axis=1) > x[:, 1::9].sum(axis=1)), 60)
    onnx = export(booster)
    margins, through_onnx = masked(onnx, width).margins, open_session(onnx)
    for usual in (0, 1, n // 2, n - 2, n):
        for like in (np.float32(np.nan), np.float32(0.0), x[0, :50]):
            given_rows = x.copy()
            given_rows[generator.permutation(n)[:usual, None], np.arange(10, 60)] = like
            alone = np.concatenate([margins(row[None]) for row in given_rows])
            assert same(margins(given_rows), alone)
            assert same(alone, run(through_onnx, given_rows))


@pytest.mark.parametrize(("booster", "x"), [(model(), rows()), (categorical_model(), categorical_rows())])
def test_masks_of_fitted_models_are_exact(booster: Any, x: np.ndarray) -> None:
    """Models as training fits them, thresholds near zero and sets of sixty categories included."""
    onnx = export(booster)
    assert same(masked(onnx, x.shape[1]).margins(x), run(open_session(onnx), x))


def test_leaves_are_added_tree_by_tree() -> None:
    """Where the order of a sum shows in its first digits, it is that of ONNX Runtime, for one row and for many."""
    ensemble = with_cancelling_leaves(made(5, trees=40))
    arrays = masks_of(read_forest(ensemble.onnx), WIDTH)
    margins, x = compiled.MaskedTrees(*arrays).margins, ensemble.rows
    assert same(margins(x), ensemble.through_onnx(x))
    assert all(same(margins(row[None]), ensemble.through_onnx(row[None])) for row in x[:20])
    turned = arrays._replace(leaves=arrays.leaves[::-1], trees=len(arrays.leaves) - 1 - arrays.trees)
    assert not same(compiled.MaskedTrees(*turned).margins(x), ensemble.through_onnx(x))


def test_rows_may_lie_in_memory_as_they_like() -> None:
    """Columns one after the other, every second row, no row at all: the same margins."""
    ensemble = made(3)
    margins = masked(ensemble.onnx, WIDTH).margins
    x, expected = ensemble.rows, ensemble.through_onnx(ensemble.rows)
    assert same(margins(np.asfortranarray(x)), expected)
    assert same(margins(x[::2]), expected[::2])
    assert same(margins(x[:0]), expected[:0])


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.zeros((2, WIDTH)), "expected 'const float'"),
        (np.zeros((2, WIDTH + 1), np.float32), "rows of 5 inputs; the model has 4"),
        (np.zeros(WIDTH, np.float32), "wrong number of dimensions"),
        (np.zeros((0, 0), np.float32), "rows of 0 inputs"),
    ],
)
def test_other_rows_are_refused(x: np.ndarray, reason: str) -> None:
    """Rows of another type, width or shape are an error, and never read."""
    with pytest.raises(ValueError, match=reason):
        masked(made(3).onnx, WIDTH).margins(x)


def test_a_tree_of_more_leaves_than_bits_is_refused() -> None:
    """65 leaves are one too many; 64 are not."""
    forest = read_forest(made(0, trees=1, leaves=64, least=1, categories=False).onnx)
    assert int(forest.leaf.sum()) == 64
    masks_of(forest, WIDTH)
    with pytest.raises(BadInput, match="a tree has 65 leaves, and a mask has 64 bits"):
        masks_of(read_forest(made(0, trees=1, leaves=65, least=1, categories=False).onnx), WIDTH)


def test_more_masks_than_there_is_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose masks would fill the memory is left to ONNX Runtime."""
    monkeypatch.setattr(trees, "_MOST_MASKS", 100)
    with pytest.raises(BadInput, match="more than 100 masks"):
        masks_of(read_forest(made(0).onnx), WIDTH)


def small(**changes: Any) -> Forest:
    """A tree of two tests and three leaves, changed."""
    forest = Forest(
        tree=np.zeros(5, dtype=np.int64),
        leaf=np.array([False, False, True, True, True]),
        feature=np.array([0, 1, 0, 0, 0]),
        threshold=np.array([0.5, 1.5, 0, 0, 0]),
        true=np.array([1, 3, 2, 3, 4]),
        false=np.array([2, 4, 2, 3, 4]),
        nan_true=np.zeros(5, dtype=bool),
        value=np.array([0, 0, 1.0, 2.0, 3.0]),
    )
    return dataclasses.replace(forest, **{name: np.array(value) for name, value in changes.items()})


def test_the_small_tree_is_one() -> None:
    """The tree that the next test breaks answers as it is drawn."""
    x = np.array([[0, 0], [0, 2], [1, 0], [np.nan, 0]], dtype=np.float32)
    assert compiled.MaskedTrees(*masks_of(small(), 2)).margins(x).tolist() == [2.0, 3.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"feature": [0, 2, 0, 0, 0]}, "no input"),
        ({"threshold": [0.5, np.nan, 0, 0, 0]}, "no number"),
        ({"true": [2, 3, 2, 3, 4], "false": [1, 2, 2, 3, 4]}, "share a child"),
        ({"true": [1, 0, 2, 3, 4]}, "share a child"),
        ({"feature": [0, 0, 0, 0, 0], "true": [2, 1, 2, 3, 4], "false": [1, 4, 2, 3, 4]}, "lead back"),
    ],
)
def test_what_is_no_tree_is_refused(changes: dict[str, Any], reason: str) -> None:
    """Shared children, circles, inputs and thresholds that are none: refused by name."""
    with pytest.raises(BadInput, match=reason):
        masks_of(small(**changes), 2)


def given_arrays() -> dict[str, np.ndarray]:
    """The arrays of an ensemble."""
    return masks_of(read_forest(made(3).onnx), WIDTH)._asdict()


@pytest.mark.parametrize("name", ["thresholds", "first_threshold", "trees", "first_tree", "masks", "leaves"])
@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: a[:0], lambda a: np.concatenate([a.T, a.T[:1]]).T])
def test_arrays_that_do_not_fit_are_refused(name: str, change: Any) -> None:
    """Whichever array is too short, too long or too wide, it is refused before a row is read."""
    arrays = given_arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=MISFITS):
        compiled.MaskedTrees(**arrays)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("trees", 0, -1),
        ("trees", 0, 6),
        ("first_tree", 1, -5),
        ("first_threshold", 1, 10**6),
        ("first_tree", 1, 10**15),
    ],
)
def test_places_outside_are_refused(name: str, place: int, value: int) -> None:
    """A place that would lead out of an array is refused."""
    arrays = given_arrays()
    arrays[name] = arrays[name].copy()
    arrays[name][place] = value
    with pytest.raises(ValueError, match=MISFITS):
        compiled.MaskedTrees(**arrays)


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_wrong_masks_lead_nowhere_else(seed: int) -> None:
    """Whatever the masks say, also that no leaf is left, every margin is a sum of leaves of the ensemble."""
    arrays = given_arrays()
    generator = np.random.default_rng(seed)
    kept = generator.integers(0, 2**63, len(arrays["masks"])).astype(np.uint64) * generator.integers(0, 2)
    margins = compiled.MaskedTrees(**arrays | {"masks": kept}).margins(made(3).rows)
    leaves = arrays["leaves"]
    assert (margins >= np.float32(leaves.min(axis=1).sum()) - 1e-5).all()
    assert (margins <= np.float32(leaves.max(axis=1).sum()) + 1e-5).all()
