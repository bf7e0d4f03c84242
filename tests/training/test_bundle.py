"""Bundles: whole or not there, and found by pointers that never dangle."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from behavior.calibration import Calibration
from behavior.errors import BadInput, BundleRefused
from behavior.manifest import FILES, MANIFEST_FILE, Span
from deployment import file_places
from deployment.bundles import bundles_at
from tests.training.models import NAMES, model, rows
from training.bundle import Trained, point, read_bundle, write_bundle
from training.onnx_check import open_session, run
from training.onnx_export import export

TARGET = "purchase_7d"
CREATED = datetime(2017, 9, 25, 4, tzinfo=UTC)


@cache
def trained() -> Trained:
    return Trained(
        target="purchase_7d",
        entity="user_category",
        inputs=NAMES,
        fingerprints={name: "f" * 16 for name in NAMES if not name.startswith("moment")} | {"other:feature": "0"},
        zone="America/New_York",
        trained=Span(0, 1),
        rows={"train": 12_000, "valid": 4_000},
        metrics={},
        export_difference=1e-6,
        model_onnx=export(model()),
        model_text=model().model_to_string(),
        vocabularies={"candidate:category": ["milk", "käse"]},
        golden_x=rows()[:20],
        reference=b"{}\n",
    )


def test_a_bundle_reads_back_and_answers_its_golden_rows(tmp_path: Path) -> None:
    """What is read is what was written, and the model in it gives the golden margins bit for bit."""
    name = write_bundle(tmp_path, trained(), CREATED)
    manifest, files = read_bundle(tmp_path, name)
    assert manifest.inputs == NAMES
    assert manifest.features[1].fingerprint is None
    assert not manifest.calibrated
    golden = np.load(io.BytesIO(files["golden.npz"]), allow_pickle=False)
    assert np.array_equal(run(open_session(files["model.onnx"]), golden["x"]), golden["margin"])
    assert np.array_equal(golden["x"], rows()[:20], equal_nan=True)


def test_equal_content_is_one_bundle_and_other_content_another(tmp_path: Path) -> None:
    """The id follows from the content alone."""
    first = write_bundle(tmp_path, trained(), CREATED)
    assert write_bundle(tmp_path, trained(), CREATED) == first
    assert write_bundle(tmp_path, replace(trained(), rows={}), CREATED) != first
    assert len(list((tmp_path / TARGET).iterdir())) == 2


def test_equal_data_has_equal_content_on_another_day(tmp_path: Path) -> None:
    """All but the time stamp and the id is the same, file for file; a calibration is content."""
    first, later = (write_bundle(tmp_path, trained(), each) for each in (CREATED, CREATED + timedelta(days=1)))
    other = write_bundle(tmp_path, replace(trained(), calibration=Calibration(0.9, 0.1)), CREATED)
    manifests = [read_bundle(tmp_path, each)[0] for each in (first, later, other)]
    assert first != later
    assert manifests[0].content == manifests[1].content != manifests[2].content
    assert read_bundle(tmp_path, first)[1] == read_bundle(tmp_path, later)[1]
    assert manifests[2].calibration == Calibration(0.9, 0.1)


@pytest.mark.parametrize("failing", range(1, 11))
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Whichever file or flush fails, no bundle and no staging directory is left."""
    calls = iter(range(1, 100))
    flush = file_places.os.fsync

    def fsync(descriptor: int) -> None:
        if next(calls) == failing:
            raise OSError("disk full")
        flush(descriptor)

    monkeypatch.setattr(file_places.os, "fsync", fsync)
    if failing < 10:
        with pytest.raises(OSError, match="disk full"):
            write_bundle(tmp_path, trained(), CREATED)
        assert not list((tmp_path / TARGET).iterdir())
    else:
        # The tenth flush is that of the directory above, after the rename: the bundle is whole already.
        with pytest.raises(OSError, match="disk full"):
            write_bundle(tmp_path, trained(), CREATED)
        (path,) = (tmp_path / TARGET).iterdir()
        read_bundle(tmp_path, path.name)


def test_pointers_swap_and_resolve(tmp_path: Path) -> None:
    """A pointer holds one id, moves as a whole, and leaves no temporary file."""
    first = write_bundle(tmp_path, trained(), CREATED)
    second = write_bundle(tmp_path, replace(trained(), rows={}), CREATED)
    point(tmp_path, "current", first)
    assert bundles_at(tmp_path).resolve("current") == first
    point(tmp_path, "current", second)
    assert bundles_at(tmp_path).store.pointers(TARGET) == {"current": second, "previous": first}
    assert read_bundle(tmp_path, "current")[0].bundle_id == second
    assert {path.name for path in (tmp_path / TARGET).iterdir()} == {first, second, "current", "previous"}


def test_pointers_name_whole_bundles_only(tmp_path: Path) -> None:
    """An unknown pointer, a missing bundle and a damaged one are refused, and the old pointer stays."""
    name = write_bundle(tmp_path, trained(), CREATED)
    point(tmp_path, "current", name)
    for pointer, target in (("newest", name), ("current", "../x"), ("current", "purchase_7d-20170925-00000000")):
        with pytest.raises(BadInput):
            point(tmp_path, pointer, target)
    damaged = write_bundle(tmp_path, replace(trained(), rows={}), CREATED)
    (tmp_path / TARGET / damaged / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleRefused, match=r"model\.onnx"):
        point(tmp_path, "current", damaged)
    with pytest.raises(BundleRefused, match=r"model\.onnx"):
        write_bundle(tmp_path, replace(trained(), rows={}), CREATED)
    assert bundles_at(tmp_path).resolve("current") == name


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_a_missing_or_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    """No file of a bundle can be lost or changed without a refusal."""
    path = tmp_path / TARGET / write_bundle(tmp_path, trained(), CREATED) / name
    data = path.read_bytes()
    path.write_bytes(data.replace(data[len(data) // 2 : len(data) // 2 + 4], b"0000", 1) + b"\0")
    with pytest.raises(BundleRefused):
        read_bundle(tmp_path, path.parent.name)
    path.unlink()
    with pytest.raises(BundleRefused):
        read_bundle(tmp_path, path.parent.name)


def test_a_renamed_directory_is_refused(tmp_path: Path) -> None:
    """A bundle under another's name is not loaded as that other."""
    path = tmp_path / TARGET / write_bundle(tmp_path, trained(), CREATED)
    path.rename(tmp_path / TARGET / "purchase_7d-20170925-00000000")
    with pytest.raises(BundleRefused, match="rename"):
        read_bundle(tmp_path, "purchase_7d-20170925-00000000")


def test_a_model_that_does_not_fit_its_inputs_is_refused(tmp_path: Path) -> None:
    """Inputs without a fingerprint, a wrong width and a time without a zone write nothing."""
    with pytest.raises(BadInput, match="user:age"):
        write_bundle(tmp_path, replace(trained(), fingerprints={"user:count": "f"}), CREATED)
    with pytest.raises(BadInput, match="golden rows"):
        write_bundle(tmp_path, replace(trained(), golden_x=rows()[:0]), CREATED)
    with pytest.raises(BadInput, match="takes 6 inputs"):
        write_bundle(tmp_path, replace(trained(), inputs=NAMES[:3], golden_x=rows()[:5, :3]), CREATED)
    with pytest.raises(BadInput, match="time zone"):
        write_bundle(tmp_path, trained(), CREATED.replace(tzinfo=None))
    assert not list(tmp_path.iterdir())
