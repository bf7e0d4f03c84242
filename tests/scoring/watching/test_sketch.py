"""Sketches: whatever the order, the blocks and the merges, the counts are those of a naive count."""

import json
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.errors import BadInput
from scoring.learners import canonical_hash
from scoring.watching.sketch import BLOCKS, NAMES, Bins, Column, Reference, Sketch, Values, reference_of

QUICK = settings(max_examples=60, deadline=None)
NUMBERS = st.floats(-5, 5, width=16) | st.sampled_from([0.0, -0.0, 1.0, 2.0, np.inf, -np.inf, np.nan, 9.0])
TEXTS = st.sampled_from(["", "tea", "milk", "bread", "a|b", "50%", "ü"]) | st.text("xyz", max_size=3)


def rows_of(values: st.SearchStrategy[float] | st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[object, int]]]:
    """Rows of a column: a value and its user."""
    return st.lists(st.tuples(values, st.integers(0, 200)), max_size=60)


ROWS = st.one_of(st.tuples(st.just("f8"), rows_of(NUMBERS)), st.tuples(st.just("U8"), rows_of(TEXTS)))


def reference(dtype: str) -> Reference:
    """A reference with atoms and few values, of either kind."""
    random = np.random.default_rng(1)
    column = random.poisson(0.7, 500) * random.choice([0.5, 1.0], 500)
    texts = random.choice(np.array(["tea", "milk", "rare"]), 500, p=[0.6, 0.395, 0.005])
    return reference_of(column if dtype == "f8" else texts, random.integers(0, 1000, 500))


def sketched(dtype: str, rows: Sequence[tuple[object, int]]) -> Sketch:
    """A sketch of these rows, added at once."""
    sketch = Sketch(reference(dtype))
    sketch.add(np.array([value for value, _ in rows], dtype), np.array([user for _, user in rows], np.int64))
    return sketch


@QUICK
@given(ROWS, st.randoms(use_true_random=False))
def test_neither_order_nor_merging_matters(drawn: tuple[str, list[tuple[object, int]]], random: object) -> None:
    """Rows in another order, in three sketches merged either way round, make the same numbers to the last bit."""
    dtype, rows = drawn
    whole = canonical_hash(sketched(dtype, rows).numbers())
    shuffled = random.sample(rows, len(rows))  # type: ignore[attr-defined]
    parts = [shuffled[::3], shuffled[1::3], shuffled[2::3]]
    left, middle, right = (sketched(dtype, part) for part in parts)
    left.merge(middle)
    left.merge(right)
    other, late = (sketched(dtype, part) for part in parts[1:])
    other.merge(late)
    other.merge(sketched(dtype, parts[0]))
    assert canonical_hash(left.numbers()) == canonical_hash(other.numbers()) == whole


@QUICK
@given(ROWS, ROWS)
def test_a_restart_changes_nothing(before: tuple[str, list], after: tuple[str, list]) -> None:
    """What is restored from numbers that went through JSON goes on as if nothing had happened."""
    dtype, rows = before
    later = [(value if dtype == "f8" else str(value), user) for value, user in after[1] if after[0] == dtype]
    sketch = sketched(dtype, rows)
    again = sketched(dtype, later)  # is overwritten
    again.restore({key: tuple(values) for key, values in json.loads(json.dumps(sketch.numbers())).items()})
    for each in (sketch, again):
        each.merge(sketched(dtype, later))
    assert canonical_hash(sketch.numbers()) == canonical_hash(again.numbers())


@QUICK
@given(rows_of(NUMBERS))
def test_numbers_are_counted_as_one_would(rows: list[tuple[float, int]]) -> None:
    """Each row is in the one cell whose edges it lies between, or missing; those beyond the range are unseen."""
    sketch = sketched("f8", rows)
    scale = sketch.reference.scale
    assert isinstance(scale, Bins)
    naive = np.zeros_like(sketch.counts)
    for value, user in rows:
        cell = scale.cells if np.isnan(value) else sum(edge <= value for edge in scale.edges)
        naive[user % BLOCKS, cell] += 1
        naive[user % BLOCKS, -1] += value < scale.low or value > scale.high
    assert np.array_equal(sketch.counts, naive)


