"""Feast's own Redis online store, filled with the values of the model's features that the scorer would see now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from behavior.column import Column
from behavior.plan import ALL_ID, Plan, View
from deployment.clock import system_now
from deployment.cold_reading import ask_rows, ask_user, rows_read, user_read
from deployment.keys import Keys
from deployment.user_state import UserState
from opportune.progress import Tell
from tests.benchmarks.first_write import FEATURES


@dataclass(frozen=True, slots=True)
class Source:
    """Where values are read: the deployment's Redis; `users` by the id that a client knows -> the pseudonym."""

    client: Any
    keys: Keys
    plan: Plan
    users: Mapping[str, str]
    categories: Sequence[str]


def filled(directory: Path, port: int, source: Source, inputs: Sequence[str], tell: Tell) -> int:
    """Make a Feast repository in the directory with all the inputs that are features, and write their values.

    Returns how many rows were written to the online store on that port.
    """
    import pandas as pd
    from feast import FeatureService, FeatureStore

    store = _store(directory, port)
    views = {view.name: view for view in source.plan.views if any(_is_of(name, view) for name in inputs)}
    made = {name: _feast_view(view, inputs, directory) for name, view in views.items()}
    entities = {each.name: each for view in made.values() for each in _entities(view.entities)}
    store.apply([*entities.values(), *made.values(), FeatureService(name=FEATURES, features=list(made.values()))])
    store = FeatureStore(repo_path=str(directory))
    frames: dict[str, list[Any]] = {}
    for view, ids, columns in _values(source, views):
        wanted = [feature for feature in view.features if feature.ref in inputs]
        frames.setdefault(view.name, []).append(_frame(ids, {each.name: columns[each.ref] for each in wanted}))
    whole = {name: pd.concat(pieces, ignore_index=True) for name, pieces in frames.items()}
    for number, (name, frame) in enumerate(whole.items()):
        tell("filling Feast's store", number, len(whole))
        store.write_to_online_store(name, frame)
    return sum(len(frame) for frame in whole.values())


def _store(directory: Path, port: int) -> Any:
    from feast import FeatureStore

    (directory / "feature_store.yaml").write_text(
        yaml.safe_dump(
            {
                "project": "bench", "provider": "local", "registry": str(directory / "registry.db"),
                "entity_key_serialization_version": 3, "offline_store": {"type": "file"},
                "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{port}"},
            }
        )
    )  # fmt: skip
    return FeatureStore(repo_path=str(directory))


def _is_of(name: str, view: View) -> bool:
    return name.partition(":")[0] == view.name


def _entities(keys: Sequence[str]) -> list[Any]:
    from feast import Entity, ValueType

    return [Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in keys]


def _feast_view(view: View, inputs: Sequence[str], directory: Path) -> Any:
    from feast import FeatureView, Field, FileSource

    from feast_plugin.definitions import DTYPES

    return FeatureView(
        name=view.name, entities=_entities(view.join_keys),
        schema=[Field(name=each.name, dtype=DTYPES[each.dtype]) for each in view.features if each.ref in inputs],
        source=FileSource(name=f"{view.name}_source", path=str(directory / "none.parquet"), timestamp_field="ts"),
    )  # fmt: skip


def _values(
    source: Source, views: Mapping[str, View]
) -> Iterator[tuple[View, dict[str, list[str]], dict[str, Column]]]:
    """Per view, in pieces: the ids of its entities by join key, and their final values."""
    for view in source.plan.snapshot_views:
        if view.name in views:
            ids = [ALL_ID] if view.entity == "all" else list(source.categories)
            read = rows_read(view, ask_rows(source.client, source.keys, 1, view, ids), 1)
            assert read is not None
            yield view, {view.join_keys[0]: ids}, read.finals
    for name, pseudonym in source.users.items():
        state, now = _state(source, pseudonym), system_now()
        known = state.categories()
        for view in source.plan.user_views:
            if view.name in views and view.entity == "user":
                yield view, {"user_id": [name]}, state.columns(view, known, now)
            elif view.name in views and known:
                yield view, {"user_id": [name] * len(known), "category": known}, state.columns(view, known, now)


def _state(source: Source, pseudonym: str) -> UserState:
    read = user_read(ask_user(source.client, source.keys, 1, pseudonym), 1)
    return UserState(source.plan, dict(zip(read.fields[::2], read.fields[1::2], strict=True)))


def _frame(ids: Mapping[str, Sequence[str]], columns: Mapping[str, Column]) -> Any:
    import pandas as pd

    frame = pd.DataFrame(dict(ids) | {"ts": datetime.now(UTC)})
    for name, column in columns.items():
        known = zip(column.values.tolist(), column.valid, strict=True)
        frame[name] = pd.Series([value if there else None for value, there in known], dtype=object)
    return frame
