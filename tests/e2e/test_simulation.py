"""The simulator on a real deployment: its own history is learned from, and users react to what Score really shows."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.settings import Settings, load
from opportune.command import run
from opportune.processes import children
from opportune.replay import instant, replay_clock
from opportune.restore import restore
from opportune.supervise import Running, running
from opportune.warehouse import archive_of
from tests.shop import enter

HISTORY_DAYS = 112
TODAY = "2024-04-22T00:00+00:00"
WORLD = """
seed = 3
users = 40
categories = 8
items = 3
slots = 4
sessions_per_day = 0.7
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a space in its path, and the world's file in it."""
    home = tmp_path_factory.mktemp("a simulated home")
    (home / "world.toml").write_text(WORLD)
    return home


@pytest.fixture(autouse=True)
def as_typed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in tests run in the same directory and environment as those before them."""
    enter(home, monkeypatch)


@pytest.fixture(scope="module")
def settings(home: Path) -> Iterator[Settings]:
    """Simulate a history, import it, train: each command as typed, each with exit status 0."""
    with pytest.MonkeyPatch.context() as patch:
        enter(home, patch)
        for command in (
            ["key"],
            simulated("popular", "--days", str(HISTORY_DAYS), "--events", "history.parquet"),
            ["import", "history.parquet", "--mapping", "history.toml"],
            ["apply"], ["backfill"], ["train", "--until", "2024-04-21"],
        ):  # fmt: skip
            assert run(command) == 0, command
        yield load()


@pytest.fixture(scope="module")
def deployment(settings: Settings) -> Iterator[Running]:
    """Everything started on a replay of the instant at which the history ends."""
    today = instant(TODAY, settings)

    def prepare(reached: Settings) -> None:
        with replay_clock(reached) as clock:
            clock.advance(today)
        restore(reached, archive_of(reached), lambda *_: None, until=today)

    live = settings.replaced(archive=settings.home / "live")
    with running(
        live, children(live), prepare=lambda reached: prepare(reached.replaced(archive=settings.archive))
    ) as up:
        yield up


def simulated(policy: str, *further: str) -> list[str]:
    """The command as typed."""
    return ["simulate", "--policy", policy, "--world", "world.toml", *further]


def test_users_react_to_what_the_scorer_shows(deployment: Running, capfd: pytest.CaptureFixture[str]) -> None:
    """The scorer is asked at each visit and its events are all taken; it does better than chance, and less than best.

    A user who is asked again after events of their own is answered with them: no answer lacks a state.
    """
    span = ("--first-day", str(HISTORY_DAYS), "--days", "1", "--json")
    assert run(simulated("scorer", *span)) == 0
    scorer = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert run(simulated("random", *span)) == 0
    chance = json.loads(capfd.readouterr().out.splitlines()[-1])
    ours, theirs = scorer["policies"][0], chance["policies"][0]
    assert scorer["simulated"] is True
    assert scorer["seed"] == 3
    assert ours["visits"] == theirs["visits"] > 50
    assert scorer["tracked"] == ours["events"] > 4 * ours["visits"]
    assert set(scorer["degraded"]) <= {"unknown_user"}
    assert theirs["share_of_best"]["high"] < ours["share_of_best"]["value"] < 1
    with replay_clock(deployment.settings) as clock:
        assert clock.now() >= scorer["curves"]["scorer"]["t"][-1]
