"""What a feature was worth at an instant, straight from the events: the derivation that served values are held against.

    questions (entity, t, before) ⋈ the entity's events with k < before, since its state began ──▶ one aggregate
    per raw column, the window of design 4.2 written out ──▶ behavior.vector.finalise

There are no change points and no states in it: of the code that makes tables and states it shares only which events a
slot takes (`behavior.matching`). It is for a few hundred questions, whose entities' events it reads all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from behavior.column import Column
from behavior.event import PERSONALIZATION
from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.finals import finalise
from behavior.members import Distinct, Recent
from behavior.plan import ALL_ID, Feature, Raw, View
from behavior.sums import Buckets, Sum
from behavior.window import hop_of
from training.chosen import text

if TYPE_CHECKING:
    import duckdb

_ASKED = "asked_as_of"


@dataclass(frozen=True, slots=True)
class Questions:
    """n questions about entities of one view.

    entities   the entity of each, in the order of the view's join keys
    t          int64[n], µs: where windows end; a snapshot view answers at its last whole interval
    before     int64[n], µs: only events with k < before are known: offset + 1 of a user's partition, s of a snapshot
    """

    entities: Sequence[tuple[str, ...]]
    t: np.ndarray
    before: np.ndarray

    @classmethod
    def of(cls, asked: Sequence[tuple[tuple[str, ...], int, int]]) -> "Questions":
        """Questions from (entity, t, before) each."""
        t, before = (np.array([each[place] for each in asked], dtype=np.int64) for place in (1, 2))
        return cls([entity for entity, _, _ in asked], t, before)

    def __len__(self) -> int:
        return len(self.entities)


@dataclass(frozen=True, slots=True)
class Behind:
    """The events that a value is made from: how many, and the latest of them, newest first, as the archive has them."""

    number: int
    latest: list[dict[str, Any]]


def as_of(
    connection: "duckdb.DuckDBPyConnection",
    view: View,
    questions: Questions,
    *,
    ideal: bool = False,
    events: str = "events",
) -> dict[str, Column]:
    """Final values of the view, `{view:feature: column of n rows}`, from a relation with the archive's columns.

    With `ideal` every event counts as admitted at its event time and nothing but t bounds what is known: what the value
    would have been without lag and without late events.
    """
    raw, seen_e = raw_as_of(connection, view, questions, ideal=ideal, events=events)
    return finalise(view, raw, seen_e, questions.t)


def raw_as_of(
    connection: "duckdb.DuckDBPyConnection",
    view: View,
    questions: Questions,
    *,
    ideal: bool = False,
    events: str = "events",
) -> tuple[dict[str, Column], Column]:
    """The raw columns behind the same values, and when each entity was last seen; n rows each."""
    instants = questions.t - questions.t % view.interval_us
    bounds = instants if ideal else np.minimum(questions.before, instants)
    asked = list(zip(questions.entities, instants.tolist(), bounds.tolist(), strict=True))
    points = {each: point for point, each in enumerate(dict.fromkeys(asked))}
    rows: list[tuple[Any, ...]] = [(None,) * (1 + len(view.raws))] * len(points)
    with _registered(connection, view, list(points)):
        for point, *values in connection.execute(_statement(view, events, ideal)).fetchall():
            rows[point] = tuple(values)
    told = [rows[points[each]] for each in asked]
    raw = {each.name: Column.of([row[place] for row in told], each.dtype) for place, each in enumerate(view.raws, 1)}
    return raw, Column.of([row[0] for row in told], "int64")


def events_behind(
    connection: "duckdb.DuckDBPyConnection",
    view: View,
    feature: Feature,
    question: tuple[tuple[str, ...], int, int],
    *,
    latest: int,
    events: str = "events",
) -> Behind:
    """The events that a feature's value is made from, for one question (entity, t, before); the `latest` of them."""
    counts = " OR ".join(f"({_counts(raw)})" for raw in view.raws if raw.name in feature.raws)
    entity, t, before = question
    instant = t - t % view.interval_us
    with _registered(connection, view, [(entity, instant, min(before, instant))]):
        found = connection.execute(
            f"{_known(view, events, ideal=False)}\n"
            "SELECT count(*) OVER () AS number, kind, e, k, item, category, value, properties, message_id\n"
            f"FROM known WHERE {counts} ORDER BY k DESC, message_id DESC LIMIT {latest}"
        )
        names = [column[0] for column in found.description or ()]
        told = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return Behind(told[0]["number"] if told else 0, [{n: v for n, v in row.items() if n != "number"} for row in told])


