"""Offline equals the whole log: whatever the log, tables through Feast answer as the oracle and as folded state do."""

import shutil
from collections.abc import Sequence

import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.aggregation import Aggregation
from behavior.event import Admitted
from behavior.plan import Plan, View
from behavior.state import State
from behavior.words import properties_of
from deployment.settings import Settings
from tests import oracle
from tests.feast_plugin.repository import deployment, entity_rows, write_archive, write_repo
from tests.properties.answers import final_rows, folded, of_entity
from tests.properties.strategies import ENTITIES, entity_keys, features_of, instants, logs, view_definition
from training.apply import apply
from training.backfill import backfill
from training.store import open_store

PROPERTIES = {"stars": {"scale": 0}, "colour": {"kind": "text"}}
TYPES = {"stars": int, "colour": str}
VIEWS = """
from tests.feast_plugin.test_parity import lawful
from tests.properties.strategies import SELECTED
entities = {
    "user": user, "user_category": (user, category), "item": item, "category": category, "all": all_users,
}
views = [
    behavior_view(
        f"{name}_view", entity=entity, owner="o", selects=SELECTED, features=lawful(name), retention="40d",
        interval="5m",
    )
    for name, entity in entities.items()
]
user_view, user_category_view, item_view, category_view, all_view = views
"""


def lawful(entity: str) -> tuple[Aggregation, ...]:
    """The features of the strategies that a deployment may have: none takes a declared number for a text."""
    return tuple(spec for spec in features_of(entity) if properties_of(spec).items() <= TYPES.items())


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Plan, FeatureStore]:
    here = deployment(tmp_path_factory.mktemp("parity"), properties=PROPERTIES)
    write_repo(here.feature_repo, VIEWS)
    return here, apply(here), open_store(here)


def test_views_through_feast_are_the_oracles_views(deployed: tuple[Settings, Plan, FeatureStore]) -> None:
    """The definitions that come back from the registry have the fingerprints of those that the oracle reads."""
    expected = Plan([view_definition(entity, lawful(entity)) for entity in ENTITIES])
    assert deployed[1].fingerprints == expected.fingerprints
    left_out = {spec.name for entity in ENTITIES for spec in features_of(entity)} - {
        name.partition(":")[2] for name in expected.features
    }
    assert left_out == {"stars_in_words_30d"}


def from_state(view: View, log: Sequence[Admitted], key: tuple[str, ...], t: int) -> dict[str, object]:
    """What the folded state answers at t; None is missing."""
    at = oracle.answers_at(view.definition, t)
    state: State | None = folded(view, [a for a in of_entity(view, log, key) if a.k < at])
    return final_rows(view, [(state, t)])[0]


@pytest.mark.parametrize("entity", ENTITIES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_tables_answer_as_the_whole_log_does(
    deployed: tuple[Settings, Plan, FeatureStore], data: st.DataObject, entity: str
) -> None:
    """Bit for bit at change points and ±1 µs around them: late events, ties in k, gaps, consent, absent parts."""
    here, plan, store = deployed
    log = data.draw(logs(max_size=12), "log")
    view = plan.view(f"{entity}_view")
    # Files of an archive never change: another log is another archive, with tables of its own.
    shutil.rmtree(here.tables, ignore_errors=True)
    backfill(Plan([view.definition]), write_archive(here.archive, log), here.tables, threads=1)
    at = data.draw(instants(view.definition, log, at_most=30), "instants")
    asked = [(key, t) for key in entity_keys(view.definition) for t in at]
    columns = {name: [key[place] for key, _ in asked] for place, name in enumerate(view.join_keys)}
    features = [feature.ref for feature in view.features]
    found = store.get_historical_features(entity_rows([t for _, t in asked], **columns), features).to_arrow()
    answers = found.select([feature.name for feature in view.features]).to_pylist()
    for (key, t), answer in zip(asked, answers, strict=True):
        assert answer == oracle.final_values(view.definition, log, key, t), (key, t)
        assert answer == from_state(view, log, key, t), (key, t)
