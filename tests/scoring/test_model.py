"""Loading bundles: whole and verified, or refused with the reason."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from behavior import manifest as manifests
from behavior.calibration import Calibration
from behavior.errors import BundleRefused
from behavior.plan import Plan
from deployment.bundles import bundles_at
from scoring import model
from scoring.model import Bundle, load_bundle
from tests.scoring.small import INPUTS, PLAN, TEXTS, make_bundle, make_current

TARGET = "purchase_7d"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one good bundle, which tests copy before they break it."""
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


def current_id(bundles: Path) -> str | None:
    """The bundle that is current in the directory."""
    return bundles_at(bundles).current_id()


def load(directory: Path, plan: Plan) -> Bundle:
    """The bundle whose directory this is."""
    return load_bundle(bundles_at(directory.parent.parent), directory.name, plan)


def rewritten(bundles: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of the bundle with changed files and a manifest that fits them: only the content is wrong."""
    source = bundles / TARGET / str(current_id(bundles))
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    manifest = manifests.decode(files.pop("manifest.json"))
    change(files)
    hashes = {name: manifests.sha256(data).hexdigest() for name, data in files.items()}
    manifest = manifests.sealed(msgspec.structs.replace(manifest, files=hashes))
    directory = target / TARGET / manifest.bundle_id
    directory.mkdir(parents=True)
    for name, data in (files | {"manifest.json": manifests.encode(manifest)}).items():
        (directory / name).write_bytes(data)
    return directory


def test_a_loaded_bundle_answers_what_training_saw(bundles: Path) -> None:
    """Inputs, views, vocabularies and zone are the manifest's; golden rows get their margins."""
    bundle_id = str(current_id(bundles))
    bundle = load(bundles / TARGET / bundle_id, PLAN)
    assert (bundle.bundle_id, bundle.target, bundle.inputs) == (bundle_id, "purchase_7d", INPUTS)
    assert bundle.views == {"user_activity", "user_category", "category_activity", "all_activity"}
    assert bundle.vocabularies[TEXTS[1]] == {"BREAD": 0, "COFFEE": 1, "RICE": 2, "TEA": 3}
    assert (bundle.zone, bundle.manifest.calibrated) == ("America/New_York", False)
    golden = np.load(bundles / TARGET / bundle_id / "golden.npz")
    margins = bundle.predict(golden["x"])
    assert margins.dtype == np.float32
    assert margins.shape == (50,)
    assert np.array_equal(margins, golden["margin"])


@pytest.mark.parametrize("name", [*manifests.FILES, "manifest.json"])
def test_one_flipped_bit_is_refused(bundles: Path, tmp_path: Path, name: str) -> None:
    """Whatever file is damaged, the bundle does not load."""
    bundle_id = str(current_id(bundles))
    (tmp_path / TARGET / bundle_id).mkdir(parents=True)
    for path in (bundles / TARGET / bundle_id).iterdir():
        data = bytearray(path.read_bytes())
        if path.name == name:
            data[len(data) // 2] ^= 1
        (tmp_path / TARGET / bundle_id / path.name).write_bytes(data)
    with pytest.raises(BundleRefused):
        load(tmp_path / TARGET / bundle_id, PLAN)


def test_golden_rows_are_checked_through_the_runtime(bundles: Path, tmp_path: Path) -> None:
    """A model that answers the golden rows otherwise is refused, even if all hashes are right."""

    def other_margins(files: dict[str, bytes]) -> None:
        golden = np.load(io.BytesIO(files["golden.npz"]))
        buffer = io.BytesIO()
        np.savez(buffer, x=golden["x"], margin=golden["margin"] + np.float32(0.01))
        files["golden.npz"] = buffer.getvalue()

    with pytest.raises(BundleRefused, match="otherwise"):
        load(rewritten(bundles, tmp_path, other_margins), PLAN)


def test_a_golden_margin_that_is_no_number_is_refused(bundles: Path, tmp_path: Path) -> None:
    """NaN compares with nothing, and so must not pass the comparison."""

    def no_number(files: dict[str, bytes]) -> None:
        golden = np.load(io.BytesIO(files["golden.npz"]))
        buffer = io.BytesIO()
        np.savez(buffer, x=golden["x"], margin=golden["margin"] * np.float32("nan"))
        files["golden.npz"] = buffer.getvalue()

    with pytest.raises(BundleRefused, match="otherwise"):
        load(rewritten(bundles, tmp_path, no_number), PLAN)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("golden.npz", b"no zip"),
        ("vocabularies.json", b"{}"),
        ("vocabularies.json", b"[1]"),
        ("model.onnx", b"no model"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused(
    bundles: Path, tmp_path: Path, name: str, data: bytes
) -> None:
    """Well hashed nonsense is refused with the name of the file."""
    directory = rewritten(bundles, tmp_path, lambda files: files.update({name: data}))
    with pytest.raises(BundleRefused, match=name):
        load(directory, PLAN)


def test_a_plan_with_another_meaning_is_refused(bundles: Path) -> None:
    """A feature that is absent from the plan, or defined otherwise, is named."""
    directory = bundles / TARGET / str(current_id(bundles))
    without = Plan(view.definition for view in PLAN.views if view.name != "all_activity")
    with pytest.raises(BundleRefused, match="all_activity:purchase_count_7d"):
        load(directory, without)
    changed = Plan(msgspec.structs.replace(view.definition, retention_us=view.retention_us * 2) for view in PLAN.views)
    with pytest.raises(BundleRefused, match="otherwise"):
        load(directory, changed)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A pointer to nothing is one clear sentence."""
    with pytest.raises(BundleRefused, match="cannot be read"):
        load(tmp_path / TARGET / "purchase_7d-20170925-00000000", PLAN)


def test_before_the_first_training_there_is_no_current_bundle(tmp_path: Path) -> None:
    """No directory, an empty one and one without a pointer are all the same: None."""
    assert current_id(tmp_path) is None
    assert current_id(tmp_path / "absent") is None


def test_a_calibrated_bundle_believes_calibrated_margins(tmp_path: Path) -> None:
    """Margins stay the model's own; what is believed is slope × margin + intercept, and the raw margin without one."""
    raw = np.array([-1.5, 0.0, 2.25], dtype=np.float32)
    plain = load_bundle(bundles_at(tmp_path), make_bundle(tmp_path), PLAN)
    calibrated = load_bundle(bundles_at(tmp_path), make_bundle(tmp_path, calibration=Calibration(0.5, -1.0)), PLAN)
    assert plain.believed(raw).tolist() == [-1.5, 0.0, 2.25]
    assert calibrated.believed(raw).tolist() == [-1.75, -1.0, 0.125]
    assert calibrated.manifest.calibrated


def test_the_runtime_has_one_thread(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of the runtime never spreads over the machine: one thread, no warnings on stderr."""
    seen = []

    def session(data: bytes, options: object, **rest: object) -> object:
        seen.append(options)
        return SimpleNamespace(get_inputs=lambda: [SimpleNamespace(shape=[None, len(INPUTS)])], run=None)

    monkeypatch.setattr(model.onnxruntime, "InferenceSession", session)
    with pytest.raises(TypeError):
        load(bundles / TARGET / str(current_id(bundles)), PLAN)
    assert (seen[0].intra_op_num_threads, seen[0].inter_op_num_threads, seen[0].log_severity_level) == (1, 1, 3)


def test_a_model_is_warm_before_it_can_be_taken_over(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading predicts batches of one, a hundred and a thousand rows, through the runtime that will answer."""
    seen: list[tuple[int, ...]] = []
    real = model._onnx

    def recording(*args: Any) -> Callable[[np.ndarray], np.ndarray]:
        predict = real(*args)

        def predicted(x: np.ndarray) -> np.ndarray:
            seen.append(x.shape)
            return predict(x)

        return predicted

    monkeypatch.setattr(model, "_onnx", recording)
    load(bundles / TARGET / str(current_id(bundles)), PLAN)
    golden, *warming = seen
    assert golden == (50, len(INPUTS))
    assert set(warming) == {(rows, len(INPUTS)) for rows in (1, 100, 1000)}
