"""The page about the kinds of features is what their list says."""

from pathlib import Path

from behavior.kinds import KINDS
from deployment.kinds_page import reference


def test_the_page_is_up_to_date_and_names_every_kind() -> None:
    """`docs/reference/kinds.md` is what `make reference` writes, and has a row for every kind."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "kinds.md"
    assert page.read_text(encoding="utf-8") == reference(), "run `make reference`"
    assert all(f"| `{name}` |" in reference() for name in KINDS)
