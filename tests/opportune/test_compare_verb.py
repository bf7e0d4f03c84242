"""`opportune compare` as typed: what is refused before anything is measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from opportune.command import run
from tests.training.test_bundle import CREATED, trained
from training.bundle import point, write_bundle

SPAN = ("--first", "2017-10-15", "--last", "2017-10-22")


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPPORTUNE_CONFIG", "")
    return tmp_path / "home" / "bundles"


def test_bundles_of_two_targets_are_not_compared(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One asks about a week and the other about a month: exit status 2 and one sentence that names both."""
    point(bundles, "current", write_bundle(bundles, trained(), CREATED))
    other = write_bundle(bundles, replace(trained(), target="churn_30d"), CREATED)
    assert run(["compare", "current", other, *SPAN]) == 2
    said = capsys.readouterr().err
    assert "purchase_7d" in said
    assert "churn_30d" in said
    assert said.count("\n") == 1


def test_a_bundle_that_is_not_there_is_named(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown id or a pointer that points nowhere: exit status 2."""
    bundles.mkdir(parents=True)
    assert run(["compare", "current", "previous", *SPAN]) == 2
    assert "purchase_7d has no current in" in capsys.readouterr().err


def test_the_span_is_asked_for(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without cut-offs there are no rows to compare on."""
    assert run(["compare", "current", "previous"]) == 2
    assert "--first" in capsys.readouterr().err
