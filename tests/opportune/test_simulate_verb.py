"""`opportune simulate` as typed: what it prints and writes without a deployment, and what it refuses."""

import json
from pathlib import Path

import pytest

from opportune.command import run

SMALL = ("--users", "30", "--days", "5")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policies_are_measured_side_by_side(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One JSON object with each policy in the same visits, and a picture of them."""
    policies = ("--policy", "best", "--policy", "random")
    assert run(["simulate", *policies, *SMALL, "--seed", "9", "--plot", "curves.svg", "--json"]) == 0
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (said["simulated"], said["seed"], said["users"]) == (True, 9, 30)
    best, chance = said["policies"]
    assert best["visits"] == chance["visits"]
    assert best["clicks"] > chance["clicks"]
    assert "simulated, seed 9" in (home / "curves.svg").read_text()


def test_events_are_written_with_their_mapping(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As many as the table says, and for people the table says that they are simulated."""
    assert run(["simulate", "--policy", "popular", *SMALL, "--events", "made/events.parquet", "--json"]) == 0
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert said["events_written"] == said["policies"][0]["events"]
    assert {file.name for file in (home / "made").iterdir()} == {"events.parquet", "events.toml"}
    assert run(["simulate", "--policy", "popular", *SMALL]) == 0
    assert "simulated, seed 1" in capfd.readouterr().out


def test_a_shock_can_be_asked_for(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Beside those of the file; from its instant on, one persona does otherwise."""
    (home / "world.toml").write_text("personas = 2\n[[shocks]]\npersona = 0\nat = 2024-01-04T00:00:00Z\n")
    asked = ["simulate", "--policy", "popular", "--world", "world.toml", *SMALL, "--json"]
    said = []
    for more in ([], ["--shock", "1@2024-01-02T00:00+00:00"]):
        assert run([*asked, *more]) == 0
        said.append(json.loads(capfd.readouterr().out.splitlines()[-1])["policies"][0])
    assert said[0]["visits"] == said[1]["visits"]
    assert said[0]["by_persona"][1] != said[1]["by_persona"][1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "best", "--policy", "random", "--events", "a.parquet"], "what one policy leads to"),
        (["--events", "a.parquet"], "what one policy leads to"),
        (["--policy", "best", "--events", "a.csv"], "written as .parquet"),
        (["--policy", "best", "--plot", "a.pdf"], ".svg or a .png"),
        (["--policy", "best", "--world", "none.toml"], "cannot be read"),
        (["--policy", "best", "--shock", "now"], "is no shock"),
        (["--policy", "best", "--first-day", "-1"], "begins on"),
        (["--policy", "best", "--days", "0", "--events", "a.parquet"], "no visits"),
        (["--policy", "scorer", *SMALL], "no deployment runs in this home"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    arguments: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, one sentence, and nothing written."""
    assert run(["simulate", *arguments]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert list(home.iterdir()) == []
