"""A refresh comes to one end, however often and wherever it is killed; and a promotion is judged by what nobody saw."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.bundles import Bundles
from deployment.settings import load
from opportune.command import run
from tests.opportune.killed_refresh import PROMOTE
from tests.shop import REPOSITORY, enter, prepare
from training import judging
from training.refresh import STEPS

EARLY = "2024-04-28"
KILLS = [(place, when) for place in range(len(STEPS) + 1) for when in ("before", "after")]
EVERYDAY = [(1, "after"), (4, "after")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the shop's history, tables, and a bundle of some weeks ago."""
    home = tmp_path_factory.mktemp("a shop")
    prepare(home, ["train", "--until", EARLY])
    return home


@pytest.fixture
def home(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, in which commands run."""
    shutil.copytree(prepared, tmp_path / "home")
    enter(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


def ended(home: Path) -> tuple[str, dict[str, str], list[dict[str, object]]]:
    """The content of the current bundle, the pointers by what they name, and the decisions without their time."""
    settings = load()
    bundles = Bundles.of(settings)
    pointers = bundles.store.pointers("purchase_7d")
    names = bundles.store.names("purchase_7d")
    assert len(names) == 2, "the refresh must leave one bundle more, however often it was begun"
    decisions = [json.loads(line) for line in (settings.home / "refresh" / "decisions.jsonl").read_text().splitlines()]
    new = pointers["current"]
    told = {pointer: "new" if name == new else "old" for pointer, name in pointers.items()}
    said = [{**each, "started": "", "challenger": each["challenger"] == new} for each in decisions]
    assert not (settings.home / "refresh" / "purchase_7d.json").exists()
    return bundles.read(new)[0].content, told, said


def finished(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, str], list[dict[str, object]]]:
    monkeypatch.setattr(judging, "judge", lambda *_: PROMOTE)
    assert run(["refresh", "--weeks", "2"]) == 0
    return ended(home)


def killed_and_again(home: Path, place: int, when: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    child = subprocess.run(
        [sys.executable, "-m", "tests.opportune.killed_refresh", str(place), when],
        cwd=home, env=os.environ | {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}, capture_output=True,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    return finished(home, monkeypatch)


def test_a_killed_refresh_ends_as_one_that_was_not(prepared: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bundle apart from its time, the same pointers, one decision: killed after training, after promoting."""
    expected = finished(home, monkeypatch)
    assert expected[1] == {"current": "new", "previous": "old", "canary": "new"}
    for place, when in EVERYDAY:
        shutil.rmtree(home)
        shutil.copytree(prepared, home)
        assert killed_and_again(home, place, when, monkeypatch) == expected, (place, when)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_wherever_it_is_killed(prepared: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 before and after each of its steps, then run again: one end."""
    expected = finished(home, monkeypatch)
    for place, when in KILLS:
        shutil.rmtree(home)
        shutil.copytree(prepared, home)
        assert killed_and_again(home, place, when, monkeypatch) == expected, (place, when)


def test_what_the_current_bundle_has_seen_judges_nobody(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle of all history leaves no Sunday to judge by: one sentence, exit status 2, and nothing moves."""
    assert run(["train"]) == 0
    before = Bundles.of(load()).store.pointers("purchase_7d")
    assert run(["refresh"]) == 2
    assert "there is no Sunday since the current bundle" in capsys.readouterr().err
    assert Bundles.of(load()).store.pointers("purchase_7d") == before


def test_a_challenger_that_is_not_better_is_refused_with_reasons(home: Path) -> None:
    """The current bundle once more is a risk without a gain: pointers stay, decision and report are there."""
    assert run(["train", "--until", "2024-05-19"]) == 0  # where the held-back Sundays of this shop begin
    before = Bundles.of(load()).store.pointers("purchase_7d")["current"]
    assert run(["refresh", "--weeks", "2"]) == 0
    settings = load()
    (line,) = (settings.home / "refresh" / "decisions.jsonl").read_text().splitlines()
    decision = json.loads(line)
    assert not decision["promoted"]
    assert decision["reasons"]
    assert Bundles.of(settings).store.pointers("purchase_7d")["current"] == before
    page = Bundles.of(settings).store.read_beside("purchase_7d", f"reports/{decision['challenger']}.html")
    assert page is not None
    assert before.encode() in page
