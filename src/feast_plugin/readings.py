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
from feast.protos.feast.types.Value_pb2 import StringList, Value

from behavior.column import Column
from behavior.errors import BadInput
from behavior.finals import finalise
from behavior.plan import View
from behavior.readout import readout
from deployment.cold_reading import ask_rows, ask_user, rows_read, user_read
from deployment.generations import FIRST
from deployment.keys import Keys
from deployment.user_state import state_field
from feast_plugin.plain_rows import EPOCH, FeastRow, plain_key, row_of

# What stands for the snapshot where generations are by partition.
SNAPSHOT = -1


class Reading(Protocol):
    """One read of one view."""

    def queue(self, pipeline: Any) -> None:
        """Put the commands on a pipeline, blocking or async."""

    def moved(self, answers: list[Any]) -> dict[int, int]:
        """Which partitions (or SNAPSHOT) another generation serves, and which; empty if the answers can be taken."""

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

    def moved(self, answers: list[Any]) -> dict[int, int]:
        """Rows that were pushed belong to no generation."""
        return {}

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """The stored rows with their own instants."""
        return [row_of(stored, self.wanted, self.table.ttl, now) for stored in answers]


@dataclass(frozen=True, slots=True)
class SnapshotReading:
    """Values of a view of `item`, `category` or `all`, at the snapshot's instant."""

    keys: Keys
    generation: int
    view: View
    entities: Sequence[EntityKey]
    wanted: Sequence[str]

    def queue(self, pipeline: Any) -> None:
        """The rows of the snapshot."""
        ids = [key_values(entity)[self.view.join_keys[0]] for entity in self.entities]
        ask_rows(pipeline, self.keys, self.generation, self.view, ids)

    def moved(self, answers: list[Any]) -> dict[int, int]:
        """The snapshot is one, of all partitions."""
        found = _generation(answers[0])
        return {} if found == self.generation else {SNAPSHOT: found}

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """The values that the scorer holds in memory; all missing as long as there is no snapshot."""
        found = rows_read(self.view, answers[0], self.generation)
        if found is None:
            return [(None, None)] * len(self.entities)
        return [
            _row(self.view, self.wanted, found.finals, place, _int(found.seen_e, place), found.s)
            for place in range(len(self.entities))
        ]


@dataclass(frozen=True, slots=True)
class UserReading:
    """Values of a view of users or of (user, category), from the state that the fold keeps."""

    keys: Keys
    generation: int
    view: View
    entities: Sequence[EntityKey]
    wanted: Sequence[str]

    def queue(self, pipeline: Any) -> None:
        """Per entity its state and its partition's offset, which belong to the same instant."""
        for entity in self.entities:
            values = key_values(entity)
            field = state_field(self.view, values.get("category"))
            ask_user(pipeline, self.keys, self.generation, values["user_id"], [field])

    def moved(self, answers: list[Any]) -> dict[int, int]:
        """Each partition is moved on its own."""
        homes = [self.keys.partition_of(key_values(entity)["user_id"]) for entity in self.entities]
        found = {home: _generation(answer) for home, answer in zip(homes, answers, strict=True)}
        return {home: generation for home, generation in found.items() if generation != self.generation}

    def rows(self, answers: list[Any], now: int) -> list[FeastRow]:
        """The state's values at as_of = max(now, offset + 1 µs), the instant that the scorer would answer for."""
        found = [user_read(answer, self.generation) for answer in answers]
        as_of = np.array([max(now, each.offset + 1) for each in found], dtype=np.int64)
        read = readout(self.view, [each.fields[0] for each in found], as_of)
        finals = finalise(self.view, read.raw, read.seen_e, as_of)
        return [
            _row(self.view, self.wanted, finals, place, _int(read.seen_e, place), int(t))
            for place, t in enumerate(as_of)
        ]


def _int(column: Column, place: int) -> int | None:
    return int(column.values[place]) if column.valid[place] else None


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
    if isinstance(value, list):
        return Value(string_list_val=StringList(val=value))
    if column.values.dtype == object:
        return Value(string_val=value)
    if column.values.dtype == np.float32:
        return Value(float_val=float(value))
    return Value(int64_val=int(value))


def _generation(answer: Any) -> int:
    return int(answer[0] or FIRST)


def key_values(entity: EntityKey) -> dict[str, str]:
    """Join key -> id; they come in the request's order, so they are looked up by name.

    Raises BadInput for an id that is no text.
    """
    for name, value in zip(entity.join_keys, entity.entity_values, strict=True):
        if value.WhichOneof("val") != "string_val":
            raise BadInput(f"{name} must be a text; ids are strings everywhere")
    return {name: value.string_val for name, value in zip(entity.join_keys, entity.entity_values, strict=True)}


def _instant(t: int) -> datetime:
    return EPOCH + timedelta(microseconds=t)
