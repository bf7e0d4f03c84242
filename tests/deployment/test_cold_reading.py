"""Reading with nothing in memory but the plan: one script per question, whose answer belongs to one instant."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ResponseError

from behavior.plan import ALL_ID
from deployment.cold_reading import InTurn, Moved, ask_rows, ask_user, rows_read, user_read
from deployment.user_state import state_field
from tests.properties.strategies import CATEGORIES, ITEMS
from tests.scoring.deployments import INTERVAL, PLAN, START, USERS, Deployment, drain, events_of, plain

IDS = {"item": ITEMS, "category": CATEGORIES, "all": (ALL_ID, "nobody")}


@pytest.fixture
def deployment(redis_url: str, prefix: str) -> Iterator[Deployment]:
    """A deployment that has folded and published."""
    made = Deployment(redis_url, prefix)
    made.append(events_of(80, seed=1))
    made.advance(START + 2 * INTERVAL)
    drain(made.folding())
    yield made
    made.client.close()


def test_a_user_is_read_whole_or_in_part(deployment: Deployment) -> None:
    """All fields, or those that are asked for in their order; with the offset that the scorer reads too."""
    for user in (*USERS, "k1-nobody"):
        (expected,) = deployment.read(user)
        stored = expected.state.fields
        answer = user_read(ask_user(deployment.client, deployment.keys, 1, user), 1)
        assert dict(zip(answer.fields[::2], answer.fields[1::2], strict=True)) == stored
        fields = [state_field(view) for view in PLAN.user_views] + [b"nothing"]
        some = user_read(ask_user(deployment.client, deployment.keys, 1, user, fields), 1)
        assert some.fields == [stored.get(field) for field in fields]
        assert some.offset == answer.offset == expected.offset
    assert expected.offset == 0  # nobody's partition has had no event


def test_answers_come_in_turn(deployment: Deployment) -> None:
    """Those of a pipeline; what nobody took, and what failed, is nobody else's answer afterwards."""
    client, keys = deployment.client, deployment.keys

    def ask(questions: Any) -> None:
        ask_user(questions, keys, 1, USERS[0])
        for view in PLAN.snapshot_views:
            ask_rows(questions, keys, 1, view, IDS[view.entity])

    with client.pipeline(transaction=False) as pipeline:
        ask(pipeline)
        expected = pipeline.execute()
    for _ in range(2):
        with InTurn(client) as questions:
            ask(questions)
            assert list(questions.answers()) == expected
            assert list(questions.answers()) == []
        with InTurn(client) as questions:
            ask(questions)
            assert next(questions.answers()) == expected[0]
        with InTurn(client) as questions, pytest.raises(ResponseError):
            questions.execute_command("EVAL", "no script", 0)
            list(questions.answers())
        assert client.echo("mine") == b"mine"


def test_rows_are_what_a_scorer_looks_up(deployment: Deployment) -> None:
    """Final values at the snapshot's instant, in the order asked, however many; unknown ids are missing."""
    snapshot = deployment.snapshot()
    for view in PLAN.snapshot_views:
        ids = [*IDS[view.entity], "never", *IDS[view.entity], *map(str, range(2500))]
        found = rows_read(view, ask_rows(deployment.client, deployment.keys, 1, view, ids), 1)
        assert found
        assert found.s == snapshot.s
        expected = snapshot.lookup(view.name, ids)
        assert len(found.seen_e) == len(ids)
        for row in (*range(2 * len(IDS[view.entity]) + 1), len(ids) - 1):
            assert plain(found.finals, row) == plain(expected, row)
        assert found.seen_e.valid[0]
        assert not found.seen_e.valid[-1]


def test_no_rows_are_asked(deployment: Deployment) -> None:
    """Nothing asked is nothing, of a snapshot all the same."""
    view = PLAN.snapshot_views[0]
    found = rows_read(view, ask_rows(deployment.client, deployment.keys, 1, view, []), 1)
    assert found
    assert len(found.seen_e) == 0


def test_before_the_first_snapshot_there_are_no_rows(redis_url: str, prefix: str) -> None:
    """Which is told apart from rows that are missing."""
    fresh = Deployment(redis_url, prefix)
    fresh.folding()
    for view in fresh.plan.snapshot_views:
        assert rows_read(view, ask_rows(fresh.client, fresh.keys, 1, view, ["i-1"]), 1) is None
    fresh.client.close()


def test_an_answer_of_another_generation_says_which(deployment: Deployment) -> None:
    """Each partition on its own for its users; the snapshot for all at once. What was asked of the old is not told."""
    keys, client = deployment.keys, deployment.client
    home = keys.partition_of(USERS[0])
    elsewhere = next(user for user in USERS if keys.partition_of(user) != home)
    client.hset(keys.meta(home), "generation", 2)
    with pytest.raises(Moved) as moved:
        user_read(ask_user(client, keys, 1, USERS[0]), 1)
    assert moved.value.generation == 2
    assert user_read(ask_user(client, keys, 2, USERS[0]), 2).fields == []
    assert user_read(ask_user(client, keys, 1, elsewhere), 1).fields
    with pytest.raises(Moved) as moved:
        user_read(ask_user(client, keys, 2, elsewhere), 2)
    assert moved.value.generation == 1

    view = PLAN.snapshot_views[0]
    assert rows_read(view, ask_rows(client, keys, 1, view, ITEMS), 1)
    client.hset(keys.deployment(), "generation", 2)
    with pytest.raises(Moved) as moved:
        rows_read(view, ask_rows(client, keys, 1, view, ITEMS), 1)
    assert moved.value.generation == 2
