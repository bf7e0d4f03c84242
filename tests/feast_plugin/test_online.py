"""The online store through the real Feast and a real Redis: it shows the fold's state and never touches it."""

import asyncio
from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from behavior.errors import BadInput, Unavailable
from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.partition import partition_of
from behavior.plan import Plan
from deployment.clock import advance
from deployment.keys import Keys
from deployment.settings import Settings
from tests import oracle
from tests.feast_plugin.folded import fold, fold_generation, write_log
from tests.feast_plugin.repository import entity_rows
from tests.feast_plugin.shop import LOG, NOW, REFS, ROWS, T, online
from training.store import open_store


def test_online_shows_what_the_tables_say(store: FeatureStore) -> None:
    """State and tables of one log give the same final values at the clock's now, bit for bit, in every view."""
    found = online(store, REFS, ROWS)
    frame = entity_rows([NOW] * len(ROWS), **{name: [row[name] for row in ROWS] for name in ROWS[0]})
    tables = store.get_historical_features(frame, REFS, full_feature_names=True).to_arrow()
    for ref in REFS:
        name = ref.replace(":", "__")
        assert found[name] == tables[name].to_pylist(), name


def test_online_shows_what_the_oracle_says(store: FeatureStore, plan: Plan) -> None:
    """Every feature of every view, at the clock's now; lists, divisions, texts and all."""
    assert set(REFS) == set(plan.features)
    found = online(store, REFS, ROWS)
    for view in plan.views:
        for place, row in enumerate(ROWS):
            key = tuple(row[name] for name in view.join_keys)
            expected = oracle.final_values(view.definition, LOG, key, NOW)
            assert {name: found[f"{view.name}__{name}"][place] for name in expected} == expected, (view.name, key)
    assert found["people__purchase_count"] == [2, 2, 2, None, 2]
    assert found["people__recent_2"][1] == [f"purchase|{T + HOUR_US + 1}|käse|2", f"purchase|{T + HOUR_US}|i-1"]
    assert found["items__purchase_user_distinct_24h"] == [2, 1, 2, None, 2]
    assert found["popularity__purchase_age_s"][2] == float(np.float32(15 * 60))


def test_values_of_the_snapshot_are_those_of_its_instant(
    store: FeatureStore, client: redis.Redis, keys: Keys, plan: Plan
) -> None:
    """They change with the next snapshot, not with the clock; and say which instant they hold for."""
    advance(client, keys, NOW + 30_000_000)
    assert online(store, ["popularity:purchase_age_s"], ROWS[2:3])["popularity__purchase_age_s"] == [900.0]
    fold(client, keys, plan, NOW + 90_000_000)
    assert online(store, ["popularity:purchase_age_s"], ROWS[2:3])["popularity__purchase_age_s"] == [960.0]
    response = store.get_online_features(["popularity:purchase_count"], ROWS[2:3]).proto
    assert NOW + MINUTE_US in {each.event_timestamps[0].ToMicroseconds() for each in response.results}


def test_join_keys_may_come_in_any_order(store: FeatureStore) -> None:
    """Keys are looked up by name, not by place."""
    turned = [dict(reversed(row.items())) for row in ROWS]
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


def test_values_fall_by_themselves(store: FeatureStore, client: redis.Redis, keys: Keys) -> None:
    """Windows end at the clock's now, and a user goes missing R after the last event, without any event."""
    assert online(store, ["people:purchase_count_1h"], ROWS[:1])["people__purchase_count_1h"] == [1]
    advance(client, keys, NOW + HOUR_US)
    assert online(store, ["people:purchase_count_1h"], ROWS[:1])["people__purchase_count_1h"] == [0]
    advance(client, keys, LOG[2].e + 40 * DAY_US - 1)
    assert online(store, ["people:purchase_count"], ROWS[:1])["people__purchase_count"] == [2]
    advance(client, keys, LOG[2].e + 40 * DAY_US)
    assert online(store, ["people:purchase_count"], ROWS[:1])["people__purchase_count"] == [None]


def test_state_ahead_of_the_clock_answers_for_its_own_instant(
    store: FeatureStore, client: redis.Redis, keys: Keys
) -> None:
    """as_of = max(now, offset + 1 µs): what was admitted is never denied."""
    client.hset(keys.place(partition_of("k1-eve", 4), 1), "offset", NOW + 5)
    response = store.get_online_features(["people:purchase_count"], [ROWS[1]]).proto
    assert NOW + 6 in {each.event_timestamps[0].ToMicroseconds() for each in response.results}


def test_behavior_views_cannot_be_written(store: FeatureStore, plan: Plan) -> None:
    """Only the fold writes state: pushing into a behavior view is refused with a sentence."""
    row = {feature.name: [None] for feature in plan.view("people").features} | {"purchase_count": [9]}
    frame = pd.DataFrame({**row, "user_id": ["k1-ada"], "ts": [datetime(2017, 10, 1, tzinfo=UTC)]})
    with pytest.raises(BadInput, match="view people is computed from events"):
        store.write_to_online_store("people", frame)


