"""What the floor answers: the state that a log makes of an entity, as other processes find it, and its final values."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from behavior import state as states
from behavior.column import Column
from behavior.event import Admitted
from behavior.finals import finalise
from behavior.plan import View
from behavior.state import State
from tests import oracle
from tests.properties.strategies import by_instant


def of_entity(view: View, log: Iterable[Admitted], key: tuple[str, ...]) -> list[Admitted]:
    """What the entity's state is made of, by the floor's own `belongs`."""
    return [a for a in log if states.belongs(view, a) and oracle.key_of(view.definition, a.event) == key]


def pieces(view: View, events: list[Admitted]) -> list[list[Admitted]]:
    """The log in the pieces between which the view's state may be stored: for users only between two instants."""
    return [[each] for each in events] if view.is_snapshot else by_instant(events)


def folded(view: View, events: Iterable[Admitted], state: State | None = None) -> State | None:
    """The state after the events in the given order."""
    for admitted in events:
        state = states.fold(view, state, admitted)
    return state


def restarted(view: View, state: State | None) -> State | None:
    """The state as another process finds it."""
    return None if state is None else states.decode(view, states.encode(view, state))


def stored(view: View, events: Iterable[Admitted]) -> bytes | None:
    """The bytes of the state after the events; None if there are none."""
    state = folded(view, events)
    return None if state is None else states.encode(view, state)


def raw_columns(view: View, rows: Sequence[Sequence[object] | None]) -> dict[str, Column]:
    """Raw columns by name, of rows as `state.raw_at` gives them; None is an entity of which nothing is stored."""
    return {
        raw.name: Column.of([None if row is None else row[place] for row in rows], raw.dtype)
        for place, raw in enumerate(view.raws)
    }


def final_rows(view: View, rows: Sequence[tuple[State | None, int]]) -> list[dict[str, object]]:
    """The final values of the view for (state, instant) pairs, None for missing; all rows are finalised at once."""
    raw = [
        None if state is None else states.raw_at(view, state, oracle.answers_at(view.definition, t))
        for state, t in rows
    ]
    seen_e = Column.of([None if state is None else state.seen_e for state, _ in rows], "int64")
    return finals(view, raw_columns(view, raw), seen_e, [t for _, t in rows])


def finals(view: View, raw: Mapping[str, Column], seen_e: Column, when: Sequence[int]) -> list[dict[str, object]]:
    """Final values by feature, one row per instant, as Python has them."""
    found = finalise(view, raw, seen_e, np.array(when, dtype=np.int64))
    return [{each.name: plain(found[each.ref], row) for each in view.features} for row in range(len(when))]


def plain(column: Column, row: int) -> object:
    """A value as Python has it, None for one that is not there."""
    if not column.valid[row]:
        return None
    found = column.values[row]
    return found.item() if isinstance(found, np.generic) else found
