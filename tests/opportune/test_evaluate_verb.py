"""`opportune train` and `opportune evaluate` as typed, about contexts: what a bundle knows of them, and that the final
relevance is measured beside the propensity.
"""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from behavior import relevance
from behavior.context import DAYPARTS, ContextTables, decode, lifts, part_of_hour
from behavior.manifest import CONTEXT_FILE
from behavior.personas import assign
from deployment.bundle_store import store_at
from deployment.bundles import Bundles
from deployment.current_personas import current_personas
from deployment.plan_file import load_plan
from deployment.settings import Settings, load
from opportune.command import run
from opportune.warehouse import events_of, local_midnight
from tests.shop import CATEGORIES, ZONE, enter, prepare
from training.context import persona_names
from training.persona_inputs import told
from training.rows import cutoff_instants, open_events
from training.store import open_store
from training.targets import TARGETS

UNTIL, CUTOFF = "2024-04-28", "2024-05-05"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the shop's history, personas, and a bundle that knows both."""
    home = tmp_path_factory.mktemp("a shop")
    prepare(home, ["segment", "--at", UNTIL], ["train", "--until", UNTIL])
    return home


@pytest.fixture
def settings(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    enter(prepared, monkeypatch)
    return load()


def tables(settings: Settings) -> ContextTables:
    """Those of the current bundle."""
    return decode(Bundles.of(settings).read("current")[1][CONTEXT_FILE], "current")


def test_the_bundle_knows_when_its_categories_were_bought(settings: Settings) -> None:
    """Lifts are those of all purchases before the end of training, each at the local time of the shop's zone."""
    found, until = tables(settings), local_midnight(UNTIL, settings)
    with events_of(settings) as con:
        events = con.execute("SELECT DISTINCT user_id, e, category FROM events WHERE k < ?", [until]).fetchall()
        (later,) = con.execute("SELECT count(*) FROM events WHERE k >= ?", [until]).fetchone() or (0,)
    assert later > 100  # there is a future that must not be in the tables
    local = [(category, datetime.fromtimestamp(e / 1e6, UTC).astimezone(ZoneInfo(ZONE))) for _, e, category in events]
    hours, days = Counter((c, t.hour) for c, t in local), Counter((c, t.weekday()) for c, t in local)
    assert found.categories == tuple(sorted(CATEGORIES))
    assert found.counted.end_us == until
    hour = np.array([[hours[name, place] for place in range(24)] for name in found.categories])
    weekday = np.array([[days[name, place] for place in range(7)] for name in found.categories])
    parts = np.stack([hour[:, part_of_hour() == place].sum(axis=1) for place in range(len(DAYPARTS))], axis=1)
    assert np.allclose(found.daypart, lifts(parts), atol=1e-6, rtol=0)
    assert np.allclose(found.weekday, lifts(weekday), atol=1e-6, rtol=0)
    assert np.abs(found.weekday).max() > 0.05


def test_the_bundle_knows_its_personas_as_requests_are_told_them(settings: Settings) -> None:
    """Names are those of `opportune segment`; at an instant a user has the persona that a request would have found."""
    personas = current_personas(store_at(settings.bundles))
    assert personas is not None
    found = tables(settings)
    assert (found.personas_id, found.personas) == (personas.personas_id, personas.names)
    assert np.abs(found.persona).max() > 0.05
    store, plan, at = open_store(settings), load_plan(settings.plan), local_midnight(UNTIL, settings)
    with events_of(settings) as con:
        open_events(con, TARGETS["purchase_7d"])
        instants = cutoff_instants(con, TARGETS["purchase_7d"], [at])
    names = persona_names(store, plan, instants, personas, settings.zone)
    asked = told(store, plan, personas.refs, instants.users, at)
    expected = dict(zip(asked.users, personas.named(assign(personas, asked.finals)), strict=True))
    assert {instants.users[user]: name for user, name in zip(instants.user, names, strict=True)} == expected
    assert len(set(names)) > 1


def evaluated(capfd: pytest.CaptureFixture[str]) -> dict[str, dict[str, dict[str, float]]]:
    assert run(["evaluate", "--first", CUTOFF, "--last", CUTOFF, "--replicates", "20", "--json"]) == 0
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = json.loads(capfd.readouterr().out.splitlines()[-1])
    return {
        "propensity": found["scores"]["purchase_7d"], "relevance": found["scores"]["relevance"],
        "difference": found["differences"]["purchase_7d - relevance"],
    }  # fmt: skip


def test_the_final_relevance_is_measured_beside_the_propensity(
    settings: Settings, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it ranks as well as the propensity does, paired over users; with other weights of the context it ranks
    otherwise, so what is measured is the factors' sum.
    """
    default = evaluated(capfd)
    assert default["difference"]["ndcg_10"]["high"] <= 1e-9
    assert "log_loss" not in default["relevance"]
    heavier = tuple(replace(each, weight=-3.0) for each in relevance.CONTEXT_FACTORS)
    monkeypatch.setattr(relevance, "CONTEXT_FACTORS", heavier)
    other = evaluated(capfd)
    assert other["propensity"] == default["propensity"]
    assert abs(other["difference"]["ndcg_10"]["value"]) > 1e-4
