"""The picture of personas: a file of the asked kind, the same for the same personas."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from behavior.errors import BadInput
from tests.behavior.test_personas import personas
from training.persona_plot import draw


def test_the_same_personas_make_the_same_picture(tmp_path: Path) -> None:
    """An SVG that is one, byte for byte without a date or random names."""
    draw(personas(), tmp_path / "a.svg")
    draw(personas(), tmp_path / "b.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_png_is_drawn_for_its_ending(tmp_path: Path) -> None:
    """The ending decides, in capitals too."""
    draw(personas(), tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")


def test_other_endings_and_places_are_refused(tmp_path: Path) -> None:
    """One sentence that says what would do."""
    with pytest.raises(BadInput, match=r"\.svg or a \.png"):
        draw(personas(), tmp_path / "a.pdf")
    with pytest.raises(BadInput, match="make it first"):
        draw(personas(), tmp_path / "nowhere" / "a.svg")
