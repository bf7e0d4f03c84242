"""A propensity that can be asked offline: a bundle's, or one that was fitted just now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from behavior.calibration import Calibration
from behavior.manifest import MODEL_FILE, VOCABULARIES_FILE, Manifest
from training.dataset import codes_of
from training.onnx_check import open_session, run


@dataclass(frozen=True, slots=True)
class Propensity:
    """What turns rows into margins.

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

    def calibrated(self, raw: np.ndarray) -> np.ndarray:
        """Margins float64[n] of raw ones, calibrated if the propensity is."""
        return raw.astype(np.float64) if self.calibration is None else self.calibration.margins(raw)
