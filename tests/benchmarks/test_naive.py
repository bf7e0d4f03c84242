"""The oracle for benchmarks is the oracle: on nasty logs every value of every entity is the same."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.benchmarks.naive import EntityLog
from tests.properties.strategies import ENTITIES, entity_keys, instants, logs, view_definition


@pytest.mark.parametrize("entity", ENTITIES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_columns_answer_as_the_oracle_does(data: st.DataObject, entity: str) -> None:
    """Ties, late events, gaps, consent, absent parts, windows, caps: value for value, and of the same type."""
    definition = view_definition(entity)
    log = data.draw(logs(max_size=12), "log")
    when = data.draw(instants(definition, log, at_most=15), "instants")
    for key in entity_keys(definition):
        own = EntityLog.of([a for a in log if oracle.key_of(definition, a.event) == key])
        for t in data.draw(st.permutations(when), "order") if key == entity_keys(definition)[0] else when:
            expected = oracle.final_values(definition, log, key, t)
            found = own.values_at(definition, t)
            assert found == expected, (key, t)
            assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


def test_fields_that_are_not_given_are_said_by_no_event() -> None:
    """A data set without devices has none, and features of them say so."""
    definition = view_definition("user")
    log = EntityLog(["purchase"], [5], [5], ["m"], [1], {"value": [700]})
    values = log.values_at(definition, 6)
    assert values["purchase_value_total"] == 700
    assert values["off_phone"] == 0
    assert values["pages"] == 0
