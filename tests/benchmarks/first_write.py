"""The scorer as one writes it on the first day: grpc.aio, Feast, LightGBM, and nothing of this project's serving.

    request ─▶ get_online_features (the model's features, a row per candidate) ─▶ columns ─▶ Booster.predict ─▶ sort

It is written with care: the feature service is resolved once, the registry is cached, predictions run on one thread,
and the garbage collector leaves alone what was loaded. It keeps no journal and gives no factors.

    python -m tests.benchmarks.first_write REPOSITORY BUNDLE      as tests.benchmarks.empty
"""

import gc
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lightgbm
import msgspec
import numpy as np
from feast import FeatureStore

from behavior.manifest import MANIFEST_FILE, TEXT_FILE, VOCABULARIES_FILE, Manifest, decode
from behavior.plan import ALL_ID
from scoring.v1 import scoring_pb2 as wire
from tests.benchmarks.empty import run

FEATURES = "model"  # name of the feature service


class FirstWrite:
    """Answers Score from a Feast repository and a bundle's LightGBM model."""

    def __init__(self, repository: Path, bundle: Path) -> None:
        self._manifest: Manifest = decode((bundle / MANIFEST_FILE).read_bytes())
        self._booster = lightgbm.Booster(model_file=bundle / TEXT_FILE)
        texts = msgspec.json.decode((bundle / VOCABULARIES_FILE).read_bytes(), type=dict[str, list[str]])
        self._codes = {name: {text: code for code, text in enumerate(known)} for name, known in texts.items()}
        self._store = FeatureStore(repo_path=str(repository))
        self._service = self._store.get_feature_service(FEATURES)
        self._zone = ZoneInfo(self._manifest.zone)

    async def score(self, request: wire.ScoreRequest) -> wire.ScoreResponse:
        """The best candidates with their propensities."""
        names = [candidate.id for candidate in request.candidates]
        margins = self._booster.predict(self._rows(request.user_id, names), raw_score=True, num_threads=1)
        if self._manifest.calibration is not None:
            margins = self._manifest.calibration.margins(np.asarray(margins, dtype=np.float32))
        best = np.lexsort((names, -np.asarray(margins)))[
            : request.top_k or None
        ]  # equal ones in the order of their ids
        target, calibrated = self._manifest.target, self._manifest.calibrated
        response = wire.ScoreResponse(bundle_id=self._manifest.bundle_id)
        for position, place in enumerate(best.tolist(), 1):
            margin = float(margins[place])
            response.ranked.add(
                position=position,
                candidate=wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=names[place]),
                score=margin,
                propensities=[
                    wire.Propensity(target=target, value=1.0 / (1.0 + np.exp(-margin)), calibrated=calibrated)
                ],
            )
        return response

    def _rows(self, user: str, names: Sequence[str]) -> np.ndarray:
        """float64[n, d] in the order of the model's inputs."""
        n = len(names)
        entities = {"user_id": [user] * n, "category": list(names), "all_id": [ALL_ID] * n}
        found = self._store.get_online_features(self._service, entities, full_feature_names=True).to_dict()
        now = datetime.fromtimestamp(time.time(), UTC).astimezone(self._zone)
        rows = np.empty((n, len(self._manifest.features)))
        for column, name in enumerate(self._manifest.inputs):
            if name == "moment:hour":
                rows[:, column] = now.hour
            elif name == "moment:weekday":
                rows[:, column] = now.weekday()
            elif name == "candidate:category":
                rows[:, column] = self._coded(name, names)
            elif name in self._codes:
                rows[:, column] = self._coded(name, found[name.replace(":", "__")])
            else:
                rows[:, column] = np.array(found[name.replace(":", "__")], dtype=np.float64)  # None becomes NaN
        return rows

    def _coded(self, name: str, texts: Sequence[Any]) -> list[float]:
        codes = self._codes[name]
        return [codes.get(text, np.nan) for text in texts]


if __name__ == "__main__":
    scorer = FirstWrite(Path(sys.argv[1]), Path(sys.argv[2]))
    gc.collect()
    gc.freeze()
    run(scorer.score)
