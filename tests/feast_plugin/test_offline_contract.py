"""Row for row what Feast's own DuckDB store answers: the same joins, by ASOF instead of by pairs, in the rows' order.

Feast's own store sees the very rows of our tables, as plain files; where raw values are the final ones, both must agree
on every row. Its order of rows is its own, so each row has a number.
"""

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Array, FeastType, Int64, String

from behavior.event import DAY_US, HOUR_US, MINUTE_US, Admitted
from deployment.table_manifest import read_manifest
from tests.feast_plugin.repository import bought, deployment, entity_rows, write_archive, write_repo
from training.apply import apply
from training.backfill import backfill
from training.store import open_store

T = 17_440 * DAY_US
VIEWS = """
people = behavior_view(
    "people", entity=user, owner="o", selects=("purchase",),
    features=[
        count("purchase", over="1h"), count("purchase"), total("purchase.value", over="24h"), last("purchase.category"),
        distinct("purchase.category", over="7d"), recent(3),
    ],
)
pairs = behavior_view(
    "pairs", entity=(user, category), owner="o", selects=("purchase",), features=[count("purchase", over="24h")],
)
profile = FeatureView(
    name="profile", entities=[user], source=plain_source("profile"), ttl=timedelta(days=2),
    schema=[Field(name="city", dtype=String), Field(name="points", dtype=Int64)],
)
"""
PEOPLE: dict[str, FeastType] = {
    "purchase_count_1h": Int64, "purchase_count": Int64, "purchase_value_total_24h": Int64,
    "purchase_category_last": String, "purchase_category_distinct_7d": Int64, "recent_3": Array(String),
}  # fmt: skip
REFS = [
    *(f"people:{name}" for name in PEOPLE), "pairs:purchase_count_24h", "profile:city", "profile:points",
]  # fmt: skip
USERS = ("k1-ada", "k1-bob", "k1-eve")


def log() -> list[Admitted]:
    """Purchases of three users over five days, several at one instant."""
    chance = random.Random(1)
    hours = sorted(chance.choices(range(120), k=60))
    return [
        bought(n, T + hour * HOUR_US, chance.choice(USERS), chance.choice(("TEA", "MILK")), value=n)
        for n, hour in enumerate(hours)
    ]


def versions() -> pa.Table:
    """Profiles with corrections: known late, of one instant, and of an older instant that became known afterwards."""
    hours = [(user, at, at + late, n) for n, user in enumerate(USERS) for at in (0, 24, 50) for late in (0, 1, 40)]
    instants = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "user_id": [user for user, *_ in hours],
            "city": [f"{user} at {at} as known at {known}" for user, at, known, _ in hours],
            "points": pa.array([n if known % 3 else None for _, _, known, n in hours], pa.int64()),
            "ts": pa.array([T + at * HOUR_US for _, at, *_ in hours], instants),
            "created": pa.array([T + known * HOUR_US for _, _, known, _ in hours], instants),
        }
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, FeatureStore]:
    """Our store, and Feast's own DuckDB store over the same rows."""
    home = tmp_path_factory.mktemp("contract")
    settings = deployment(home)
    write_repo(settings.feature_repo, VIEWS)
    plan = apply(settings)
    backfill(plan, write_archive(home / "archive", log()), settings.tables)
    pq.write_table(versions(), settings.tables / "profile.parquet")
    return open_store(settings), feasts_own(home / "own", settings.tables)


def feasts_own(home: Path, tables: Path) -> FeatureStore:
    """A store of Feast's own over one plain file per view."""
    home.mkdir()
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    category = Entity(name="category", join_keys=["category"], value_type=ValueType.STRING)
    for view in ("people", "pairs"):
        manifest = read_manifest(tables, view)
        assert manifest is not None
        rows = pa.concat_tables([pq.read_table(path, partitioning=None) for path in manifest.paths(tables)])
        pq.write_table(rows, home / f"{view}.parquet")
    config = RepoConfig(
        project="own", provider="local", registry=str(home / "registry.db"), offline_store={"type": "duckdb"},
        entity_key_serialization_version=3, repo_path=home,
    )  # fmt: skip
    store = FeatureStore(config=config)

    def view(
        name: str, entities: list[Entity], fields: dict[str, FeastType], source: FileSource, ttl: timedelta
    ) -> FeatureView:
        schema = [Field(name=each, dtype=dtype) for each, dtype in fields.items()]
        return FeatureView(name=name, entities=entities, schema=schema, source=source, ttl=ttl, online=False)

    def table(name: str) -> FileSource:
        return FileSource(name=f"{name}_table", path=str(home / f"{name}.parquet"), timestamp_field="ts")

    profile = FileSource(
        name="profile_table", path=str(tables / "profile.parquet"), timestamp_field="ts",
        created_timestamp_column="created",
    )  # fmt: skip
    store.apply(
        [
            user, category,
            view("people", [user], PEOPLE, table("people"), timedelta(0)),
            view("pairs", [user, category], {"purchase_count_24h": Int64}, table("pairs"), timedelta(0)),
            view("profile", [user], {"city": String, "points": Int64}, profile, timedelta(days=2)),
        ]
    )  # fmt: skip
    return store