@QUICK
@given(rows_of(TEXTS))
def test_categories_are_counted_as_one_would(rows: list[tuple[str, int]]) -> None:
    """Each row is in its value's cell, in that of the others, or missing; new values are unseen, the first by name."""
    sketch = sketched("U8", rows)
    scale = sketch.reference.scale
    assert isinstance(scale, Values)
    cells = sketch.counts.sum(0)
    counted = Counter(value for value, _ in rows)
    new = {value: rows for value, rows in counted.items() if value not in {"", *scale.frequent, *scale.rare}}
    assert [cells[place] for place in range(len(scale.frequent))] == [counted[value] for value in scale.frequent]
    assert (sketch.rows, sketch.missing, sketch.unseen) == (len(rows), counted[""], sum(new.values()))
    assert sketch.names == {name: new[name] for name in sorted(new)[:NAMES]}


def test_names_are_bounded_and_whole() -> None:
    """However many new values there are, the first 20 are kept, each with all of its rows."""
    names = [f"new {number:04d}" for number in range(500)]
    random = np.random.default_rng(3)
    sketch = Sketch(reference("U8"))
    for _ in range(5):
        random.shuffle(names)
        sketch.add(np.array(names), np.arange(500))
    assert sketch.names == {f"new {number:04d}": 5.0 for number in range(NAMES)}
    assert sketch.unseen == 2500


@pytest.mark.parametrize(
    ("column", "edges"),
    [
        (np.full(1000, 7.0), ()),
        (np.where(np.arange(1000) % 2, 0.0, -0.0), ()),
        (np.repeat([0.0, 1.0], 500), (np.nextafter(0, 1),)),
        (np.append(np.zeros(900), np.arange(1, 101)), (np.nextafter(0, 1),)),
        (np.repeat([0.0, 1.0, 2.0], [700, 200, 100]), (np.nextafter(0, 1), np.nextafter(1, 2))),
        (np.arange(1000.0), tuple(np.arange(100.0, 1000, 100))),
    ],
    ids=["constant", "zeros of both signs", "yes or no", "zero-inflated", "few integers", "all different"],
)
def test_frequent_values_have_cells_of_their_own(column: Column, edges: tuple[float, ...]) -> None:
    """Edges are quantiles, just above a frequent value where there is one, and no cell is empty."""
    scale = reference_of(column, np.arange(len(column))).scale
    assert isinstance(scale, Bins)
    assert scale.edges == pytest.approx(edges, rel=0, abs=1e-9 + (max(edges, default=0) > 50))


def test_no_cell_of_a_reference_is_small() -> None:
    """Whatever the column, at most 21 cells, each with 1 % of the rows or more."""
    random = np.random.default_rng(5)
    for column in (random.standard_cauchy(3000), np.floor(random.lognormal(1, 2, 3000)), random.poisson(2, 3000) * 1.0):
        counts = np.asarray(reference_of(column, np.arange(3000)).counts).sum(0)[:-2]
        assert len(counts) <= 21
        assert counts.min() >= 30
        assert counts.sum() == 3000


@pytest.mark.parametrize("dtype", ["f8", "U8"])
def test_a_reference_is_plain_data(dtype: str) -> None:
    """It comes back from JSON as it was, to the last bit."""
    made = reference(dtype)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Reference) == made


@pytest.mark.parametrize(
    ("column", "users", "unseen"),
    [
        (np.array([0.0, 1.0, 2.0, 9.0, 9.0, np.nan]), [0, 1, 2, 3, 3, 4], 3),
        (np.array([np.nan, 0.0, 0.0, 9.0, 9.0]), [0, 1, 2, 3, 4], 0),
        (np.array(["a", "b", "a", "b", "c", "c", ""]), [0, 1, 2, 3, 4, 4, 5], 2),
    ],
    ids=["extremes of one block", "extremes of two blocks", "a value of one block"],
)
def test_a_reference_knows_what_is_new_in_it(column: Column, users: list[int], unseen: int) -> None:
    """Its unseen rows are those with a value that is new to, or outside the range of, all other blocks."""
    assert np.asarray(reference_of(column, np.array(users)).counts)[:, -1].sum() == unseen


def test_what_cannot_be_compared_is_refused() -> None:
    """A reference needs a value, and sketches of different references do not merge."""
    for column in (np.full(3, np.nan), np.array(["", ""])):
        with pytest.raises(BadInput, match="always missing"):
            reference_of(column, np.arange(len(column)))
    with pytest.raises(BadInput, match="different references"):
        sketched("f8", []).merge(sketched("U8", []))
