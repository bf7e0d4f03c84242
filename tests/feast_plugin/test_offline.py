"""The offline store through the real Feast: rows keep their order, nothing leaks, and wrong input is one sentence."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from behavior.errors import BadInput
from behavior.event import DAY_US, HOUR_US, MINUTE_US
from feast_plugin.offline import ChangePointOfflineStore, ChangePointOfflineStoreConfig, _configure
from tests.feast_plugin.repository import bought, deployment, entity_rows, write_archive, write_repo
from training.apply import apply
from training.backfill import backfill
from training.store import open_store

T = 17_440 * DAY_US
VIEWS = """
people = behavior_view(
    "people", entity=user, owner="o", selects=("purchase",), retention="40d",
    features=[count("purchase", over="1h"), age("purchase"), last("purchase.category"), ever("purchase"), recent(2)],
)
pairs = behavior_view(
    "pairs", entity=(user, category), owner="o", selects=("purchase",), features=[count("purchase"), age("purchase")],
)
everybody = behavior_view(
    "everybody", entity=all_users, owner="o", selects=("purchase",), interval="5m",
    features=[count("purchase"), age("purchase")],
)
profile = FeatureView(
    name="profile", entities=[user], source=plain_source("profile"), ttl=timedelta(days=2),
    schema=[Field(name="city", dtype=String), Field(name="points", dtype=Int64)],
)
some = FeatureService(name="some", features=[people, everybody])
both = FeatureService(
    name="both",
    features=[
        people.with_name("mine").with_join_key_map({"user_id": "buyer"}),
        people.with_name("yours")[["purchase_ever"]],
    ],
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline with a space")


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[FeatureStore]:
    """Two users with purchases at T, T + 30 min and T + 2 h; a profile that was corrected afterwards."""
    settings = deployment(home)
    write_repo(settings.feature_repo, VIEWS)
    log = [
        bought(1, T),
        bought(2, T + 30 * MINUTE_US, "k1-bob", "MILK"),
        bought(3, T + 2 * HOUR_US, "k1-ada", "MILK"),
    ]
    backfill(apply(settings), write_archive(home / "archive", log), settings.tables)
    write_profile(settings.tables / "profile.parquet")
    return open_store(settings)


def write_profile(path: Path) -> None:
    """ada: Rome from T, corrected to Oslo one hour later (with the same ts); Bern from T + 3 h, known at once."""
    instants = pa.timestamp("us", "UTC")
    table = pa.table(
        {
            "user_id": ["k1-ada", "k1-ada", "k1-ada"],
            "city": ["Rome", "Oslo", "Bern"],
            "points": pa.array([1, 2, None], pa.int64()),
            "ts": pa.array([T, T, T + 3 * HOUR_US], instants),
            "created": pa.array([T, T + HOUR_US, T + 3 * HOUR_US], instants),
        }
    )
    pq.write_table(table, path)


def ask(store: FeatureStore, frame: pd.DataFrame, *features: str, full: bool = False) -> pa.Table:
    return store.get_historical_features(frame, list(features), full_feature_names=full).to_arrow()


def test_rows_keep_their_order_and_duplicates(store: FeatureStore) -> None:
    """Answers stand beside their questions, asked twice or backwards."""
    t = [T + 2 * HOUR_US + 1, T, T + 1, T + 1, T + HOUR_US]
    found = ask(store, entity_rows(t, user_id="k1-ada", extra=list("abcde")), "people:purchase_count_1h")
    assert found["purchase_count_1h"].to_pylist() == [1, None, 1, 1, 0]
    assert found["extra"].to_pylist() == list("abcde")
    assert found["event_timestamp"].cast(pa.int64()).to_pylist() == t


def test_values_are_final_in_feasts_dtypes(store: FeatureStore) -> None:
    """Counts and flags int64, ages float32 seconds at the row's instant, texts strings; absence is null."""
    frame = entity_rows([T + HOUR_US, T + HOUR_US], user_id=["k1-ada", "k1-nobody"])
    found = ask(
        store, frame, "people:purchase_age_s", "people:purchase_ever", "people:purchase_category_last", full=True
    )
    assert found["people__purchase_age_s"].to_pylist() == [3600.0, None]
    assert found["people__purchase_ever"].to_pylist() == [1, None]
    assert found["people__purchase_category_last"].to_pylist() == ["TEA", None]
    assert [found.schema.field(name).type for name in found.column_names[2:]] == [pa.float32(), pa.int64(), pa.string()]


def test_an_entity_goes_missing_after_the_retention(store: FeatureStore) -> None:
    """t - max e >= R is missing, one microsecond earlier is not."""
    gone = T + 2 * HOUR_US + 40 * DAY_US
    found = ask(store, entity_rows([gone - 1, gone], user_id="k1-ada"), "people:purchase_ever")
    assert found["purchase_ever"].to_pylist() == [1, None]


def test_snapshot_views_answer_at_their_last_interval(store: FeatureStore) -> None:
    """Value and age of a view of `all` are those of floor(t, 5 min)."""
    at = T + 30 * MINUTE_US
    frame = entity_rows([at + 1, at + 5 * MINUTE_US - 1, at + 5 * MINUTE_US, at + 9 * MINUTE_US], all_id="all")
    found = ask(store, frame, "everybody:purchase_count", "everybody:purchase_age_s")
    assert found["purchase_count"].to_pylist() == [1, 1, 2, 2]
    assert found["purchase_age_s"].to_pylist() == [1800.0, 1800.0, 300.0, 300.0]


def test_null_keys_have_null_values(store: FeatureStore) -> None:
    """A row without a category has no pair; its neighbours do."""
    frame = entity_rows([T + 1] * 3, user_id=["k1-ada", "k1-ada", None], category=["TEA", None, "TEA"])
    assert ask(store, frame, "pairs:purchase_count")["purchase_count"].to_pylist() == [1, None, None]


def test_same_names_need_full_names(store: FeatureStore) -> None:
    """Feast refuses the ambiguity; with full names each view has its column."""
    frame = entity_rows([T + 1], user_id="k1-ada", all_id="all")
    with pytest.raises(Exception, match="full_feature_names"):
        ask(store, frame, "people:purchase_age_s", "everybody:purchase_age_s")
    found = ask(store, frame, "people:purchase_age_s", "everybody:purchase_age_s", full=True)
    assert found.column_names[-2:] == ["people__purchase_age_s", "everybody__purchase_age_s"]


def test_a_feature_that_is_called_like_a_column_is_refused(store: FeatureStore) -> None:
    """No column is silently replaced by another."""
    frame = entity_rows([T + 1], user_id="k1-ada", purchase_ever=9)
    with pytest.raises(BadInput, match="purchase_ever; ask with full_feature_names=True"):
        ask(store, frame, "people:purchase_ever")


def test_a_service_is_its_features(store: FeatureStore) -> None:
    """A feature service is answered in its own order."""
    frame = entity_rows([T + 1], user_id="k1-ada", all_id="all")
    job = store.get_historical_features(frame, store.get_feature_service("some"), full_feature_names=True)
    assert job.to_arrow().column_names[3:] == [
        "people__purchase_count_1h", "people__purchase_age_s",
        "people__purchase_category_last", "people__purchase_ever", "people__recent_2",
        "everybody__purchase_count", "everybody__purchase_age_s",
    ]  # fmt: skip
    assert job.to_df().shape == (1, 10)
    assert job.metadata.keys == ["user_id", "all_id"]


def test_plain_views_say_what_was_known_then(store: FeatureStore) -> None:
    """The newest row that was already written at the instant; a later correction does not leak; ttl counts from ts."""
    t = [T - 1, T, T + HOUR_US - 1, T + HOUR_US, T + 3 * HOUR_US, T + 3 * HOUR_US + 2 * DAY_US, T + 3 * DAY_US]
    found = ask(store, entity_rows(t, user_id="k1-ada"), "profile:city", "profile:points")
    assert found["city"].to_pylist() == [None, "Rome", "Rome", "Oslo", "Bern", "Bern", None]
    assert found["points"].to_pylist() == [None, 1, 1, 2, None, None, None]


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_instants_of_any_zone_are_one_instant(store: FeatureStore, zone: str | None) -> None:
    """Rows without a zone are UTC, nanosecond columns are welcome as long as they are whole microseconds."""
    naive = pd.to_datetime([T, T + 1], unit="us")
    frame = pd.DataFrame({"user_id": "k1-ada", "event_timestamp": naive if zone is None else naive.tz_localize("UTC")})
    if zone is not None:
        frame["event_timestamp"] = frame["event_timestamp"].dt.tz_convert(zone)
    assert ask(store, frame, "people:purchase_ever")["purchase_ever"].to_pylist() == [None, 1]


def test_instants_finer_than_a_microsecond_are_refused(store: FeatureStore) -> None:
    """Rounding in silence would move a row across a change point."""
    frame = pd.DataFrame({"user_id": "k1-ada", "event_timestamp": pd.to_datetime([T * 1000, T * 1000 + 1], utc=True)})
    with pytest.raises(BadInput, match=r"row 1 .*finer than a microsecond"):
        ask(store, frame, "people:purchase_ever")


def test_rows_without_an_instant_are_refused(store: FeatureStore) -> None:
    """A row that asks about no instant is a mistake of the caller's."""
    frame = entity_rows([T, T], user_id="k1-ada")
    frame.loc[1, "event_timestamp"] = None
    with pytest.raises(BadInput, match=r"row 1 .*no instant"):
        ask(store, frame, "people:purchase_ever")


def test_rows_without_a_join_key_are_refused(store: FeatureStore) -> None:
    """The sentence names the view and the column."""
    with pytest.raises(BadInput, match=r"view pairs: .*no column category"):
        ask(store, entity_rows([T], user_id="k1-ada"), "pairs:purchase_count")


def test_no_rows_are_no_error(store: FeatureStore) -> None:
    """An empty question has an empty answer of the right shape."""
    found = ask(store, entity_rows([], user_id=[]), "people:purchase_age_s")
    assert found.num_rows == 0
    assert found.schema.field("purchase_age_s").type == pa.float32()


def test_a_missing_table_is_one_sentence(store: FeatureStore, home: Path) -> None:
    """The sentence says which command makes the table."""
    table = home / "my var" / "tables" / "people.json"
    aside = table.rename(table.with_suffix(".aside"))
    try:
        with pytest.raises(BadInput, match=r"view people: .*people.json is not there; run `opportune backfill`"):
            ask(store, entity_rows([T], user_id="k1-ada"), "people:purchase_ever")
    finally:
        aside.rename(table)


def test_a_table_of_another_definition_is_refused(store: FeatureStore, home: Path) -> None:
    """Values that mean something else never come back under the feature's name; its neighbours' do."""
    manifest = home / "my var" / "tables" / "people.json"
    said = manifest.read_text()
    fingerprint = json.loads(said)["features"]["purchase_ever"]
    manifest.write_text(said.replace(fingerprint, "0123456789abcdef"))
    try:
        with pytest.raises(BadInput, match=r"people:purchase_ever: its table is of another definition; run"):
            ask(store, entity_rows([T + 1], user_id="k1-ada"), "people:purchase_ever")
        assert ask(store, entity_rows([T + 1], user_id="k1-ada"), "people:purchase_count_1h").num_rows == 1
    finally:
        manifest.write_text(said)


def test_a_behavior_view_has_no_file_to_copy(store: FeatureStore) -> None:
    """What would read its rows as they lie is told where they come from."""
    source = store.get_feature_view("people").batch_source
    with pytest.raises(BadInput, match=r"source people_table: .*get_historical_features alone"):
        ChangePointOfflineStore.pull_all_from_table_or_query(store.config, source, ["user_id"], ["purchase_ever"], "ts")


def test_lists_are_lists_of_text(store: FeatureStore) -> None:
    """What came last is an Arrow list; an entity that goes missing has none."""
    gone = T + 2 * HOUR_US + 40 * DAY_US
    found = ask(store, entity_rows([T + 1, gone], user_id="k1-ada"), "people:recent_2", "people:purchase_category_last")
    assert found["recent_2"].to_pylist() == [[f"purchase|{T}|"], None]
    assert found.schema.field("recent_2").type == pa.list_(pa.string())
    assert found["purchase_category_last"].to_pylist() == ["TEA", None]


def test_the_working_directory_does_not_matter(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feast resolves file sources against the working directory; ours lie in the directory of tables."""
    monkeypatch.chdir(tmp_path)
    assert ask(store, entity_rows([T + 1], user_id="k1-ada"), "people:purchase_ever")["purchase_ever"].to_pylist() == [
        1
    ]


def test_aliases_and_other_columns_work_as_in_feast(store: FeatureStore) -> None:
    """A view can be joined twice, each time through another column of the rows."""
    frame = entity_rows([T + 1], buyer="k1-ada", user_id="k1-bob")
    found = store.get_historical_features(frame, store.get_feature_service("both"), full_feature_names=True).to_arrow()
    assert found["mine__purchase_ever"].to_pylist() == [1]
    assert found["yours__purchase_ever"].to_pylist() == [None]


def test_the_join_is_asof_and_no_nested_loop() -> None:
    """DuckDB takes an Arrow table for few rows and would pair them with every change point, one by one; we forbid it.

    The second half is the trap itself: if it is gone, the setting can go.
    """
    rows = pa.table({"key": ["a"] * 1000, "at": list(range(1000))})
    query = "EXPLAIN SELECT * FROM asked ASOF LEFT JOIN points ON asked.key = points.key AND asked.at >= points.ts"
    plans = []
    for ours in (True, False):
        with duckdb.connect() as connection:
            if ours:
                _configure(connection, ChangePointOfflineStoreConfig())
            connection.execute("CREATE TABLE points AS SELECT 'a' AS key, i AS ts FROM range(200000) AS r(i)")
            connection.register("asked", rows)
            plans.append(connection.execute(query).fetchall()[0][1])
    assert "ASOF_JOIN" in plans[0]
    assert "NESTED_LOOP_JOIN" in plans[1]
