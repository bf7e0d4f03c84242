"""`opportune train --rows journal` as typed: what a log holds of what was served, made into the next bundle."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from behavior.event import DAY_US, HOUR_US
from behavior.manifest import VOCABULARIES_FILE
from behavior.served import Served, Shown
from deployment.bundles import Bundles
from deployment.connections import open_async
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.settings import Settings, load
from opportune.command import run
from opportune.warehouse import events_of, local_midnight
from scoring.log_writer import LogWriter, offer_event, offer_served
from tests.scoring.small import purchase
from tests.shop import CATEGORIES, TODAY, enter, prepare
from training.dataset import codes_of, vectors
from training.rows import Instants, Rows
from training.store import open_store

WEEKS = 12


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the shop's history, tables, and a bundle that serves."""
    home = tmp_path_factory.mktemp("a shop")
    prepare(home, ["train", "--until", "2024-04-28"])
    return home


@pytest.fixture
def home(prepared: Path, tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with a log of its own."""
    shutil.copytree(prepared, tmp_path / "home")
    enter(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("OPPORTUNE_REDIS_URL", redis_url)
    monkeypatch.setenv("OPPORTUNE_REDIS_PREFIX", prefix)
    return tmp_path / "home"


def answers(settings: Settings) -> list[Served]:
    """What the current bundle is shown of every customer in each of twelve weeks, as a server would journal it."""
    manifest, files = Bundles.of(settings).read("current")
    vocabularies = json.loads(files[VOCABULARIES_FILE])
    with events_of(settings) as con:
        users = [user for (user,) in con.execute("SELECT DISTINCT user_id FROM events ORDER BY 1").fetchall()]
    last = local_midnight(TODAY, settings) + 3 * HOUR_US
    t = np.repeat(last - np.arange(WEEKS, dtype=np.int64)[::-1] * 7 * DAY_US, len(users))
    instants = Instants(np.tile(np.arange(len(users), dtype=np.int32), WEEKS), t, t, users)
    each = len(CATEGORIES)
    rows = Rows(
        instants, np.repeat(np.arange(len(t), dtype=np.int32), each), np.tile(np.arange(each, dtype=np.int32), len(t)),
        list(CATEGORIES), np.zeros(len(t) * each, np.uint8), np.ones(len(t) * each, np.float32),
    )  # fmt: skip
    codes = {name: codes_of(texts) for name, texts in vocabularies.items()}
    x = vectors(open_store(settings), load_plan(settings.plan), manifest.inputs, rows, codes, settings.zone).x
    found = []
    for place, as_of in enumerate(t.tolist()):
        mine = x[place * each : (place + 1) * each]
        shown = [
            Shown("category", name, 0.0, 0.0, 0.0, row.tobytes()) for name, row in zip(CATEGORIES, mine, strict=True)
        ]
        user = users[instants.user[place]]
        found.append(Served(f"r{place}", user, as_of, 0, 0, manifest.bundle_id, 0, tuple(shown)))
    return found


def journal(settings: Settings, served: Sequence[Served]) -> None:
    """Write them into the log as the server does, among events."""
    keys = Keys(settings.redis_prefix, settings.partitions)

    async def written() -> None:
        client = open_async(str(settings.redis_url), cluster=False)
        writer = LogWriter(client, keys, settings.lateness_horizon_h)
        for entry in served:
            event = offer_event(purchase(entry.user_id, "TEA", entry.as_of, f"m-{entry.request_id}"))
            await writer.append(keys.partition_of(entry.user_id), [event, offer_served(entry)], entry.as_of)
        await client.aclose()

    asyncio.run(written())


def test_a_bundle_is_made_from_what_was_served(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each week that is over, its entries; the new bundle keeps the inputs and vocabularies of the serving one."""
    settings = load()
    serving, files = Bundles.of(settings).read("current")
    served = answers(settings)
    journal(settings, [*served, served[0]])
    until = local_midnight(TODAY, settings)
    over = sum(entry.as_of + 7 * DAY_US <= until for entry in served)
    assert 0 < over < len(served)
    capsys.readouterr()
    assert run(["train", "--rows", "journal", "--until", TODAY, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["journal"] == {
        "read": len(served) + 1, "used": over, "rows": over * len(CATEGORIES),
        "left_out": {"horizon not over": len(served) - over, "repeated request": 1},
    }  # fmt: skip
    # Of the gap of a week before the newest span nothing is learned.
    assert 0 < told["fit_rows"] + told["stop_rows"] + told["calibrate_rows"] < told["journal"]["rows"]
    made, its = Bundles.of(settings).read("current")
    assert made.bundle_id == told["bundle_id"] != serving.bundle_id
    assert (made.features, its[VOCABULARIES_FILE]) == (serving.features, files[VOCABULARIES_FILE])


def test_an_empty_journal_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was served, or the log has let it go: exit status 2, what to do, and the pointer stays."""
    before = Bundles.of(load()).current_id()
    assert run(["train", "--rows", "journal"]) == 2
    assert "of 0 served entries 0 are used; let the archiver run" in capsys.readouterr().err
    assert Bundles.of(load()).current_id() == before