def asked(n: int = 400) -> pd.DataFrame:
    """Rows at change points and beside them, before and after everything, twice, of unknown entities and of none."""
    chance = random.Random(2)
    t, users, categories = [], [], []
    for _ in range(n):
        edge = T + chance.randrange(-2, 190) * HOUR_US
        t.append(edge + chance.choice((0, 0, -1, 1, 17 * MINUTE_US, -40 * DAY_US, 3 * DAY_US)))
        users.append(chance.choice((*USERS, "k1-nobody", None)))
        categories.append(chance.choice(("TEA", "MILK", "NONE", None)))
    rows = entity_rows(t, user_id=users, category=categories, number=range(n))
    return pd.concat([rows, rows.head(50)], ignore_index=True).assign(number=np.arange(n + 50))


def answers(store: FeatureStore, frame: pd.DataFrame, refs: Sequence[str] = REFS) -> pa.Table:
    """The features beside the rows' numbers; Feast's own store asks what was known at the instant only if told to."""
    job = store.get_historical_features(frame, list(refs), full_feature_names=True, filter_by_created_timestamp=True)
    return job.to_arrow().select(["number", *(ref.replace(":", "__") for ref in refs)])


def test_every_row_is_as_feasts_own_store_has_it(both: tuple[FeatureStore, FeatureStore]) -> None:
    """Several views at once: ties, duplicates, expired and future rows, null keys, unknown entities, corrections."""
    ours, own = both
    frame = asked()
    found = answers(ours, frame)
    assert found["number"].to_pylist() == list(range(450))
    expected = answers(own, frame).sort_by("number").to_pylist()
    assert found.to_pylist() == expected
    for column in found.column_names[1:]:
        known = sum(row[column] is not None for row in expected)
        assert 30 < known < 450, f"{column} has {known} values: it proves nothing"


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_instants_of_any_unit_and_zone_find_the_same(
    both: tuple[FeatureStore, FeatureStore], unit: str, zone: str | None
) -> None:
    """Milliseconds, nanoseconds, naive (then UTC) or of another zone: the same instants, the same rows."""
    ours, _ = both
    frame = asked(100)
    whole = frame.assign(event_timestamp=frame["event_timestamp"].dt.floor("ms"))
    instants = whole["event_timestamp"].dt.as_unit(unit)
    instants = instants.dt.tz_localize(None) if zone is None else instants.dt.tz_convert(zone)
    assert answers(ours, whole.assign(event_timestamp=instants)) == answers(ours, whole)


def test_rows_that_are_equal_in_everything_are_all_answered(both: tuple[FeatureStore, FeatureStore]) -> None:
    """Feast's file store collapses them; ours gives one answer per row."""
    ours, _ = both
    frame = entity_rows([T + 30 * HOUR_US] * 7, user_id="k1-ada", category="TEA", number=[0] * 7)
    found = answers(ours, frame)
    assert found.num_rows == 7
    assert len({str(row) for row in found.to_pylist()}) == 1


def test_only_the_columns_that_are_asked_for_are_read(
    both: tuple[FeatureStore, FeatureStore],
) -> None:
    """A table that has lost all other columns still answers."""
    ours, _ = both
    tables = Path(ours.config.offline_store.tables)
    manifest = read_manifest(tables, "people")
    assert manifest is not None
    before = answers(ours, asked(60), ["people:purchase_count"])
    kept = {path: path.read_bytes() for path in manifest.paths(tables)}
    try:
        for path in kept:
            rows = pq.read_table(path, partitioning=None)
            pq.write_table(rows.select(["user_id", "ts", "seen_e", "purchase_count"]), path)
        assert answers(ours, asked(60), ["people:purchase_count"]) == before
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
