"""A propensity that can be asked offline: a bundle's, or one that was fitted just now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from behavior.calibration import Calibration, propensities
from behavior.manifest import MODEL_FILE, VOCABULARIES_FILE, Manifest
from behavior.plan import Plan
from training.dataset import SLICE_ROWS, codes_of, vectors
from training.onnx_check import open_session, run
from training.rows import Rows
from training.slices import slicers, together

if TYPE_CHECKING:
    from feast import FeatureStore


@dataclass(frozen=True, slots=True)
class Propensity:
    """What turns questions into propensities.

    vocabularies   {input: {text: code}}
    zone           IANA zone for users whose offset is not known
    raw            rows float32[n, d] in the order of the inputs -> raw margins [n]
    """

    inputs: tuple[str, ...]
    vocabularies: Mapping[str, Mapping[str, int]]
    zone: str
    calibration: Calibration | None
    raw: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of_bundle(cls, manifest: Manifest, files: Mapping[str, bytes], threads: int) -> "Propensity":
        """The propensity of a bundle that was read, through ONNX Runtime as the server asks it."""
        session = open_session(files[MODEL_FILE], threads)
        vocabularies = msgspec.json.decode(files[VOCABULARIES_FILE], type=dict[str, list[str]])
        return cls(
            manifest.inputs, {name: codes_of(texts) for name, texts in vocabularies.items()}, manifest.zone,
            manifest.calibration, lambda x: run(session, x),
        )  # fmt: skip

    def margins(self, x: np.ndarray) -> np.ndarray:
        """Margins float64[n] of rows float32[n, d], calibrated if the propensity is."""
        raw = self.raw(x)
        return raw.astype(np.float64) if self.calibration is None else self.calibration.margins(raw)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a propensity said of m questions: margins float64[m], propensities float64[m], and the rows' parts."""

    rows: Rows
    margin: np.ndarray
    propensity: np.ndarray
    slices: Mapping[str, np.ndarray]


def answered(
    propensity: Propensity,
    store: "FeatureStore",
    plan: Plan,
    rows: Rows,
    *,
    parted: bool = True,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Answers:
    """Ask a propensity all questions, a slice at a time: memory does not grow with the model's inputs.

    parted    whether the rows are parted too (`training.slices`)
    """
    margin = np.empty(len(rows))
    parts = []
    for start in range(0, len(rows), SLICE_ROWS):
        end = min(start + SLICE_ROWS, len(rows))
        shown = vectors(
            store, plan, propensity.inputs, rows.take(np.arange(start, end)), propensity.vocabularies, propensity.zone,
            slicers=slicers(plan) if parted else (),
        )  # fmt: skip
        margin[start:end] = propensity.margins(shown.x)
        parts.append(shown.slices)
        progress(end, len(rows))
    return Answers(rows, margin, propensities(margin), together(parts))
