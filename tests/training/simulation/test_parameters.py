"""Parameters: what makes no world is refused with one sentence, and the page says all of them."""

from pathlib import Path

import msgspec
import pytest

from behavior.errors import BadInput
from training.simulation.parameters import Parameters, given_in, made_of

PAGE = Path(__file__).parents[3] / "docs" / "simulator.md"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"user": 3}, "user"),
        ({"users": 0}, "users"),
        ({"slots": 21}, "21 slots cannot be filled with 20 things"),
        ({"zones": ["Mars/Olympus"]}, "no IANA time zone"),
        ({"daily": 1.5}, "daily"),
        ({"shocks": [{"persona": 4, "at": "2024-01-05T00:00:00Z"}]}, "numbered from 0 to 3"),
        ({"shocks": [{"persona": 1, "at": "2024-01-05T00:00:00"}]}, "timezone"),
    ],
)
def test_what_makes_no_world_is_refused(given: dict[str, object], said: str) -> None:
    """One sentence names what is wrong."""
    with pytest.raises(BadInput, match=said):
        made_of(given)


def test_a_file_says_parameters(tmp_path: Path) -> None:
    """TOML as people write it, with its own dates and instants."""
    file = tmp_path / "world.toml"
    file.write_text("users = 7\nstart = 2024-03-01\n[[shocks]]\npersona = 1\nat = 2024-03-02T00:00:00+01:00\n")
    made = made_of(given_in(file))
    assert (made.users, made.start.isoformat()) == (7, "2024-03-01")
    assert made.shocks[0].t == made.start_t + 23 * 3_600_000_000


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Not there, or not TOML."""
    with pytest.raises(BadInput, match="cannot be read"):
        given_in(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("users =")
    with pytest.raises(BadInput, match="is not TOML"):
        given_in(tmp_path / "bad.toml")


def test_the_page_tells_every_parameter_with_its_default() -> None:
    """docs/simulator.md has a row for each, and what it says is what it is."""
    rows = dict(line.split(" | ")[:2] for line in PAGE.read_text().splitlines() if line.startswith("| `"))
    said = {name.strip("| `"): default.strip("`") for name, default in rows.items()}
    plain = msgspec.json.decode(msgspec.json.encode(Parameters()))
    assert said == {name: _as_written(value) for name, value in plain.items()}


def _as_written(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
