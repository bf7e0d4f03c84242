"""Writing bundles: a directory that appears whole or not at all, and pointers that swap atomically.

<bundles>/<bundle_id>/    manifest.json model.onnx model.txt vocabularies.json golden.npz
<bundles>/current         a file that holds a bundle id
"""

import io
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from behavior.calibration import Calibration
from behavior.errors import BadInput, BundleRefused
from behavior.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    REQUEST_INPUTS,
    TEXT_FILE,
    VOCABULARIES_FILE,
    Input,
    Manifest,
    Span,
    check_files,
    decode,
    encode,
    is_bundle_id,
    make_id,
)
from deployment.durable import flush
from training.onnx_check import open_session, run

POINTERS = ("current", "previous", "canary", "shadow")
_LIBRARIES = ("lightgbm", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Trained:
    """All that training knows of a model when it writes the bundle.

    inputs          references in the order of the model's columns
    fingerprints    {reference: fingerprint} of the plan; it may hold more than the model uses
    vocabularies    {input: texts in the order of their codes}
    golden_x        float32[m, d], real rows whose margins every loader must reproduce; m >= 1
    The rest is told in `behavior.manifest.Manifest`.
    """

    target: str
    entity: str
    inputs: Sequence[str]
    fingerprints: Mapping[str, str]
    zone: str
    trained: Span
    rows: Mapping[str, int]
    metrics: Mapping[str, object]
    export_difference: float
    model_onnx: bytes
    model_text: str
    vocabularies: Mapping[str, Sequence[str]]
    golden_x: np.ndarray = field(repr=False)
    calibration: Calibration | None = None


def write_bundle(bundles_dir: Path, trained: Trained, created: datetime) -> str:
    """Write the bundle durably and return its id; no pointer moves.

    The golden margins are what ONNX Runtime answers here. The same content at the same `created` is the same bundle,
    and writing it again changes nothing. Raises BadInput if the model does not take the inputs, or the plan lacks one.
    """
    files = {
        MODEL_FILE: trained.model_onnx,
        TEXT_FILE: trained.model_text.encode(),
        VOCABULARIES_FILE: msgspec.json.encode({name: list(texts) for name, texts in trained.vocabularies.items()})
        + b"\n",
        GOLDEN_FILE: _golden(trained),
    }
    manifest = _manifest(trained, created, files)
    target = bundles_dir / manifest.bundle_id
    if target.exists():
        read_bundle(bundles_dir, manifest.bundle_id)  # refuses a damaged one rather than to call it written
        return manifest.bundle_id
    bundles_dir.mkdir(parents=True, exist_ok=True)
    staging = bundles_dir / f".staging-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        for name, data in (files | {MANIFEST_FILE: encode(manifest)}).items():
            _write(staging / name, data)
        flush(staging)
        staging.rename(target)
        flush(bundles_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest.bundle_id


def point(bundles_dir: Path, pointer: str, bundle_id: str) -> None:
    """Let the pointer (`current`, ...) name the bundle, atomically and durably.

    Raises BadInput for an unknown pointer, BundleRefused if the bundle is not there or not whole.
    """
    if pointer not in POINTERS:
        raise BadInput(f"{pointer!r} is no pointer to a bundle; use one of {', '.join(POINTERS)}")
    if not is_bundle_id(bundle_id):
        raise BadInput(f"{bundle_id!r} is no bundle id; it looks like purchase_7d-20170925-0123abcd")
    read_bundle(bundles_dir, bundle_id)
    staging = bundles_dir / f".{pointer}-{uuid.uuid4().hex}"
    try:
        _write(staging, f"{bundle_id}\n".encode())
        staging.replace(bundles_dir / pointer)
        flush(bundles_dir)
    finally:
        staging.unlink(missing_ok=True)


def report_path(bundles_dir: Path, bundle_id: str) -> Path:
    """Where the report of a bundle lies: beside the bundles, and no part of what they are."""
    return bundles_dir / "reports" / f"{bundle_id}.html"


def resolve(bundles_dir: Path, name: str) -> str:
    """The bundle id that a pointer holds, or the id itself.

    Raises BadInput if there is no such pointer or bundle.
    """
    if name in POINTERS and (bundles_dir / name).is_file():
        name = (bundles_dir / name).read_text(encoding="utf-8").strip()
    if not is_bundle_id(name) or not (bundles_dir / name).is_dir():
        raise BadInput(f"there is no bundle {name!r} in {bundles_dir}; train one with `opportune train`")
    return name


def read_bundle(bundles_dir: Path, name: str) -> tuple[Manifest, dict[str, bytes]]:
    """A bundle's manifest and its files by name, checked against each other; `name` is an id or a pointer."""
    directory = bundles_dir / resolve(bundles_dir, name)
    files = {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}
    manifest = decode(files.pop(MANIFEST_FILE, b""))
    if manifest.bundle_id != directory.name:
        raise BundleRefused(f"{directory} holds the bundle {manifest.bundle_id}; rename the directory back")
    check_files(manifest, files)
    return manifest, files


def _manifest(trained: Trained, created: datetime, files: Mapping[str, bytes]) -> Manifest:
    absent = [ref for ref in trained.inputs if not ref.startswith(REQUEST_INPUTS) and ref not in trained.fingerprints]
    if absent:
        raise BadInput(f"the plan has no {', '.join(absent)}; apply the definitions and train again")
    if created.tzinfo is None:
        raise BadInput(f"a bundle's creation time {created} has no time zone; pass it in UTC")
    draft = Manifest(
        bundle_id="",
        target=trained.target,
        entity=trained.entity,
        created=created.astimezone(UTC).isoformat(),
        features=tuple(Input(ref, trained.fingerprints.get(ref)) for ref in trained.inputs),
        zone=trained.zone,
        trained=trained.trained,
        rows=dict(trained.rows),
        metrics=dict(trained.metrics),
        export_difference=trained.export_difference,
        versions={name: version(name) for name in _LIBRARIES},
        files={name: sha256(data).hexdigest() for name, data in files.items()},
        calibration=trained.calibration,
    )
    return msgspec.structs.replace(draft, bundle_id=make_id(draft))


def _golden(trained: Trained) -> bytes:
    x = np.ascontiguousarray(trained.golden_x, dtype=np.float32)
    if x.ndim != 2 or not len(x) or x.shape[1] != len(trained.inputs):
        raise BadInput(f"golden rows must be float32[m, {len(trained.inputs)}] with m >= 1, they are {list(x.shape)}")
    session = open_session(trained.model_onnx)
    width = session.get_inputs()[0].shape[1]
    if width != x.shape[1]:
        raise BadInput(f"the exported model takes {width} inputs, not the {x.shape[1]} named; export it again")
    buffer = io.BytesIO()
    np.savez(buffer, x=x, margin=run(session, x))
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
