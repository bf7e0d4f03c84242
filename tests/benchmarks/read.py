"""Reading features at request time, cold: one user with all its categories and 100 items, beside Feast's own store.

    ours     the user's hash and the packed rows of 100 items, of its categories and of everybody, asked for at once
             (`deployment.cold_reading`), every feature of all views finalised in numpy, each answer while the next is
             on its way; nothing is held in memory but the plan
    Feast    one `get_online_features(...).to_dict()` of 100 rows (the user, one of its categories, an item) with all
             features, as a ranking asks, from Feast's own Redis online store that was written with the same values
    apart    the same from Feast as one call per entity, without `to_dict`: the least that it can be asked for

All read the same user, pairs and items, in rounds that interleave them.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.table import Table

from behavior.column import Column
from behavior.plan import ALL_ID, Plan, View
from deployment.cold_reading import InTurn, ask_rows, ask_user, rows_read, user_read
from deployment.generations import Plans
from deployment.keys import Keys
from deployment.redis_server import redis_server
from deployment.user_state import UserState
from tests.benchmarks.fold import DECEMBER
from tests.benchmarks.year import POLICY, online, prepared

SUMMARY = "a user with its categories and 100 items, cold, beside Feast's own Redis store"
ITEMS = 100
CALLS = 100


@dataclass(frozen=True, slots=True)
class Time:
    """Medians of rounds in microseconds, with the least and the greatest round."""

    median_us: float
    least_us: float
    greatest_us: float


@dataclass(frozen=True, slots=True)
class ReadBench:
    """What was measured; see the module."""

    rounds: int
    calls_per_round: int
    redis_policy: str
    categories_of_the_user: int
    items: int
    features: int
    values: int
    ours: Time
    feast_on_its_redis_store: Time
    feast_apart: Time
    feast_per_ours: float
    feast_apart_per_ours: float
    least_feast_per_ours_of_a_round: float


def measure(home: Path, rounds: int) -> ReadBench:
    """Restore the year up to December, give Feast's own store the same values, and read both."""
    settings = prepared(home)
    with online(settings, DECEMBER) as (_, client, keys), TemporaryDirectory(prefix="opportune-bench-") as directory:
        plan = Plans(keys).of(client, 1)
        user, categories = _usual_user(client, keys, plan)
        known = sorted(entity.decode() for entity in client.hkeys(keys.rows(1, _items(plan).name)))
        asked = _Asked(plan, user, categories, known[:: len(known) // ITEMS][:ITEMS])
        with redis_server(Path(directory) / "redis") as server:
            store, references = _feast_store(Path(directory), server.port, asked, _ours(client, keys, asked))
            measured: dict[str, Callable[[], Any]] = {
                "ours": lambda: _ours(client, keys, asked),
                "feast": lambda: _feast(store, references, asked),
                "apart": lambda: _feast_apart(store, references, asked),
            }
            gc.collect()
            gc.freeze()  # as a serving process does once it is warm; Feast alone has half a million objects
            seconds = _interleaved(measured, rounds)
            gc.unfreeze()
        values = sum(len(column) for column in _ours(client, keys, asked).values())
    ours, feast, apart = seconds["ours"], seconds["feast"], seconds["apart"]
    return ReadBench(
        rounds=rounds, calls_per_round=CALLS, redis_policy=POLICY, categories_of_the_user=len(categories),
        items=len(asked.items), features=len(references), values=values, ours=_time(ours),
        feast_on_its_redis_store=_time(feast), feast_apart=_time(apart),
        feast_per_ours=round(statistics.median(feast) / statistics.median(ours), 1),
        feast_apart_per_ours=round(statistics.median(apart) / statistics.median(ours), 1),
        least_feast_per_ours_of_a_round=round(min(f / o for f, o in zip(feast, ours, strict=True)), 1),
    )  # fmt: skip


def render(found: ReadBench) -> Table:
    """The figures as a table for people."""
    table = Table("", "median µs", "least to greatest round", title="read", title_justify="left")
    timed = {
        "ours, cold": found.ours,
        "Feast, Redis store": found.feast_on_its_redis_store,
        "Feast, a call per entity": found.feast_apart,
    }
    for name, each in timed.items():
        table.add_row(name, f"{each.median_us:,.0f}", f"{each.least_us:,.0f} to {each.greatest_us:,.0f}")
    table.caption = (
        f"{found.feast_per_ours} times; 1 user, {found.categories_of_the_user} categories, {found.items} items, "
        f"{found.features} features, {found.values:,} values; {found.rounds} rounds of {found.calls_per_round} calls"
    )
    return table


@dataclass(frozen=True, slots=True)
class _Asked:
    """What both are asked for."""

    plan: Plan
    user: str
    categories: Sequence[str]
    items: Sequence[str]

    def ids(self, view: View) -> Sequence[str]:
        """The entities of a snapshot view that are read."""
        return {"item": self.items, "category": self.categories, "all": [ALL_ID]}[view.entity]


def _ours(client: Any, keys: Keys, asked: _Asked) -> dict[str, Column]:
    """Every feature of the user, its categories and the items, final, by reference."""
    plan = asked.plan
    finals: dict[str, Column] = {}
    with InTurn(client) as questions:
        ask_user(questions, keys, 1, asked.user)
        for view in plan.snapshot_views:
            ask_rows(questions, keys, 1, view, asked.ids(view))
        answers = questions.answers()
        read = user_read(next(answers), 1)
        state = UserState(plan, dict(zip(read.fields[::2], read.fields[1::2], strict=True)))
        as_of = max(DECEMBER, read.offset + 1)
        for view in plan.user_views:
            finals |= state.columns(view, asked.categories, as_of)
        for view, answer in zip(plan.snapshot_views, answers, strict=True):
            rows = rows_read(view, answer, 1)
            assert rows is not None
            finals |= rows.finals
    return finals


def _feast(store: Any, references: Sequence[str], asked: _Asked) -> Any:
    number = len(asked.categories)
    rows = [
        {"user_id": asked.user, "category": asked.categories[place % number], "item": item, "all_id": ALL_ID}
        for place, item in enumerate(asked.items)
    ]
    return store.get_online_features(references, rows, full_feature_names=True).to_dict()


def _feast_apart(store: Any, references: Sequence[str], asked: _Asked) -> Any:
    rows: dict[str, list[dict[str, str]]] = {
        "user": [{"user_id": asked.user}],
        "user_category": [{"user_id": asked.user, "category": each} for each in asked.categories],
        "item": [{"item": each} for each in asked.items],
        "category": [{"category": each} for each in asked.categories],
        "all": [{"all_id": ALL_ID}],
    }
    of = _by_entity(asked.plan, references)
    return [store.get_online_features(of[entity], rows[entity]) for entity in of]


def _by_entity(plan: Plan, references: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for reference in references:
        found.setdefault(plan.view(reference.partition(":")[0]).entity, []).append(reference)
    return found


def _feast_store(directory: Path, port: int, asked: _Asked, values: dict[str, Column]) -> tuple[Any, list[str]]:
    """A Feast repository on Feast's own Redis store with the same views, and the very values written to it."""
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType

    from feast_plugin.definitions import DTYPES

    os.chdir(directory)
    config = RepoConfig(
        project="bench", provider="local", registry=str(directory / "registry.db"), entity_key_serialization_version=3,
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{port}"}, offline_store={"type": "file"},
    )  # fmt: skip
    store = FeatureStore(config=config)
    entities = {
        name: Entity(name=name, join_keys=[key], value_type=ValueType.STRING)
        for name, key in (("user", "user_id"), ("category", "category"), ("item", "item"), ("all", "all_id"))
    }
    of_entity = {"user_category": ("user", "category")}
    ids = {
        "user": {"user_id": [asked.user]},
        "user_category": {"user_id": [asked.user] * len(asked.categories), "category": list(asked.categories)},
        "item": {"item": list(asked.items)},
        "category": {"category": list(asked.categories)},
        "all": {"all_id": [ALL_ID]},
    }
    now, references = datetime.now(UTC), []
    for view in asked.plan.views:
        made = FeatureView(
            name=view.name, entities=[entities[name] for name in of_entity.get(view.entity, (view.entity,))],
            schema=[Field(name=each.name, dtype=DTYPES[each.dtype]) for each in view.features],
            source=FileSource(name=f"{view.name}_source", path=str(directory / "none.parquet"), timestamp_field="ts"),
        )  # fmt: skip
        store.apply([*entities.values(), made])
        frame = pd.DataFrame(ids[view.entity] | {"ts": now})
        for feature in view.features:
            column = values[feature.ref]
            known = zip(column.values.tolist(), column.valid, strict=True)
            frame[feature.name] = pd.Series([value if there else None for value, there in known], dtype=object)
            references.append(feature.ref)
        store.write_to_online_store(view.name, frame)
    return store, references


def _items(plan: Plan) -> View:
    return plan.of_entity("item")[0]


def _usual_user(client: Any, keys: Keys, plan: Plan) -> tuple[str, list[str]]:
    """The user with the median number of categories."""
    sizes = sorted(
        (client.hlen(key), key)
        for number in range(keys.partitions)
        for key in client.scan_iter(keys.user(number, 1, "*"), count=1_000)
    )
    _, key = sizes[len(sizes) // 2]
    return key.decode().rpartition(":")[2], UserState(plan, client.hgetall(key)).categories()


def _interleaved(measured: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Per round the median of its calls, in seconds."""
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, call in measured.items():
            call()
            times = []
            for _ in range(CALLS):
                began = time.perf_counter()
                call()
                times.append(time.perf_counter() - began)
            found[name].append(statistics.median(times))
    return found


def _time(rounds: Sequence[float]) -> Time:
    us = np.array(rounds) * 1e6
    return Time(round(float(np.median(us)), 1), round(float(us.min()), 1), round(float(us.max()), 1))
