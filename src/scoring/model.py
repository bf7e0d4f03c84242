"""A trained model as the scorer runs it: loaded whole, verified, warmed up, then only asked.

Loading refuses whatever is not what the manifest says: files by hash, features by fingerprint against the plan, and the
golden rows through ONNX Runtime. Who answers requests is then chosen by `scoring.evaluator`.
"""

import io
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import onnxruntime

from behavior.calibration import Calibration
from behavior.column import Column
from behavior.context import ContextTables
from behavior.context import decode as read_tables
from behavior.errors import BundleRefused
from behavior.manifest import (
    CONTEXT_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    REQUEST_INPUTS,
    VOCABULARIES_FILE,
    Manifest,
    check_features,
)
from behavior.moment import Moment
from behavior.plan import Plan
from behavior.vector import assemble
from deployment.bundles import DEFAULT_TARGET, Bundles
from scoring.evaluator import Name, Predict, evaluator_of
from scoring.warm_up import warm_up

_log = logging.getLogger("opportune.model")
_ERRORS_ONLY = 3
# Another machine may add float32 leaves in another order; trees that answer differently are off by far more.
GOLDEN_TOLERANCE = 1e-4
RANKS = "user_category"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded model.

    inputs         references in the order of the model's columns
    views          names of the views that they come from
    manifest       what it was loaded by
    vocabularies   {input: {text: code}}
    zone           IANA zone for users whose offset is not known
    evaluator      who predicts: masks of leaves, or ONNX Runtime
    predict        rows float32[n, d] -> raw margins float32[n]
    tables         lifts of categories in their contexts, None in a bundle from before there were any
    """

    bundle_id: str
    target: str
    zone: str
    calibration: Calibration | None
    inputs: tuple[str, ...]
    views: frozenset[str]
    manifest: Manifest = field(repr=False)
    vocabularies: Mapping[str, Mapping[str, int]]
    evaluator: Name
    predict: Predict = field(repr=False)
    tables: ContextTables | None = field(default=None, repr=False)

    def assemble(self, finals: Mapping[str, Column], moment: Moment, categories: Sequence[str]) -> np.ndarray:
        """The model's rows, float32[n, d], of the candidates' categories."""
        return assemble(self.inputs, finals, moment, categories, self.vocabularies)

    def believed(self, margins: np.ndarray) -> np.ndarray:
        """Raw margins [n] as they can be believed, float64[n]: calibrated, if the bundle has a calibration."""
        return margins.astype(np.float64) if self.calibration is None else self.calibration.margins(margins)


def load_bundle(
    bundles: Bundles, name: str, plan: Plan, target: str = DEFAULT_TARGET, evaluator: Name = "onnx"
) -> Bundle:
    """The bundle of an id, or of a pointer of the target, verified.

    evaluator    who is to predict; masks of leaves take a third of a second to make, which pays for whoever serves

    Raises BundleRefused that says what is wrong and what to do, BadInput if there is none of that name.
    """
    manifest, files = bundles.read(name, target)
    check_features(manifest, plan.fingerprints)
    if manifest.entity != RANKS:
        raise BundleRefused(f"bundle {manifest.bundle_id} predicts per {manifest.entity}; this server ranks categories")
    names = (each.partition(":")[0] for each in manifest.inputs if not each.startswith(REQUEST_INPUTS))
    onnx = _onnx(manifest, files[MODEL_FILE])
    golden = _golden(manifest, files[GOLDEN_FILE], onnx)
    chosen = evaluator_of(files[MODEL_FILE], onnx, golden, evaluator, f"bundle {manifest.bundle_id}")
    bundle = Bundle(
        bundle_id=manifest.bundle_id,
        target=manifest.target,
        zone=manifest.zone,
        calibration=manifest.calibration,
        inputs=manifest.inputs,
        views=frozenset(names),
        manifest=manifest,
        vocabularies=_vocabularies(manifest, files[VOCABULARIES_FILE], plan),
        evaluator=chosen.name,
        predict=chosen.predict,
        tables=_tables(manifest, files),
    )
    warm_up(bundle.predict, len(bundle.inputs))
    return bundle


def _onnx(manifest: Manifest, model: bytes) -> Predict:
    """The model as ONNX Runtime answers for it."""
    options = onnxruntime.SessionOptions()
    # One thread per answer: a second one helps a hundred rows a little and slows a single row threefold.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class below Exception
        raise BundleRefused(f"bundle {manifest.bundle_id}: ONNX Runtime refuses {MODEL_FILE} ({error})") from None
    width = session.get_inputs()[0].shape[1]
    if width != len(manifest.features):
        raise BundleRefused(
            f"bundle {manifest.bundle_id}: {MODEL_FILE} takes {width} inputs, its manifest names "
            f"{len(manifest.features)}; train again"
        )

    def predict(x: np.ndarray) -> np.ndarray:
        margins: np.ndarray = session.run(["margin"], {"x": x})[0]
        return margins.reshape(-1)

    return predict


def _vocabularies(manifest: Manifest, data: bytes, plan: Plan) -> dict[str, dict[str, int]]:
    """{input: {text: code}}; every input that is a text must have one."""
    where = f"bundle {manifest.bundle_id}: {VOCABULARIES_FILE}"
    try:
        texts = msgspec.json.decode(data, type=dict[str, list[str]])
    except msgspec.DecodeError as error:
        raise BundleRefused(f"{where} cannot be read ({error}); train again") from None
    for ref in manifest.inputs:
        feature = plan.features.get(ref)
        is_text = ref.startswith("candidate:") if feature is None else feature.dtype == "string"
        if is_text and ref not in texts:
            raise BundleRefused(f"{where} has no vocabulary for {ref}; train again")
    return {name: {text: code for code, text in enumerate(known)} for name, known in texts.items()}


def _tables(manifest: Manifest, files: Mapping[str, bytes]) -> ContextTables | None:
    if CONTEXT_FILE not in files:
        return None
    tables = read_tables(files[CONTEXT_FILE], f"bundle {manifest.bundle_id}")
    tables.arrays  # noqa: B018  made now, and not at the first request
    return tables


def _golden(manifest: Manifest, data: bytes, predict: Predict) -> np.ndarray:
    """The golden rows float32[n, d], which got the margins that they had where the model was trained."""
    where = f"bundle {manifest.bundle_id}: {GOLDEN_FILE}"
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as golden:
            x, margin = golden["x"], golden["margin"]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BundleRefused(f"{where} cannot be read ({error}); train again") from None
    if (
        x.dtype != np.float32
        or x.ndim != 2
        or x.shape[1] != len(manifest.features)
        or margin.shape != (len(x),)
        or not len(x)
    ):
        raise BundleRefused(f"{where} does not hold rows of the model's inputs; train again")
    difference = float(np.max(np.abs(predict(x).astype(np.float64) - margin)))
    if not difference <= GOLDEN_TOLERANCE:
        raise BundleRefused(
            f"{where}: here the model answers up to {difference:.3g} otherwise than where it was trained; "
            "use the versions that the manifest names, or train again"
        )
    rows: np.ndarray = x
    return rows
