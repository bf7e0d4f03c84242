"""What one read asks Redis for, and how Feast's rows are made from the answers; blocking or async.

Each reading queues its commands on a pipeline (one atomic round trip), and is given the answers and the clock's now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from feast import FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from behavior.column import Column
from behavior.errors import BadInput
from behavior.partition import partition_of
from behavior.plan import Plan, View
from behavior.state import State, decode
from deployment.keys import Keys
from deployment.snapshot import decode as decode_snapshot
from deployment.user_state import columns, state_field
from feast_plugin.plain_rows import EPOCH, FeastRow, plain_key, row_of


class Reading(Protocol):
    """One read of one view."""

    def queue(self, pipeline: Any) -> None:
        """Put the commands on a pipeline, blocking or async."""

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """One row per entity key, from the answers to the queued commands."""


@dataclass(frozen=True, slots=True)
class PlainReading:
    """Rows of a plain view as they were pushed."""

    keys: Keys
    table: FeatureView
    entities: Sequence[EntityKey]
    wanted: Sequence[str]

    def queue(self, pipeline: Any) -> None:
        """One hash per entity."""
        for entity in self.entities:
            pipeline.hgetall(plain_key(self.keys, self.table.name, entity))

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """The stored rows with their own instants."""
        return [row_of(stored, self.wanted, self.table.ttl, now) for stored in answers]


@dataclass(frozen=True, slots=True)
class SnapshotReading:
    """Values of a view of `category` or `all`, at the snapshot's instant."""

    keys: Keys
    plan: Plan
    view: View
    entities: Sequence[EntityKey]
    wanted: Sequence[str]

    def queue(self, pipeline: Any) -> None:
        """The snapshot."""
        pipeline.get(self.keys.snapshot())

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """The values that the scorer holds in memory; all missing as long as there is no snapshot."""
        if answers[0] is None:
            return [(None, None)] * len(self.entities)
        snapshot = decode_snapshot(answers[0])
        ids = [_key_values(entity)[self.view.join_keys[0]] for entity in self.entities]
        finals = snapshot.lookup(self.plan, self.view.name, ids)
        part = snapshot.views.get(self.view.name)
        seen = [None if part is None or (row := part.index.get(each)) is None or not part.seen_e.valid[row]
                else int(part.seen_e.values[row]) for each in ids]  # fmt: skip
        return [_row(self.view, self.wanted, finals, place, seen_e, snapshot.s) for place, seen_e in enumerate(seen)]


@dataclass(frozen=True, slots=True)
class UserReading:
    """Values of a view of users or of (user, category), from the state that the fold keeps."""

    keys: Keys
    partitions: int
    view: View
    entities: Sequence[EntityKey]
    wanted: Sequence[str]

    def queue(self, pipeline: Any) -> None:
        """Per entity its state and its partition's offset, which belong to the same instant."""
        for entity in self.entities:
            values = _key_values(entity)
            partition = partition_of(values["user_id"], self.partitions)
            pipeline.hget(self.keys.user(partition, values["user_id"]), state_field(self.view, values.get("category")))
            pipeline.hget(self.keys.meta(partition), "offset")

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """The state's values at as_of = max(now, offset + 1 µs), the instant that the scorer would answer for."""
        rows = []
        for stored, offset in zip(answers[::2], answers[1::2], strict=True):
            as_of = max(now, int(offset or -1) + 1)
            state: State | None = None if stored is None else decode(self.view, stored)
            finals = columns(self.view, [state], as_of)
            rows.append(_row(self.view, self.wanted, finals, 0, None if state is None else state.seen_e, as_of))
        return rows


def _row(
    view: View, wanted: Sequence[str], finals: dict[str, Column], place: int, seen_e: int | None, as_of: int
) -> FeastRow:
    """Feast's row, with the instant that it holds for; (None, None) for an entity that is missing then."""
    at = as_of - as_of % view.interval_us
    if seen_e is None or at - seen_e >= view.retention_us:
        return None, None
    return _instant(at), {name: _value(finals[f"{view.name}:{name}"], place) for name in wanted}


def _value(column: Column, place: int) -> Value:
    if not column.valid[place]:
        return Value()
    value = column.values[place]
    if column.values.dtype == object:
        return Value(string_val=value)
    if column.values.dtype == np.float32:
        return Value(float_val=float(value))
    return Value(int64_val=int(value))


def _key_values(entity: EntityKey) -> dict[str, str]:
    """Join key -> id; they come in the request's order, so they are looked up by name.

    Raises BadInput for an id that is no text.
    """
    for name, value in zip(entity.join_keys, entity.entity_values, strict=True):
        if value.WhichOneof("val") != "string_val":
            raise BadInput(f"{name} must be a text; ids are strings everywhere")
    return {name: value.string_val for name, value in zip(entity.join_keys, entity.entity_values, strict=True)}


def _instant(t: int) -> datetime:
    return EPOCH + timedelta(microseconds=t)
