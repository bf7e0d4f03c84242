"""A feature repository, an archive and a deployment in a temporary directory, for the tests that go through Feast."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pyarrow.parquet as pq

from behavior.event import PERSONALIZATION, Admitted, Event
from deployment.archive import Archive, to_table
from deployment.settings import Settings, load

ROOT = Path(__file__).parents[2]
ENTITIES = (ROOT / "feature_repo" / "entities.py").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "feature_repo" / "feature_store.yaml").read_text(encoding="utf-8")
HEAD = """
from datetime import timedelta
from entities import all_users, category, item, user
from feast import FeatureService, FeatureView, Field
from feast.types import Int64, String
from feast_plugin.definitions import (
    affinity, age, behavior_view, count, distinct, ever, first, last, mean, plain_source, rate, recent, total
)
"""


def deployment(home: Path, **changes: object) -> Settings:
    """The settings of a deployment in a directory whose name has a space."""
    repo = home / "my repo"
    repo.mkdir(parents=True, exist_ok=True)
    return load(**{"home": home / "my var", "feature_repo": repo, "partitions": 4, **changes})


def write_repo(repo: Path, views: str, **files: str) -> None:
    """The definitions of `views.py` behind the usual imports, with the shipped entities and configuration."""
    (repo / "feature_store.yaml").write_text(CONFIGURATION, encoding="utf-8")
    (repo / "entities.py").write_text(ENTITIES, encoding="utf-8")
    (repo / "views.py").write_text(HEAD + dedent(views), encoding="utf-8")
    for name, text in files.items():
        (repo / f"{name}.py").write_text(dedent(text), encoding="utf-8")


def write_archive(path: Path, log: Sequence[Admitted]) -> Archive:
    """An archive of these events alone; what it held before is gone."""
    file = path / "import" / "all" / "p=000.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(log), file)
    return Archive(path, 4)


def bought(
    number: int,
    k: int,
    user: str = "k1-ada",
    category: str | None = "TEA",
    value: int = 100,
    e: int | None = None,
    item: str | None = None,
) -> Admitted:
    """A purchase that was admitted at k, and happened then or at e."""
    happened = k if e is None else e
    event = Event(
        f"m{number}",
        "purchase",
        user,
        happened,
        item=item,
        category=category,
        value=value,
        utc_offset_s=-14_400,
        purposes=PERSONALIZATION,
    )
    return Admitted(event, happened, k)


def entity_rows(t: Sequence[int], **keys: object) -> pd.DataFrame:
    """Entity rows at instants in µs UTC."""
    return pd.DataFrame({**keys, "event_timestamp": pd.to_datetime(list(t), unit="us", utc=True).as_unit("us")})
