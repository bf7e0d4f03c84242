"""Writing bundles: what training made, as the files of a bundle and their manifest.

<bundles>/<target>/<bundle_id>/    manifest.json model.onnx model.txt vocabularies.json golden.npz reference.json
                                   and of a target that ranks categories, context.json
<bundles>/<target>/current         a pointer (deployment.bundle_store)
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from behavior import context
from behavior.calibration import Calibration
from behavior.errors import BadInput, BundleRefused
from behavior.manifest import (
    CONTEXT_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    REQUEST_INPUTS,
    TEXT_FILE,
    VOCABULARIES_FILE,
    Input,
    Manifest,
    Span,
    sealed,
    target_of,
)
from behavior.personas import Personas, check_features
from behavior.plan import Plan
from deployment.bundle_store import BundleStore
from deployment.bundles import DEFAULT_TARGET, Bundles, bundles_at
from deployment.current_personas import current_personas
from training.onnx_check import open_session, run

_LIBRARIES = ("lightgbm", "onnx", "onnxruntime", "numpy")
Place = Bundles | BundleStore | Path | str


@dataclass(frozen=True, slots=True)
class Trained:
    """All that training knows of a model when it writes the bundle.

    inputs          references in the order of the model's columns
    fingerprints    {reference: fingerprint} of the plan; it may hold more than the model uses
    vocabularies    {input: texts in the order of their codes}
    golden_x        float32[m, d], real rows whose margins every loader must reproduce; m >= 1
    reference       the file `reference.json`: what the inputs looked like in training
    tables          lifts of categories in their contexts, if the target ranks categories
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
    reference: bytes = field(repr=False)
    calibration: Calibration | None = None
    git_revision: str | None = None
    least_known_share: float = 0.0
    tables: context.ContextTables | None = None


def write_bundle(place: Place, trained: Trained, created: datetime) -> str:
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
        REFERENCE_FILE: trained.reference,
    }
    if trained.tables is not None:
        files[CONTEXT_FILE] = context.encode(trained.tables)
    manifest = _manifest(trained, created, files)
    bundles_at(place).write(manifest, files)
    return manifest.bundle_id


def point(place: Place, pointer: str, bundle_id: str) -> None:
    """Let the pointer of the bundle's target name it, atomically and durably; a promotion if it is `current`.

    Raises BadInput for an unknown pointer or a bundle that is not there, BundleRefused if it is not whole.
    """
    bundles = bundles_at(place)
    target = target_of(bundle_id)
    bundles.read(bundle_id)
    if pointer == "current":
        bundles.store.promote(target, bundle_id)
    else:
        bundles.store.point(target, pointer, bundle_id)


def personas_beside(place: Place, plan: Plan) -> Personas | None:
    """The current personas of the same store, None if there are none that the plan's features still tell.

    Raises BundleRefused for those that are not what was written.
    """
    found = current_personas(bundles_at(place).store)
    if found is None:
        return None
    try:
        check_features(found, plan.fingerprints)
    except BundleRefused:
        return None
    return found


def write_report(place: Place, bundle_id: str, page: str) -> str:
    """Put a bundle's report beside the bundles, of which it is no part; where it is now."""
    name = f"reports/{bundle_id}.html"
    store = bundles_at(place).store
    store.put_beside(target_of(bundle_id), name, page.encode())
    return f"{store}/{target_of(bundle_id)}/{name}"


def read_bundle(place: Place, name: str, target: str = DEFAULT_TARGET) -> tuple[Manifest, dict[str, bytes]]:
    """A bundle's manifest and its files by name, checked; `name` is an id, or a pointer of the target."""
    return bundles_at(place).read(name, target)


def tables_in(manifest: Manifest, files: Mapping[str, bytes]) -> context.ContextTables | None:
    """The context tables of a bundle that was read, None if it has none. Raises BundleRefused if they are no use."""
    if CONTEXT_FILE not in files:
        return None
    return context.decode(files[CONTEXT_FILE], f"bundle {manifest.bundle_id}")


def _manifest(trained: Trained, created: datetime, files: Mapping[str, bytes]) -> Manifest:
    absent = [ref for ref in trained.inputs if not ref.startswith(REQUEST_INPUTS) and ref not in trained.fingerprints]
    if absent:
        raise BadInput(f"the plan has no {', '.join(absent)}; apply the definitions and train again")
    if created.tzinfo is None:
        raise BadInput(f"a bundle's creation time {created} has no time zone; pass it in UTC")
    draft = Manifest(
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
        git_revision=trained.git_revision,
        least_known_share=trained.least_known_share,
    )
    return sealed(draft)


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
