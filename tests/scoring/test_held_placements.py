"""Placements that a scorer holds: taken over when the file changes, kept when the new bytes are refused."""

from pathlib import Path

import pytest

from behavior.errors import BadInput
from scoring.held_placements import HeldPlacements
from tests.scoring.small import PLAN

HOME, CART = "[placements.home]\ndeadline_ms = 50\n", "[placements.cart]\n"


def test_a_changed_file_is_taken_over(tmp_path: Path) -> None:
    """The next time that it is asked for, with another id; unchanged bytes are the same object."""
    file = tmp_path / "p.toml"
    file.write_text(HOME)
    held = HeldPlacements(file)
    before = held.held
    held.bring_up(PLAN)
    assert held.held is before
    file.write_text(CART)
    held.bring_up(PLAN)
    assert list(held.held.named) == ["cart"]
    assert held.held.placements_id != before.placements_id


def test_a_refused_file_leaves_the_one_before_in_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Said once in the log and counted once, however often it is looked at; gone, or whole again, it is noticed."""
    file, refused = tmp_path / "p.toml", []
    file.write_text(HOME)
    held = HeldPlacements(file, lambda: refused.append(1))
    for text in ("[placements.home]\nweights = {luck = 1}\n", None):
        file.unlink() if text is None else file.write_text(text)
        for _ in range(3):
            held.bring_up(PLAN)
            assert held.held.of("home").deadline_ms == 50
    assert len(refused) == 2
    said = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert ["'luck' is no factor" in said[0], "cannot be read" in said[1], len(said)] == [True, True, 2]
    file.write_text(CART)
    held.bring_up(PLAN)
    assert list(held.held.named) == ["cart"]


def test_a_server_does_not_start_with_a_wrong_file(tmp_path: Path) -> None:
    """There is nothing before it that could go on serving."""
    (tmp_path / "p.toml").write_text("[defalt]")
    with pytest.raises(BadInput, match="did you mean default"):
        HeldPlacements(tmp_path / "p.toml")


def test_factors_without_features_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A weight that can have no effect stands in the log, not at every poll."""
    file = tmp_path / "p.toml"
    file.write_text("[default]\nweights = {preference = 1}\n")
    held = HeldPlacements(file)
    for _ in range(3):
        held.bring_up(PLAN)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        'placements: default: preference is left out, the plan has no count("like") of a user in a category and no '
        'count("dislike") of a user in a category'
    ]


def test_without_a_file_there_is_the_built_in_placement() -> None:
    """Nothing is read, whatever is asked."""
    held = HeldPlacements()
    held.bring_up(PLAN)
    assert held.held.placements_id == ""
