"""Who evaluates trees: masks that have proved themselves on the bundle, else ONNX Runtime."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from behavior.errors import NotExact
from deployment.bundles import bundles_at
from scoring import evaluator, metrics
from scoring.evaluator import check, evaluator_of
from scoring.model import load_bundle
from scoring.onnx_trees import read_forest
from scoring.trees import Masks, masks_of
from tests.scoring.ensembles import WIDTH, Ensemble, made
from tests.scoring.small import PLAN, make_bundle
from tests.training.models import categorical_model, categorical_rows
from training.onnx_check import open_session, run
from training.onnx_export import export

compiled = pytest.importorskip("scoring.compiled_trees", reason="there is no C compiler")
ENSEMBLE = made(5, trees=20, leaves=31)
GOLDEN = ENSEMBLE.rows[:50]


def chosen(ensemble: Ensemble = ENSEMBLE, wanted: evaluator.Name = "masks") -> evaluator.Evaluator:
    """Who answers for the ensemble."""
    return evaluator_of(ensemble.onnx, ensemble.through_onnx, GOLDEN, wanted, "bundle b")


def test_masks_that_are_exact_serve() -> None:
    """A model of our writer is answered by masks, and if it is so wanted by ONNX Runtime."""
    assert chosen().name == "masks"
    assert chosen().predict(GOLDEN).tolist() == ENSEMBLE.through_onnx(GOLDEN).tolist()
    assert chosen(wanted="onnx") == ("onnx", ENSEMBLE.through_onnx)


def test_masks_serve_models_with_splits_of_categories() -> None:
    """Sets of sixty categories, whose tests share their children, pass the check too."""
    onnx, golden = export(categorical_model()), categorical_rows()[:50]
    session = open_session(onnx)
    assert evaluator_of(onnx, lambda x: run(session, x), golden, "masks", "bundle b").name == "masks"


def test_without_compiled_parts_onnx_runtime_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there was no C compiler nothing is missing but speed, and the log says so."""
    monkeypatch.setattr(evaluator, "MaskedTrees", None)
    assert chosen() == ("onnx", ENSEMBLE.through_onnx)
    assert "compiled parts are missing" in caplog.text


def test_what_masks_cannot_tell_onnx_runtime_answers(caplog: pytest.LogCaptureFixture) -> None:
    """A tree of more leaves than bits: served as ever, and the log says why."""
    large = made(0, trees=1, leaves=65, least=1, categories=False)
    assert chosen(large) == ("onnx", large.through_onnx)
    assert "bundle b: the ensemble cannot be answered by masks: a tree has 65 leaves" in caplog.text


def _lower(masks: Masks) -> Masks:
    """`<` where `<=` is meant."""
    return masks._replace(thresholds=np.nextafter(masks.thresholds, np.float32(-np.inf)))


def _deaf_to_nan(masks: Masks) -> Masks:
    """NaN as the greatest number of its input."""
    kept, starts = masks.masks.copy(), masks.first_threshold
    asking = np.diff(masks.first_tree)
    ends = np.cumsum((np.diff(starts) + 2) * asking)
    for end, width in zip(ends, asking, strict=True):
        kept[end - width : end] = kept[end - 2 * width : end - width]
    return masks._replace(masks=kept)


def _float32_leaves(masks: Masks) -> Masks:
    """Leaves rounded before they are added."""
    return masks._replace(leaves=masks.leaves.astype(np.float32).astype(np.float64))


def _one_leaf(masks: Masks) -> Masks:
    """One leaf of one tree, a millionth off."""
    leaves = masks.leaves.copy()
    leaves[7, 3] += 1e-6
    return masks._replace(leaves=leaves)


def _one_threshold(masks: Masks) -> Masks:
    """One threshold of the first input, a float too high."""
    told = masks.thresholds.copy()
    told[3] = np.nextafter(told[3], np.float32(np.inf))
    return masks._replace(thresholds=told)


@pytest.mark.parametrize("wrong", [_lower, _deaf_to_nan, _float32_leaves, _one_leaf, _one_threshold])
def test_wrong_masks_are_found_out_at_load(
    wrong: Callable[[Masks], Masks], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The check has power: each of these serves nobody, ONNX Runtime answers, and the log names a row."""
    real = masks_of(read_forest(ENSEMBLE.onnx), WIDTH)
    monkeypatch.setattr(evaluator, "masks_of", lambda forest, width: wrong(real))
    assert chosen() == ("onnx", ENSEMBLE.through_onnx)
    assert "ONNX Runtime answers alone: report this model" in caplog.text


def test_what_differs_only_where_inputs_are_shared_is_found_out() -> None:
    """Rows of a request share most inputs; the check has such batches, and single rows."""
    forest = read_forest(ENSEMBLE.onnx)
    margins = compiled.MaskedTrees(*masks_of(forest, WIDTH)).margins
    check(margins, ENSEMBLE.through_onnx, forest, GOLDEN)

    def shared_is_wrong(x: np.ndarray) -> np.ndarray:
        return margins(x) + np.float32((x[:, 0] == x[0, 0]).all() and len(x) > 1)

    with pytest.raises(NotExact):
        check(shared_is_wrong, ENSEMBLE.through_onnx, forest, GOLDEN)


def test_a_bundle_says_who_serves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a server loads is answered by masks, what is loaded to be looked at by ONNX Runtime: the same bits."""
    caplog.set_level(logging.WARNING)
    bundles, bundle_id = bundles_at(tmp_path), make_bundle(tmp_path)
    served = metrics.load_timed(bundles, bundle_id, PLAN)
    plain = load_bundle(bundles, bundle_id, PLAN)
    assert (served.evaluator, plain.evaluator) == ("masks", "onnx")
    assert metrics.load_timed(bundles, bundle_id, PLAN, "onnx").evaluator == "onnx"
    x = np.random.default_rng(0).integers(-3, 9, (100, len(plain.inputs))).astype(np.float32)
    assert served.predict(x).tolist() == plain.predict(x).tolist()
    assert caplog.text == ""
