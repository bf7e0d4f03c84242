"""The online store through the real Feast and a real Redis: it shows the fold's state and never touches it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from behavior.column import Column
from behavior.errors import BadInput, Unavailable
from behavior.event import DAY_US, HOUR_US, MINUTE_US, Admitted
from behavior.partition import partition_of
from behavior.plan import Plan
from behavior.state import State, encode, fold, raw_at
from deployment.clock import advance
from deployment.keys import Keys
from deployment.settings import Settings
from deployment.snapshot import Snapshot, SnapshotView
from deployment.snapshot import encode as encode_snapshot
from deployment.user_state import state_field
from tests.feast_plugin.repository import bought, deployment, entity_rows, write_archive, write_repo
from training.apply import apply
from training.backfill import backfill
from training.store import open_store

T = 17_440 * DAY_US
NOW = T + 3 * HOUR_US
VIEWS = """
people = behavior_view(
    "people", entity=user, owner="o", selects=("purchase",), retention="40d",
    features=[count("purchase", over="1h"), count("purchase"), age("purchase"), last("purchase.category")],
)
pairs = behavior_view(
    "pairs", entity=(user, category), owner="o", selects=("purchase",),
    features=[count("purchase", over="24h"), age("purchase")],
)
popularity = behavior_view(
    "popularity", entity=category, owner="o", selects=("purchase",), features=[count("purchase"), age("purchase")],
)
profile = FeatureView(
    name="profile", entities=[user], source=plain_source("profile"), ttl=timedelta(days=2),
    schema=[Field(name="city", dtype=String), Field(name="points", dtype=Int64)],
)
"""
REFS = [
    "people:purchase_count_1h", "people:purchase_count", "people:purchase_age_s", "people:purchase_category_last",
    "pairs:purchase_count_24h", "pairs:purchase_age_s", "popularity:purchase_count", "popularity:purchase_age_s",
]  # fmt: skip
LOG = [
    bought(1, T, "k1-ada", "TEA"),
    bought(2, T + HOUR_US, "k1-bob", "MILK"),
    bought(3, T + 2 * HOUR_US + 90 * MINUTE_US // 2, "k1-ada", "MILK"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("online with a space")


@pytest.fixture(scope="module")
def plan(home: Path) -> Plan:
    settings = deployment(home)
    write_repo(settings.feature_repo, VIEWS)
    made = apply(settings)
    backfill(made, write_archive(home / "archive", LOG), settings.tables)
    return made


@pytest.fixture
def settings(home: Path, plan: Plan, redis_url: str, prefix: str) -> Settings:
    return deployment(home, redis_url=redis_url, redis_prefix=prefix, replay=True)


@pytest.fixture
def client(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(str(settings.redis_url))


@pytest.fixture
def store(settings: Settings, client: redis.Redis, plan: Plan) -> FeatureStore:
    """A deployment whose log is folded and whose clock stands at NOW."""
    keys = Keys(settings.redis_prefix)
    write_state(client, keys, plan, LOG)
    advance(client, keys, NOW)
    return open_store(settings)


def write_state(client: redis.Redis, keys: Keys, plan: Plan, log: list[Admitted]) -> None:
    """What a fold of the log leaves in Redis, at the last whole minute for the snapshot."""
    for user in {each.event.user_id for each in log}:
        partition = partition_of(user, 4)
        mine = [each for each in log if each.event.user_id == user]
        people, pairs = plan.view("people"), plan.view("pairs")
        fields = {state_field(people): encode(people, folded(plan, "people", mine))}
        for category in {str(each.event.category) for each in mine}:
            state = folded(plan, "pairs", [each for each in mine if each.event.category == category])
            fields[state_field(pairs, category)] = encode(pairs, state)
        client.hset(keys.user(partition, user), mapping=fields)  # type: ignore[arg-type]
        client.hset(keys.meta(partition), "offset", max(each.k for each in mine))
    client.set(keys.snapshot(), encode_snapshot(Snapshot(NOW, {"popularity": popularity(plan, log)})))


def folded(plan: Plan, view: str, log: list[Admitted]) -> State:
    state = None
    for each in log:
        state = fold(plan.view(view), state, each)
    assert state is not None
    return state


def popularity(plan: Plan, log: list[Admitted]) -> SnapshotView:
    view = plan.view("popularity")
    ids = sorted({str(each.event.category) for each in log})
    states = [folded(plan, "popularity", [each for each in log if each.event.category == name]) for name in ids]
    raw = [raw_at(view, state, NOW) for state in states]
    columns = {
        feature.name: Column.of([row[place] for row in raw], feature.raw_dtype)
        for place, feature in enumerate(view.features)
    }
    return SnapshotView(ids, columns, Column.of([state.seen_e for state in states], "int64"))


def online(store: FeatureStore, refs: list[str], rows: list[dict[str, str]]) -> dict[str, list[object]]:
    return store.get_online_features(refs, rows, full_feature_names=True).to_dict()


ROWS = [
    {"user_id": "k1-ada", "category": "TEA"},
    {"user_id": "k1-bob", "category": "TEA"},
    {"user_id": "k1-ada", "category": "MILK"},
    {"user_id": "k1-nobody", "category": "NOTHING"},
    {"user_id": "k1-ada", "category": "TEA"},
]


def test_online_shows_what_the_tables_say(store: FeatureStore) -> None:
    """State and tables of one log give the same final values at the clock's now, bit for bit, in every view."""
    found = online(store, REFS, ROWS)
    frame = entity_rows(
        [NOW] * len(ROWS), user_id=[row["user_id"] for row in ROWS], category=[row["category"] for row in ROWS]
    )
    tables = store.get_historical_features(frame, REFS, full_feature_names=True).to_arrow()
    for ref in REFS:
        name = ref.replace(":", "__")
        assert found[name] == tables[name].to_pylist(), name
    assert found["people__purchase_count"] == [2, 1, 2, None, 2]
    assert found["popularity__purchase_age_s"][0] == 3 * 3600.0


