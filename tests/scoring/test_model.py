"""Loading bundles: whole and verified, or refused with the reason."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from behavior import manifest as manifests
from behavior.errors import BadInput, BundleRefused
from behavior.plan import Plan
from scoring import model
from scoring.model import current_id, load_bundle
from tests.scoring.small import INPUTS, PLAN, TEXTS, make_bundle, make_current


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one good bundle, which tests copy before they break it."""
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


def rewritten(bundles: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of the bundle with changed files and a manifest that fits them: only the content is wrong."""
    source = bundles / str(current_id(bundles))
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    manifest = manifests.decode(files.pop("manifest.json"))
    change(files)
    hashes = {name: manifests.sha256(data).hexdigest() for name, data in files.items()}
    manifest = msgspec.structs.replace(manifest, files=hashes)
    manifest = msgspec.structs.replace(manifest, bundle_id=manifests.make_id(manifest))
    directory = target / manifest.bundle_id
    directory.mkdir()
    for name, data in (files | {"manifest.json": manifests.encode(manifest)}).items():
        (directory / name).write_bytes(data)
    return directory


def test_a_loaded_bundle_answers_what_training_saw(bundles: Path) -> None:
    """Inputs, views, vocabularies and zone are the manifest's; golden rows get their margins."""
    bundle_id = str(current_id(bundles))
    bundle = load_bundle(bundles / bundle_id, PLAN)
    assert (bundle.bundle_id, bundle.target, bundle.inputs) == (bundle_id, "purchase_7d", INPUTS)
    assert bundle.views == {"user_activity", "user_category", "category_activity", "all_activity"}
    assert bundle.vocabularies[TEXTS[1]] == {"BREAD": 0, "COFFEE": 1, "RICE": 2, "TEA": 3}
    assert (bundle.zone, bundle.calibrated) == ("America/New_York", False)
    golden = np.load(bundles / bundle_id / "golden.npz")
    margins = bundle.predict(golden["x"])
    assert margins.dtype == np.float32
    assert margins.shape == (50,)
    assert np.array_equal(margins, golden["margin"])


@pytest.mark.parametrize("name", [*manifests.FILES, "manifest.json"])
def test_one_flipped_bit_is_refused(bundles: Path, tmp_path: Path, name: str) -> None:
    """Whatever file is damaged, the bundle does not load."""
    bundle_id = str(current_id(bundles))
    (tmp_path / bundle_id).mkdir()
    for path in (bundles / bundle_id).iterdir():
        data = bytearray(path.read_bytes())
        if path.name == name:
            data[len(data) // 2] ^= 1
        (tmp_path / bundle_id / path.name).write_bytes(data)
    with pytest.raises(BundleRefused):
        load_bundle(tmp_path / bundle_id, PLAN)


def test_golden_rows_are_checked_through_the_runtime(bundles: Path, tmp_path: Path) -> None:
    """A model that answers the golden rows otherwise is refused, even if all hashes are right."""

    def other_margins(files: dict[str, bytes]) -> None:
        golden = np.load(io.BytesIO(files["golden.npz"]))
        buffer = io.BytesIO()
        np.savez(buffer, x=golden["x"], margin=golden["margin"] + np.float32(0.01))
        files["golden.npz"] = buffer.getvalue()

    with pytest.raises(BundleRefused, match="otherwise"):
        load_bundle(rewritten(bundles, tmp_path, other_margins), PLAN)


def test_a_golden_margin_that_is_no_number_is_refused(bundles: Path, tmp_path: Path) -> None:
    """NaN compares with nothing, and so must not pass the comparison."""

    def no_number(files: dict[str, bytes]) -> None:
        golden = np.load(io.BytesIO(files["golden.npz"]))
        buffer = io.BytesIO()
        np.savez(buffer, x=golden["x"], margin=golden["margin"] * np.float32("nan"))
        files["golden.npz"] = buffer.getvalue()

    with pytest.raises(BundleRefused, match="otherwise"):
        load_bundle(rewritten(bundles, tmp_path, no_number), PLAN)


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
        load_bundle(directory, PLAN)


def test_a_plan_with_another_meaning_is_refused(bundles: Path) -> None:
    """A feature that is absent from the plan, or defined otherwise, is named."""
    directory = bundles / str(current_id(bundles))
    without = Plan(view.definition for view in PLAN.views if view.name != "all_activity")
    with pytest.raises(BundleRefused, match="all_activity:purchase_count_7d"):
        load_bundle(directory, without)
    changed = Plan(msgspec.structs.replace(view.definition, retention_us=view.retention_us * 2) for view in PLAN.views)
    with pytest.raises(BundleRefused, match="otherwise"):
        load_bundle(directory, changed)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A pointer to nothing is one clear sentence."""
    with pytest.raises(BundleRefused, match="cannot be read"):
        load_bundle(tmp_path / "purchase_7d-20170925-00000000", PLAN)


def test_the_pointer_holds_an_id_or_there_is_none(tmp_path: Path) -> None:
    """Before the first training there is None; anything but an id (a path out of the directory) is refused."""
    assert current_id(tmp_path) is None
    assert current_id(tmp_path / "absent") is None
    (tmp_path / "current").write_text("purchase_7d-20170925-0123abcd\n")
    assert current_id(tmp_path) == "purchase_7d-20170925-0123abcd"
    for wrong in ("../../etc", "", "\udcff"):
        (tmp_path / "current").write_text(wrong, errors="surrogateescape")
        with pytest.raises(BadInput):
            current_id(tmp_path)


def test_the_runtime_has_one_thread(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of the runtime never spreads over the machine: one thread, no warnings on stderr."""
    seen = []

    def session(data: bytes, options: object, **rest: object) -> object:
        seen.append(options)
        return SimpleNamespace(get_inputs=lambda: [SimpleNamespace(shape=[None, len(INPUTS)])], run=None)

    monkeypatch.setattr(model.onnxruntime, "InferenceSession", session)
    with pytest.raises(TypeError):
        load_bundle(bundles / str(current_id(bundles)), PLAN)
    assert (seen[0].intra_op_num_threads, seen[0].inter_op_num_threads, seen[0].log_severity_level) == (1, 1, 3)
