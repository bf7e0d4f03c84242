"""The offline derivation of single values: the oracle's, bit for bit, at any instant and up to any admission."""

from collections.abc import Iterator, Sequence

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.event import Admitted, Event
from behavior.plan import View
from deployment.archive import to_table
from deployment.database import connected
from tests import oracle
from tests.oracle import DAY, MINUTE, answers_at
from tests.properties.answers import plain
from tests.properties.strategies import ENTITIES, entity_keys, instants, logs, view_definition
from training.as_of import Questions, as_of, events_behind

NASTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VIEWS = {entity: View(view_definition(entity)) for entity in ENTITIES}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connected(threads=1) as made:
        yield made


def told(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    log: Sequence[Admitted],
    asked: Sequence[tuple[tuple[str, ...], int, int]],
    *,
    ideal: bool = False,
) -> list[dict[str, object]]:
    """The values as Python has them, one row per question."""
    connection.register("events", to_table(log))
    found = as_of(connection, view, Questions.of(asked), ideal=ideal)
    return [{each.name: plain(found[each.ref], row) for each in view.features} for row in range(len(asked))]


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_every_value_is_the_oracles(connection: duckdb.DuckDBPyConnection, data: st.DataObject, entity: str) -> None:
    """Every kind of feature, for every entity, at the edges of hops, windows and retentions."""
    view, log = VIEWS[entity], data.draw(logs(), "log")
    when = data.draw(instants(view.definition, log, at_most=12))
    asked = [(key, t, answers_at(view.definition, t)) for key in entity_keys(view.definition) for t in when]
    expected = [oracle.final_values(view.definition, log, key, t) for key, t, _ in asked]
    assert told(connection, view, log, asked) == expected


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_what_came_after_the_offset_is_not_known(
    connection: duckdb.DuckDBPyConnection, data: st.DataObject, entity: str
) -> None:
    """Windows end at the instant, but only events up to the bound are in them, and only these begin states anew."""
    view, log = VIEWS[entity], data.draw(logs(), "log")
    t = max(a.k for a in log) + data.draw(st.sampled_from((1, MINUTE, 30 * DAY)))
    bounds = data.draw(st.lists(st.sampled_from([a.k for a in log]), min_size=1, max_size=4, unique=True))
    asked = [(key, t, bound + shift) for key in entity_keys(view.definition) for bound in bounds for shift in (0, 1)]
    expected = [
        oracle.final_values(view.definition, [a for a in log if a.k < bound], key, t) for key, _, bound in asked
    ]
    assert told(connection, view, log, asked) == expected


@pytest.mark.parametrize("entity", ENTITIES)
@NASTY
@given(data=st.data())
def test_the_ideal_is_the_oracle_where_every_event_is_admitted_when_it_happens(
    connection: duckdb.DuckDBPyConnection, data: st.DataObject, entity: str
) -> None:
    """Neither late events nor what was not folded yet: k is e; what happened at once stays in the log's order."""
    view, log = VIEWS[entity], data.draw(logs(), "log")
    in_order = sorted(log, key=lambda a: (a.k, a.event.message_id))
    # The oracle breaks ties of (e, e) by the message id: here its order is the log's.
    log = [Admitted(renamed(a, f"m{nth:04}"), a.e, a.k) for nth, a in enumerate(in_order)]
    punctual = [Admitted(a.event, a.e, a.e) for a in log]
    when = data.draw(instants(view.definition, punctual, at_most=12))
    asked = [(key, t, 0) for key in entity_keys(view.definition) for t in when]
    expected = [oracle.final_values(view.definition, punctual, key, t) for key, t, _ in asked]
    assert told(connection, view, log, asked, ideal=True) == expected


def renamed(admitted: Admitted, message_id: str) -> Event:
    """The same event under another message id."""
    return msgspec.structs.replace(admitted.event, message_id=message_id)


def test_nobody_asks_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """No question gives columns without rows."""
    found = as_of(connection, VIEWS["user"], Questions.of([]), events="events")
    assert all(len(column) == 0 for column in found.values())


@settings(NASTY, max_examples=10)
@given(data=st.data())
def test_the_events_behind_a_count_are_those_that_are_counted(
    connection: duckdb.DuckDBPyConnection, data: st.DataObject
) -> None:
    """As many as the count says; the latest of them first, each as the archive has it."""
    view, log = VIEWS["user"], data.draw(logs(), "log")
    (feature,) = [each for each in view.features if each.name == "any_count_7d"]
    t = max(a.k for a in log) + data.draw(st.sampled_from((1, MINUTE, 7 * DAY)))
    connection.register("events", to_table(log))
    for key in entity_keys(view.definition):
        of_key = [a for a in log if oracle.belongs(view.definition, a.event) and (a.event.user_id,) == key]
        remembered = oracle.since_it_began_afresh(view.definition, of_key) if of_key else []
        counted = oracle.in_window(feature.aggregation, remembered, t)
        newest = sorted(counted, key=lambda a: (a.k, a.event.message_id), reverse=True)
        behind = events_behind(connection, view, feature, (key, t, t), latest=3)
        assert behind.number == len(counted)
        assert [(row["e"], row["k"], row["message_id"]) for row in behind.latest] == [
            (a.e, a.k, a.event.message_id) for a in newest[:3]
        ]
