"""`opportune placements` as typed: shows what a file says, and refuses a wrong one before a server would."""

import json
from pathlib import Path

import pytest

from opportune.command import run
from tests.scoring.small import PLAN

EXAMPLE = Path(__file__).parents[2] / "deploy" / "placements.toml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path))
    return tmp_path


def test_a_file_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Every placement with what ranks there, for people and as JSON with the keys of the file."""
    assert run(["placements", str(EXAMPLE)]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("home", "user 40, popular 60", "recency 0.05", "mixed over 40 by 0.7"))
    assert run(["placements", str(EXAMPLE), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["placements"]["home"]["candidates"][0] == {"from": "user", "most": 40}
    assert (len(told["placements_id"]), told["left_out"]) == (12, [])


def test_the_setting_names_the_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file that of the setting, without one the built-in default."""
    assert run(["placements", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["placements"] == {}
    monkeypatch.setenv("OPPORTUNE_PLACEMENTS", str(EXAMPLE))
    assert run(["placements", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["placements"]) == ["home", "checkout", "discover"]


def test_a_wrong_file_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says where, exit status 2."""
    (home / "wrong.toml").write_text("[placements.home]\nwieghts = {}\n")
    assert run(["placements", str(home / "wrong.toml")]) == 2
    assert "placements.home: 'wieghts' is no key; did you mean weights?" in capsys.readouterr().err


def test_a_factor_without_features_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under the plan of this home, if there is one."""
    (home / "p.toml").write_text("[default]\nweights = {preference = 1}\n")
    assert run(["placements", str(home / "p.toml")]) == 0
    assert "left out" not in capsys.readouterr().out
    (home / "plan.json").write_bytes(PLAN.encode())
    assert run(["placements", str(home / "p.toml")]) == 0
    assert "default: preference is left out" in capsys.readouterr().out
