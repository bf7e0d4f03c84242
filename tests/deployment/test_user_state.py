"""A user's hash, as one read returns it: the scorer and the Feast plug-in take values from it with these functions."""

import numpy as np

from behavior.column import Column
from behavior.event import DAY_US, PERSONALIZATION, Admitted, Event
from behavior.finals import StoredRows
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.state import encode, fold
from behavior.words import age, count
from deployment.user_state import UserState, rows_of, state_field

T = 20_000 * DAY_US
FEATURES = tuple(FeatureDefinition(each.name, each) for each in (count("purchase", over="24h"), age("purchase")))
PLAN = Plan(
    [
        ViewDefinition("people", "user", ("purchase",), FEATURES),
        ViewDefinition("pairs", "user_category", ("purchase",), FEATURES),
        ViewDefinition("everybody", "all", ("purchase",), FEATURES),
    ]
)
PEOPLE, PAIRS = PLAN.view("people"), PLAN.view("pairs")
CATEGORIES = ("TEA", "a|b", "käse", "")


def bought(category: str, t: int = T) -> Admitted:
    return Admitted(Event("m1", "purchase", "k1-ada", t, category=category, purposes=PERSONALIZATION), t, t)


def stored(*categories: str) -> UserState:
    """A user's hash after one purchase in each category."""
    fields = {state_field(PEOPLE): encode(PEOPLE, fold(PEOPLE, None, bought("TEA")))}
    for each in categories:
        fields[state_field(PAIRS, each)] = encode(PAIRS, fold(PAIRS, None, bought(each)))
    return UserState(PLAN, fields)


def counts(found: dict[str, Column]) -> list[int | None]:
    (name,) = (name for name in found if name.endswith("count_24h"))
    column = found[name]
    return [int(value) if there else None for value, there in zip(column.values, column.valid, strict=True)]


def test_a_user_view_is_one_row() -> None:
    """Whichever categories are asked for; an unknown user's row is missing."""
    for asked in ([], ["TEA"], ["TEA", "MILK"]):
        assert counts(stored("TEA").columns(PEOPLE, asked, T + 1)) == [1]
        assert counts(UserState(PLAN, {}).columns(PEOPLE, asked, T + 1)) == [None]


def test_a_pair_view_is_a_row_per_category() -> None:
    """In the order and as often as asked for, whatever stands in the category; those without a state are missing."""
    state = stored(*CATEGORIES[:3])
    asked = ["käse", "MILK", "a|b", "TEA", "käse"]
    found = state.columns(PAIRS, asked, T + 1)
    assert counts(found) == [1, None, 1, 1, 1]
    assert set(found) == {"pairs:purchase_count_24h", "pairs:purchase_age_s"}
    assert counts(UserState(PLAN, {}).columns(PAIRS, asked, T + 1)) == [None] * 5
    assert counts(state.columns(PAIRS, [], T + 1)) == []


def test_the_users_categories_are_those_with_a_state() -> None:
    """In order, each once; a user view is none of them."""
    assert stored("käse", "TEA", "a|b").categories() == ["TEA", "a|b", "käse"]
    assert stored().categories() == []


def test_fields_are_told_apart_by_their_letter() -> None:
    """The plan of the hash names the views; a category that begins like another view's field is a category."""
    fields = {state_field(view, category) for view in (PEOPLE, PAIRS) for category in (None, *CATEGORIES[:3], "b")}
    assert len(fields) == 10
    assert {PLAN.lettered(field).name for field in fields} == {"people", "pairs"}
    assert counts(stored("TEA").columns(PAIRS, ["bTEA"], T + 1)) == [None]


def test_values_are_final_and_fall_by_themselves() -> None:
    """At the instant that is asked: what a window has passed no longer counts, and ages grow."""
    state = stored("TEA")
    for view, asked in ((PEOPLE, []), (PAIRS, ["TEA"])):
        assert counts(state.columns(view, asked, T + 1)) == [1]
        later = state.columns(view, asked, T + 2 * DAY_US)
        assert counts(later) == [0]
        assert later[f"{view.name}:purchase_age_s"].values.tolist() == [2 * 86_400.0]
        gone = state.columns(view, asked, T + 400 * DAY_US)
        assert [column.valid.tolist() for column in gone.values()] == [[False], [False]]


def test_rows_of_stored_states() -> None:
    """Each candidate has the values of its row, or none. Everybody is read at whole minutes."""
    state = stored("TEA").fields[state_field(PAIRS, "TEA")]
    found = rows_of(PAIRS, [state], np.array([1, 0, 1, 0]), T + 1)
    name = next(ref for ref in found.refs if ref.endswith("count_24h"))
    assert found.column(name).valid.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(written(found, name, 4), np.array([np.nan, 1, np.nan, 1], dtype=np.float32))
    everybody = PLAN.view("everybody")
    data = encode(everybody, fold(everybody, None, bought("TEA")))
    age = "everybody:purchase_age_s"
    assert written(rows_of(everybody, [data], None, T + 90_000_000), age, 2).tolist() == [60.0, 60.0]


def written(block: StoredRows, ref: str, n: int) -> np.ndarray:
    """The feature as a column of the model's rows."""
    rows = np.zeros((n, 3), dtype=np.float32)
    block.write(rows, np.array([1], dtype=np.intp), (ref,))
    assert not rows[:, ::2].any()
    return rows[:, 1]