@pytest.fixture
def next_plan(plan: Plan) -> Plan:
    """The plan of the next generation: a view before all others, so that every letter is another, and less kept."""
    first = msgspec.structs.replace(plan.view("everybody").definition, name="aa")
    people = plan.view("people").definition
    fewer = msgspec.structs.replace(people, retention_us=10 * DAY_US)
    return Plan([first, *(fewer if view.name == "people" else view.definition for view in plan.views)])


def test_another_generation_is_read_under_its_plan(
    store: FeatureStore, client: redis.Redis, keys: Keys, plan: Plan, next_plan: Plan
) -> None:
    """A rebuild moves what is served between two reads: the values stay, of users and of the snapshot."""
    before = online(store, REFS, ROWS)
    fold_generation(client, keys, next_plan, 2)
    assert online(store, REFS, ROWS) == before
    for number in range(keys.partitions):
        client.hset(keys.meta(number), "generation", 2)
    client.hset(keys.deployment(), "generation", 2)
    for key in client.scan_iter(keys.states_pattern(), count=1000):
        if keys.generation_of(key) == 1:
            client.delete(key)
    assert online(store, REFS, ROWS) == before
    advance(client, keys, LOG[2].e + 10 * DAY_US)
    assert online(store, ["people:purchase_count"], ROWS[:1])["people__purchase_count"] == [None]


def test_a_rebuild_that_stopped_half_way_is_read_where_it_stands(
    settings: Settings, store: FeatureStore, client: redis.Redis, keys: Keys, next_plan: Plan
) -> None:
    """Some partitions moved, others not, the snapshot not: each entity is asked where it is; by the event loop too."""
    before = online(store, REFS, ROWS)
    fold_generation(client, keys, next_plan, 2)
    eve = keys.partition_of("k1-eve")
    assert keys.partition_of("k1-ada") != eve
    client.hset(keys.meta(eve), "generation", 2)
    client.delete(keys.user(eve, 1, "k1-eve"))
    assert online(store, REFS, ROWS) == before

    async def read() -> dict[str, list[object]]:
        asynchronous = open_store(settings)
        response = await asynchronous.get_online_features_async(REFS, ROWS, full_feature_names=True)
        await asynchronous.close()
        return response.to_dict()

    assert asyncio.run(read()) == before
    # And back again, as when the rebuild is given up.
    client.hdel(keys.meta(eve), "generation")
    found = online(store, REFS, ROWS)
    assert found["people__purchase_count"] == [2, None, 2, None, 2]


def test_what_the_states_do_not_hold_yet_is_told(
    settings: Settings, client: redis.Redis, keys: Keys, plan: Plan
) -> None:
    """A feature, or a view, that was applied after the states were made waits for a rebuild."""
    people = plan.view("people").definition
    fewer = [msgspec.structs.replace(people, features=people.features[:2]), plan.view("pairs").definition]
    write_log(client, keys, LOG)
    fold(client, keys, Plan(fewer), NOW)
    fresh = open_store(settings)
    assert online(fresh, REFS[:2], ROWS[:1])["people__purchase_count"] == [2]
    for ref in ("people:purchase_age_s", "items:purchase_user_distinct_24h"):
        view, _, feature = ref.partition(":")
        with pytest.raises(
            BadInput, match=f"view {view}: the states do not hold {feature} yet; run `opportune rebuild`"
        ):
            online(fresh, [ref], ROWS[:1])


def test_before_the_first_snapshot_all_is_missing(
    settings: Settings, client: redis.Redis, keys: Keys, plan: Plan
) -> None:
    """A deployment that has begun and folded nothing knows nobody; it says so instead of failing."""
    fold(client, keys, Plan(view.definition for view in plan.user_views), 0)
    client.set(keys.plan(1), plan.encode())
    found = online(open_store(settings), REFS, ROWS)
    assert all(found[ref.replace(":", "__")] == [None] * len(ROWS) for ref in REFS)


def test_another_number_of_partitions_is_refused(
    settings: Settings, store: FeatureStore, client: redis.Redis, keys: Keys
) -> None:
    """Users would be looked for where they are not."""
    client.hset(keys.deployment(), "partitions", 8)
    with pytest.raises(BadInput, match="8 partitions, this one has 4"):
        online(open_store(settings), REFS[:1], ROWS[:1])


def test_without_redis_the_sentence_says_so(settings: Settings, store: FeatureStore) -> None:
    """No address is a matter of configuration, no answer one of Redis."""
    with pytest.raises(BadInput, match="redis_url has no value"):
        online(open_store(settings.model_copy(update={"redis_url": None})), REFS[:1], ROWS[:1])
    with pytest.raises(Unavailable, match="Redis does not answer"):
        online(open_store(settings.replaced(redis_url="redis://127.0.0.1:1")), REFS[:1], ROWS[:1])