def test_join_keys_may_come_in_any_order(store: FeatureStore) -> None:
    """Keys are looked up by name, not by place."""
    turned = [{"category": row["category"], "user_id": row["user_id"]} for row in ROWS]
    assert online(store, REFS, turned) == online(store, REFS, ROWS)


def test_async_reads_are_the_same(settings: Settings, store: FeatureStore) -> None:
    """The feature server's way of reading gives the very values."""

    async def read() -> dict[str, list[object]]:
        asynchronous = open_store(settings)
        response = await asynchronous.get_online_features_async(REFS, ROWS, full_feature_names=True)
        await asynchronous.close()
        return response.to_dict()

    assert asyncio.run(read()) == online(store, REFS, ROWS)


def test_missing_entities_are_not_found(store: FeatureStore) -> None:
    """Unknown users say so, instead of being present with nothing; known ones carry the instant that they hold for."""
    response = store.get_online_features(["people:purchase_count"], [ROWS[0], ROWS[3]]).proto
    (result,) = [each for each in response.results if each.values[0].WhichOneof("val") == "int64_val"]
    assert list(result.statuses) == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    assert result.event_timestamps[0].ToMicroseconds() == NOW


def test_values_fall_by_themselves(settings: Settings, store: FeatureStore, client: redis.Redis) -> None:
    """Windows end at the clock's now, and a user goes missing R after the last event, without any event."""
    keys = Keys(settings.redis_prefix)
    assert online(store, ["people:purchase_count_1h"], ROWS[:1])["people__purchase_count_1h"] == [1]
    advance(client, keys, NOW + HOUR_US)
    assert online(store, ["people:purchase_count_1h"], ROWS[:1])["people__purchase_count_1h"] == [0]
    advance(client, keys, LOG[2].e + 40 * DAY_US - 1)
    assert online(store, ["people:purchase_count"], ROWS[:1])["people__purchase_count"] == [2]
    advance(client, keys, LOG[2].e + 40 * DAY_US)
    assert online(store, ["people:purchase_count"], ROWS[:1])["people__purchase_count"] == [None]


def test_state_ahead_of_the_clock_answers_for_its_own_instant(
    settings: Settings, store: FeatureStore, client: redis.Redis
) -> None:
    """as_of = max(now, offset + 1 µs): what was admitted is never denied."""
    keys = Keys(settings.redis_prefix)
    client.hset(keys.meta(partition_of("k1-bob", 4)), "offset", NOW + 5)
    response = store.get_online_features(["people:purchase_count"], [ROWS[1]]).proto
    assert NOW + 6 in {each.event_timestamps[0].ToMicroseconds() for each in response.results}


