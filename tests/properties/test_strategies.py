"""What is drawn for the properties is as nasty as it promises, and the oracle lists all instants that matter in it."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.event import Admitted
from tests import oracle
from tests.properties.strategies import ENTITIES, by_instant, entity_keys, features_of, instants, logs, view_definition


def test_every_feature_takes_several_values_on_the_logs_of_the_strategies() -> None:
    """Otherwise the properties that are held against the oracle would prove little of that feature."""
    seen: dict[tuple[str, str], set[str]] = {}

    @settings(max_examples=250, deadline=None, database=None, derandomize=True)
    @given(st.data())
    def look(data: st.DataObject) -> None:
        log = data.draw(logs())
        for entity in ENTITIES:
            definition = view_definition(entity)
            for t in data.draw(instants(definition, log, at_most=3)):
                key = data.draw(st.sampled_from(entity_keys(definition)))
                for name, value in oracle.final_values(definition, log, key, t).items():
                    seen.setdefault((entity, name), set()).add(repr(value))

    look()
    dull = {name for name, values in seen.items() if len(values - {"None"}) < 2}
    assert not dull
    assert {entity for entity, _ in seen} == set(ENTITIES)


@given(logs())
@settings(max_examples=50, deadline=None)
def test_pieces_of_a_log_share_no_instant(log: list[Admitted]) -> None:
    """`by_instant` leaves out nothing, and no two of its pieces have a k in common."""
    pieces = by_instant(log)
    assert list(itertools.chain(*pieces)) == log
    assert len({a.k for a in log}) == len(pieces)


@pytest.mark.parametrize("entity", ENTITIES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_nothing_but_ages_changes_between_change_points(data: st.DataObject, entity: str) -> None:
    """One microsecond before a change point every value is what it was at the change point before."""
    log = data.draw(logs(max_size=6), "log")
    timeless = tuple(spec for spec in features_of(entity) if spec.kind != "age")
    definition = view_definition(entity, timeless)
    points = oracle.change_points(definition, log)
    for before, after in data.draw(st.lists(st.sampled_from(list(itertools.pairwise(points))), max_size=8)):
        for key in entity_keys(definition):
            now = oracle.final_values(definition, log, key, before)
            assert oracle.final_values(definition, log, key, after - 1) == now, (key, before, after)
