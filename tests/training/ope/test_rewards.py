"""Rewards are the declared ones of the best outcome that is an outcome of the answer."""

from collections.abc import Iterator

import duckdb
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US, PERSONALIZATION, Admitted, Event
from behavior.served import ITEM
from deployment.archive import to_table
from tests.training.ope.entries import T, entry
from training.ope.answers import Answer, Asked, explored_answers
from training.ope.candidate import Candidate
from training.ope.rewards import rewards_of

WINDOW = 2 * DAY_US
REWARDS = {"click": 0.1, "purchase": 1.0}


def did(kind: str, user: str, e: int, purposes: int = PERSONALIZATION, **said: str) -> Admitted:
    event = Event(f"{kind}-{user}-{e}-{said}", kind, user, e, purposes=purposes, **said)
    return Admitted(event, e, e)


EVENTS = (
    did("click", "ada", T, category="MILK", request_id="r1"),
    did("purchase", "ada", T + 5, category="MILK", request_id="r1"),  # the greatest reward counts
    did("purchase", "ada", T + WINDOW, category="TEA", request_id="r1"),  # the window is over
    did("purchase", "bob", T, category="MILK", request_id="r9"),  # another answer's
    did("click", "bob", T + 1, category="TEA"),  # names none: of every answer that showed it
    did("purchase", "eve", T + 1, category="MILK", purposes=2),  # not for personalisation
    did("click", "eve", T - 1, category="MILK"),  # before it was shown
    did("click", "dan", T + 1, item="MILK", category="TEA"),
)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.register("events", to_table(EVENTS))
        yield made


def answers(**users: str) -> list[Answer]:
    """An answer of MILK and TEA per request; `item:` before the user's name: of items."""
    entries = [
        entry(request, user=user.removeprefix("item:"), **({"kind": ITEM} if user.startswith("item:") else {}))
        for request, user in users.items()
    ]
    return explored_answers(entries, Asked(Candidate(), T + DAY_US))[0]


def test_rewards_are_those_of_the_best_outcome_in_the_window(con: duckdb.DuckDBPyConnection) -> None:
    """By request id where an outcome has one, else by user and category; by event time from as_of on."""
    found = rewards_of(con, answers(r1="ada", r2="ada", r3="bob", r4="bob", r5="eve"), REWARDS, WINDOW)
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.1], [0.0, 0.1], [0.0, 0.0]]


def test_items_are_joined_by_item_and_categories_by_category(con: duckdb.DuckDBPyConnection) -> None:
    """The same event is of the item MILK and of the category TEA."""
    assert rewards_of(con, answers(r1="item:dan"), REWARDS, WINDOW).tolist() == [[0.1, 0.0]]
    assert rewards_of(con, answers(r1="dan"), REWARDS, WINDOW).tolist() == [[0.0, 0.1]]


@pytest.mark.parametrize(("rewards", "said"), [({"clack": 1.0}, "no clack event"), ({"click": 1.5}, "at most 1")])
def test_rewards_that_cannot_be_are_refused(
    con: duckdb.DuckDBPyConnection, rewards: dict[str, float], said: str
) -> None:
    """A kind that the archive does not have would count as nothing; a reward above 1 is none."""
    with pytest.raises(BadInput, match=said):
        rewards_of(con, answers(r1="ada"), rewards, WINDOW)
