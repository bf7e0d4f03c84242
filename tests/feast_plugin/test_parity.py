"""Offline equals the whole log: whatever the log, tables through Feast answer as the oracle and as folded state do."""

import numpy as np
import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior import state as states
from behavior.column import Column
from behavior.event import Admitted
from behavior.plan import Plan, View
from behavior.vector import finalise
from deployment.settings import Settings
from tests import oracle
from tests.feast_plugin.repository import deployment, entity_rows, write_archive, write_repo
from tests.properties.strategies import entity_keys, instants, logs, view_definition
from training.apply import apply
from training.backfill import backfill
from training.store import open_store

ENTITIES = ("all", "category", "user", "user_category")
VIEWS = """
from tests.properties.strategies import FEATURES, SELECTED
same = dict(owner="o", selects=SELECTED, features=FEATURES, retention="40d", interval="5m")
user_view = behavior_view("user_view", entity=user, **same)
pair_view = behavior_view("user_category_view", entity=(user, category), **same)
category_view = behavior_view("category_view", entity=category, **same)
all_view = behavior_view("all_view", entity=all_users, **same)
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Plan, FeatureStore]:
    here = deployment(tmp_path_factory.mktemp("parity"))
    write_repo(here.feature_repo, VIEWS)
    return here, apply(here), open_store(here)


def test_views_through_feast_are_the_oracles_views(deployed: tuple[Settings, Plan, FeatureStore]) -> None:
    """The definitions that come back from the registry have the fingerprints of those that the oracle reads."""
    expected = Plan([view_definition(entity) for entity in ENTITIES])
    assert deployed[1].fingerprints == expected.fingerprints


def from_state(view: View, log: list[Admitted], key: tuple[str, ...], t: int) -> dict[str, object]:
    """What the folded state answers at t; None is missing."""
    at = t - t % view.interval_us
    state = None
    for admitted in log:
        if admitted.k < at and states.belongs(view, admitted) and oracle.key_of(view.definition, admitted.event) == key:
            state = states.fold(view, state, admitted)
    raw = [None] * len(view.features) if state is None else states.raw_at(view, state, at)
    columns = {
        feature.name: Column.of([value], feature.raw_dtype) for feature, value in zip(view.features, raw, strict=True)
    }
    seen_e = Column.of([None if state is None else state.seen_e], "int64")
    finals = finalise(view, columns, seen_e, np.array([t]))
    return {
        feature.name: finals[feature.ref].values[0] if finals[feature.ref].valid[0] else None
        for feature in view.features
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_tables_answer_as_the_whole_log_does(
    deployed: tuple[Settings, Plan, FeatureStore], data: st.DataObject
) -> None:
    """Bit for bit at change points and ±1 µs around them: late events, ties in k, gaps, consent, absent parts."""
    here, plan, store = deployed
    log = data.draw(logs(max_size=12))
    backfill(plan, write_archive(here.archive, log), here.tables, threads=1)
    for view in plan.views:
        at = data.draw(instants(view.definition, log, at_most=30))
        keys = entity_keys(view.definition)
        asked = [(key, t) for key in keys for t in at]
        columns = {name: [key[place] for key, _ in asked] for place, name in enumerate(view.join_keys)}
        features = [feature.ref for feature in view.features]
        found = store.get_historical_features(entity_rows([t for _, t in asked], **columns), features).to_arrow()
        answers = found.select([feature.name for feature in view.features]).to_pylist()
        for (key, t), answer in zip(asked, answers, strict=True):
            assert answer == oracle.final_values(view.definition, log, key, t), (view.name, key, t)
            assert answer == from_state(view, log, key, t), (view.name, key, t)