@contextmanager
def _registered(
    connection: "duckdb.DuckDBPyConnection", view: View, points: Sequence[tuple[tuple[str, ...], int, int]]
) -> Iterator[None]:
    """The points as the relation `asked_as_of`: `point, <join keys>, instant, bound`."""
    columns = {
        "point": pa.array(range(len(points)), pa.int64()),
        **{
            key: pa.array([entity[place] for entity, _, _ in points], pa.string())
            for place, key in enumerate(view.join_keys)
        },
        "instant": pa.array([instant for _, instant, _ in points], pa.int64()),
        "bound": pa.array([bound for _, _, bound in points], pa.int64()),
    }
    connection.register(_ASKED, pa.table(columns))
    try:
        yield
    finally:
        connection.unregister(_ASKED)


def _statement(view: View, events: str, ideal: bool) -> str:
    values = ",\n       ".join(f'{_value(raw)} AS "{raw.name}"' for raw in view.raws)
    return f"{_known(view, events, ideal)}\nSELECT point, max(e) AS seen_e,\n       {values}\nFROM known GROUP BY point"


def _known(view: View, events: str, ideal: bool) -> str:
    """`known`: for each question the events that its entity remembers, with `instant`, where windows end.

    An event that is admitted the retention or more after the latest event time before it begins a state anew; what
    came before is forgotten.
    """
    keys, retention = ", ".join(view.join_keys), view.retention_us
    admitted = "e AS k, k AS taken" if ideal else "k, k AS taken"
    everybody = f", '{ALL_ID}' AS all_id" if view.join_keys == ("all_id",) else ""
    kinds = ", ".join(text(kind) for kind in sorted(view.selects))
    conditions = [f"kind IN ({kinds})", f"(purposes & {PERSONALIZATION}) <> 0"]
    if view.needs is not None:
        conditions.append(f"{view.needs} IS NOT NULL")
    return f"""\
WITH chosen AS (
  SELECT * EXCLUDE (k), {admitted}{everybody} FROM {events} WHERE {" AND ".join(conditions)}
), theirs AS (
  SELECT * FROM chosen SEMI JOIN {_ASKED} USING ({keys})
), silent AS (
  SELECT {keys} FROM theirs GROUP BY {keys} HAVING max(k) - min(e) >= {retention}
), begun AS (
  SELECT {keys}, k AS began FROM (
    SELECT {keys}, k,
           max(e) OVER (PARTITION BY {keys} ORDER BY k RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_e
    FROM theirs SEMI JOIN silent USING ({keys})
  ) WHERE k - before_e >= {retention}
), asked AS (
  SELECT point, {keys}, instant, bound, max(began) FILTER (WHERE began < bound) AS began
  FROM {_ASKED} LEFT JOIN begun USING ({keys}) GROUP BY ALL
), known AS (
  SELECT * FROM asked JOIN theirs USING ({keys}) WHERE k < bound AND (began IS NULL OR k >= began)
)"""


def _value(raw: Raw) -> str:
    """One raw column: an aggregate over what is known."""
    slot, counts = raw.slot, f"FILTER (WHERE {_counts(raw)})"
    if raw.asked.hops:
        assert raw.asked.over_us is not None
        return f"count(DISTINCT e - e % {hop_of(raw.asked.over_us)}) {counts}"
    if isinstance(slot, Buckets | Sum):
        added = " + ".join(term.sql for term in slot.terms)
        return f"CAST(coalesce(sum({added}) {counts}, 0) AS BIGINT)"
    if isinstance(slot, ExtremeTime):
        return f"{'min' if slot.is_first else 'max'}(e) {counts}"
    if isinstance(slot, ExtremeValue):
        chosen = "arg_min" if slot.is_first else "arg_max"
        return f"{chosen}({slot.field}, (e, taken, message_id)) {counts}"
    if isinstance(slot, Distinct):
        return f"least(count(DISTINCT {slot.value_sql}) {counts}, {slot.cap})"
    assert isinstance(slot, Recent)
    said = "kind || '|' || CAST(e AS VARCHAR) || '|' || coalesce(item, '')"
    newest = f"list({said} ORDER BY k DESC, taken DESC, message_id DESC) {counts}"
    return f"coalesce(list_slice({newest}, 1, {slot.size}), CAST([] AS VARCHAR[]))"


def _counts(raw: Raw) -> str:
    """Which of the known events count: what the slot takes, within the window that the column is asked for."""
    slot = raw.slot
    if isinstance(slot, Buckets | Sum):
        matches = " OR ".join(f"({term.match.sql})" for term in slot.terms)
    elif isinstance(slot, ExtremeValue):
        matches = f"{slot.match.sql} AND {slot.field} IS NOT NULL"
    elif isinstance(slot, Recent):
        matches = f"kind IN ({', '.join(text(kind) for kind in slot.events)})"
    else:
        assert isinstance(slot, ExtremeTime | Distinct)
        matches = slot.match.sql
    over_us = raw.asked.over_us
    if over_us is None:
        return f"({matches})"
    hop = hop_of(over_us)
    return f"({matches}) AND e - e % {hop} > instant - instant % {hop} - {over_us}"