def test_behavior_views_cannot_be_written(store: FeatureStore) -> None:
    """Only the fold writes state: pushing into a behavior view is refused with a sentence."""
    frame = pd.DataFrame({"user_id": ["k1-ada"], "purchase_count": [9], "ts": [datetime(2017, 10, 1, tzinfo=UTC)]})
    for name in ("purchase_count_1h", "purchase_age_s", "purchase_category_last"):
        frame[name] = None
    with pytest.raises(BadInput, match="view people is computed from events"):
        store.write_to_online_store("people", frame)


def test_plain_views_keep_the_newest_row(store: FeatureStore) -> None:
    """Newer wins whatever the order of arrival: by event time, then by creation; a new row replaces all of the old."""
    push(store, T, T, "Rome", 1)
    push(store, T + HOUR_US, T + HOUR_US, "Oslo", None)
    assert profile(store) == ("Oslo", None)
    push(store, T, T + 2 * HOUR_US, "Rome", 2)
    assert profile(store) == ("Oslo", None)
    push(store, T + HOUR_US, T + 3 * HOUR_US, "Bern", 3)
    push(store, T + HOUR_US, T + 2 * HOUR_US, "Riga", 4)
    assert profile(store) == ("Bern", 3)


def test_plain_views_expire_as_they_do_offline(settings: Settings, store: FeatureStore, client: redis.Redis) -> None:
    """Feast ignores ttl online; training would see null where serving saw a value."""
    push(store, T, T, "Rome", 1)
    advance(client, Keys(settings.redis_prefix), T + 2 * DAY_US)
    assert profile(store) == ("Rome", 1)
    advance(client, Keys(settings.redis_prefix), T + 2 * DAY_US + 1)
    assert profile(store) == (None, None)


def test_plain_views_are_materialized(settings: Settings, store: FeatureStore) -> None:
    """Feast's own materialize reads the table, wherever the process was started, and writes through the plug-in."""
    rows = profile_rows(T, T, "Rome", 1)
    rows.to_parquet(settings.tables / "profile.parquet")
    store.materialize(datetime(2017, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, tzinfo=UTC), feature_views=["profile"])
    assert profile(store) == ("Rome", 1)


def test_deleting_a_plain_view_forgets_its_rows_and_no_state(
    settings: Settings, store: FeatureStore, client: redis.Redis
) -> None:
    """Teardown and update remove what Feast wrote; what the fold wrote stays."""
    push(store, T, T, "Rome", 1)
    before = online(store, REFS, ROWS)
    plugin = store._get_provider().online_store
    tables = store.list_feature_views()
    plugin.update(store.config, tables, [], [], [], partial=False)
    assert profile(store) == (None, None)
    push(store, T, T, "Rome", 1)
    plugin.teardown(store.config, tables, [])
    assert profile(store) == (None, None)
    assert online(store, REFS, ROWS) == before
    assert not list(client.scan_iter(f"{settings.redis_prefix}:plain:*"))


def test_state_of_another_plan_is_refused(settings: Settings, store: FeatureStore, client: redis.Redis) -> None:
    """Bytes that were written under another plan are not read as if they were ours."""
    client.hset(Keys(settings.redis_prefix).deployment(), mapping={"partitions": "4", "plan": "another"})
    with pytest.raises(BadInput, match=r"written with plan another.*rebuild"):
        online(store, REFS[:1], ROWS[:1])


def test_without_redis_the_sentence_says_so(settings: Settings, store: FeatureStore) -> None:
    """No address is a matter of configuration, no answer one of Redis."""
    with pytest.raises(BadInput, match="redis_url has no value"):
        online(open_store(settings.model_copy(update={"redis_url": None})), REFS[:1], ROWS[:1])
    with pytest.raises(Unavailable, match="Redis does not answer"):
        online(open_store(settings.replaced(redis_url="redis://127.0.0.1:1")), REFS[:1], ROWS[:1])


def profile_rows(ts: int, created: int, city: str, points: int | None) -> pd.DataFrame:
    instants = [pd.Timestamp(each, unit="us", tz="UTC").as_unit("us") for each in (ts, created)]
    frame = pd.DataFrame({"user_id": ["k1-ada"], "city": [city], "points": pd.array([points], dtype="Int64")})
    return frame.assign(ts=instants[0], created=instants[1])


def push(store: FeatureStore, ts: int, created: int, city: str, points: int | None) -> None:
    store.write_to_online_store("profile", profile_rows(ts, created, city, points))


def profile(store: FeatureStore) -> tuple[object, object]:
    found = online(store, ["profile:city", "profile:points"], ROWS[:1])
    return found["profile__city"][0], found["profile__points"][0]
