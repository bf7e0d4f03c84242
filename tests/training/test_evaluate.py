"""Measuring a bundle: what is refused before anything is scored."""

from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US
from training import evaluate
from training.evaluate import evaluate_bundle


def test_labels_that_are_still_open_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that ends within the horizon of the last cut-off is refused: its labels would be half the truth."""
    manifest = SimpleNamespace(
        bundle_id="b", fingerprints={}, trained=SimpleNamespace(end_us=0), target="purchase_7d", inputs=[]
    )
    monkeypatch.setattr(evaluate, "read_bundle", lambda *_: (manifest, {}))
    monkeypatch.setattr(evaluate, "check_features", lambda *_: None)
    plan = SimpleNamespace(fingerprints={})
    with duckdb.connect() as con:
        con.execute(
            "CREATE TEMP VIEW events AS SELECT 'purchase' AS kind, 'a' AS user_id, 'TEA' AS category, 'o' AS order_id, "
            f"{100 * DAY_US} AS e, e AS k, 1 AS purposes"
        )
        with pytest.raises(BadInput, match="the archive ends"):
            evaluate_bundle(con, None, plan, Path(), "b", cutoffs=[87 * DAY_US, 94 * DAY_US], replicates=2, threads=1)  # type: ignore[arg-type]
