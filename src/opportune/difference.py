"""One served value that is not what the events say, with both derivations, so that a person can tell which is wrong.

The same events are also folded anew, by the code that serves: if that gives what the archive gives, a stored state was
wrong; if it gives what was served, the two definitions differ.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior import state as states
from behavior.column import Column
from behavior.finals import finalise
from behavior.plan import Feature, View
from behavior.served import Served
from deployment.archive import EVENTS as COLUMNS
from deployment.archive import to_events

if TYPE_CHECKING:
    import duckdb

# Events that are shown of those behind a value, and that are folded anew at most.
SHOWN_EVENTS = 10
MOST_FOLDED = 50_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of one served row: the question (entity, t, before) that it answers, what was served, what is derived.

    served, derived    float32, as the model sees them
    """

    view: View
    feature: Feature
    question: tuple[tuple[str, ...], int, int]
    served: np.float32
    derived: np.float32


@dataclass(frozen=True, slots=True)
class Difference:
    """A served value beside its derivation.

    served, derived             float32 as the model sees it, None for NaN, and its bits in hexadecimal
    offline, folded             the final value by the events, and by folding them anew (None: missing, or too many)
    offline_raw, folded_raw     the raw values that these are made from
    events, latest              how many events are behind the value, and the latest of them
    """

    feature: str
    request_id: str
    user_id: str
    candidate: str
    entity: tuple[str, ...]
    as_of: int
    offset: int
    s: int
    bundle_id: str
    served: float | None
    served_bits: str
    derived: float | None
    derived_bits: str
    offline: Any
    offline_raw: dict[str, Any]
    folded: Any
    folded_raw: dict[str, Any] | None
    events: int
    latest: list[dict[str, Any]]


def explain(
    connection: "duckdb.DuckDBPyConnection",
    cell: Cell,
    served: Served,
    candidate: str,
    finals: Column,
    row: int,
    events: str,
) -> Difference:
    """The difference in one cell; `finals` holds the derived final values of the feature, in `row` that of the cell."""
    from training.as_of import Questions, events_behind, raw_as_of

    view, feature = cell.view, cell.feature
    raw, _ = raw_as_of(connection, view, Questions.of([cell.question]), events=events)
    behind = events_behind(connection, view, feature, cell.question, latest=SHOWN_EVENTS, events=events)
    folded = _folded(connection, cell, events)
    return Difference(
        feature=feature.ref, request_id=served.request_id, user_id=served.user_id, candidate=candidate,
        entity=cell.question[0], as_of=served.as_of, offset=served.offset, s=served.s, bundle_id=served.bundle_id,
        served=_number(cell.served), served_bits=_bits(cell.served), derived=_number(cell.derived),
        derived_bits=_bits(cell.derived), offline=plain(finals, row),
        offline_raw={name: plain(raw[name], 0) for name in feature.raws},
        folded=None if folded is None else folded[0], folded_raw=None if folded is None else folded[1],
        events=behind.number, latest=behind.latest,
    )  # fmt: skip


def plain(column: Column, row: int) -> Any:
    """A value as Python has it, None for one that is missing."""
    if not column.valid[row]:
        return None
    value = column.values[row]
    return value.item() if isinstance(value, np.generic) else value


def _folded(connection: "duckdb.DuckDBPyConnection", cell: Cell, events: str) -> tuple[Any, dict[str, Any]] | None:
    """The final and the raw values after folding the entity's events one by one; None if there are too many."""
    view, (entity, t, before) = cell.view, cell.question
    keys = {key: value for key, value in zip(view.join_keys, entity, strict=True) if key != "all_id"}
    where = " AND ".join(["k < ?", *(f"{key} = ?" for key in keys)])
    table = connection.execute(
        f"SELECT {', '.join(COLUMNS.names)} FROM {events} WHERE {where} ORDER BY k, message_id LIMIT {MOST_FOLDED + 1}",
        [before, *keys.values()],
    ).to_arrow_table()
    if table.num_rows > MOST_FOLDED:
        return None
    state = None
    for event in to_events(table):
        if states.belongs(view, event):
            state = states.fold(view, state, event)
    if state is None:
        return None, {}
    at = t - t % view.interval_us
    values = states.raw_at(view, state, at)
    raw = {each.name: Column.of([value], each.dtype) for each, value in zip(view.raws, values, strict=True)}
    finals = finalise(view, raw, Column.of([state.seen_e], "int64"), np.array([t], dtype=np.int64))
    return plain(finals[cell.feature.ref], 0), {name: plain(raw[name], 0) for name in cell.feature.raws}


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def _bits(value: np.float32) -> str:
    return f"0x{int(np.float32(value).view(np.uint32)):08x}"
