"""`opportune segment` as typed, on a small shop: a table, one JSON object, a picture, and nothing kept when dry."""

import json
from pathlib import Path

import pytest

from deployment.bundle_store import BundleStore
from opportune.command import run
from tests.shop import enter, prepare


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose purchases are imported and backfilled."""
    made = tmp_path_factory.mktemp("a shop")
    prepare(made)
    return made


@pytest.fixture(autouse=True)
def as_typed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(home, monkeypatch)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    answer: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return answer


def test_segment_prints_keeps_and_draws(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dry it keeps nothing; then the same personas are current; once more nothing changes."""
    store = BundleStore(home / "var" / "bundles")
    assert run(["segment", "--dry-run", "--json"]) == 0
    dry = said(capsys)
    assert store.pointed("personas", "current") is None

    assert run(["segment", "--plot", "personas.svg"]) == 0
    assert str(dry["personas_id"]) in capsys.readouterr().out
    assert store.pointed("personas", "current") == dry["personas_id"]
    assert (home / "personas.svg").stat().st_size > 0

    assert run(["bundles", "list", "--json"]) == 0
    (listed,) = said(capsys)["bundles"]  # type: ignore[misc]
    assert (listed["bundle_id"], listed["refused"]) == (dry["personas_id"], None)

    assert run(["segment", "--json"]) == 0
    again = said(capsys)
    assert (again["personas_id"], again["before"], again["changed_share"]) == (dry["personas_id"],) * 2 + (0.0,)
    sizes = [each["users"] for each in again["personas"]]  # type: ignore[attr-defined]
    assert sum(sizes) == again["users"] == 60
    assert min(sizes) >= 20


def test_a_plot_that_cannot_be_is_refused_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and one sentence, before anything is read."""
    assert run(["segment", "--plot", "personas.pdf"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_instant_without_users_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Long before the first event nobody was active: exit status 2 and what to do."""
    assert run(["segment", "--at", "2020-01-01"]) == 2
    assert "take another one with --at" in capsys.readouterr().err
