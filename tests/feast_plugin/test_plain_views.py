"""Plain views through the real Feast and a real Redis: pushed or materialized, the newest row until it expires."""

from datetime import UTC, datetime

import pandas as pd
import pytest
import redis
from feast import FeatureStore

from behavior.errors import Unavailable
from behavior.event import DAY_US, HOUR_US
from deployment.clock import advance
from deployment.keys import Keys
from deployment.settings import Settings
from tests.feast_plugin.shop import REFS, ROWS, T, online
from training.store import open_store


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


def test_plain_views_expire_as_they_do_offline(store: FeatureStore, client: redis.Redis, keys: Keys) -> None:
    """Feast ignores ttl online; training would see null where serving saw a value."""
    push(store, T, T, "Rome", 1)
    advance(client, keys, T + 2 * DAY_US)
    assert profile(store) == ("Rome", 1)
    advance(client, keys, T + 2 * DAY_US + 1)
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


def test_plain_views_need_no_states(settings: Settings, client: redis.Redis, keys: Keys) -> None:
    """What was pushed is read in a Redis that holds no generation; behavior views say what is missing."""
    advance(client, keys, T)
    fresh = open_store(settings)
    push(fresh, T, T, "Rome", 1)
    assert profile(fresh) == ("Rome", 1)
    with pytest.raises(Unavailable, match="no plan of generation 1; run `opportune rebuild`"):
        online(fresh, REFS[:1], ROWS[:1])


def profile_rows(ts: int, created: int, city: str, points: int | None) -> pd.DataFrame:
    instants = [pd.Timestamp(each, unit="us", tz="UTC").as_unit("us") for each in (ts, created)]
    frame = pd.DataFrame({"user_id": ["k1-ada"], "city": [city], "points": pd.array([points], dtype="Int64")})
    return frame.assign(ts=instants[0], created=instants[1])


def push(store: FeatureStore, ts: int, created: int, city: str, points: int | None) -> None:
    store.write_to_online_store("profile", profile_rows(ts, created, city, points))


def profile(store: FeatureStore) -> tuple[object, object]:
    found = online(store, ["profile:city", "profile:points"], ROWS[:1])
    return found["profile__city"][0], found["profile__points"][0]
