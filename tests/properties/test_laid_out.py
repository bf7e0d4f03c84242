"""Rows of candidates, compiled and in numpy: looked up and laid out alike, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior import numpy_rows, places
from behavior.finals import Columns
from behavior.plan import View
from deployment.user_state import rows_of
from tests.properties.answers import of_entity, stored
from tests.properties.strategies import ENTITIES, entity_keys, instants, logs, view_definition
from tests.properties.test_readout import NASTY

NAMES = ("", "a", "b", "käse", "käse|2", "unheard of")
SOME = st.lists(st.sampled_from(NAMES), max_size=8)


@pytest.mark.parametrize("entity", ENTITIES)
@settings(NASTY, max_examples=60)
@given(data=st.data())
def test_rows_are_laid_out_as_their_columns_are(data: st.DataObject, entity: str) -> None:
    """Every numeric feature of every kind, of candidates in any order, at any instant, in any places."""
    view = View(view_definition(entity))
    log = data.draw(logs(), "log")
    t = data.draw(instants(view.definition, log, at_most=1), "t")[0]
    events = [[a for a in of_entity(view, log, key) if a.k < t] for key in entity_keys(view.definition)]
    known = [found for found in (stored(view, each) for each in events) if found is not None]
    of = data.draw(st.none() | st.lists(st.integers(0, len(known)), min_size=1, max_size=6), "rows")
    block = rows_of(view, known, None if of is None else np.array(of, dtype=np.intp), t)
    numeric = [each.ref for each in view.features if each.dtype in ("int64", "float32")]
    refs = tuple(data.draw(st.permutations(numeric), "order"))
    n = 3 if of is None else len(of)
    found, expected = np.zeros((2, n, len(refs) + 1), dtype=np.float32)
    where = np.arange(1, len(refs) + 1, dtype=np.intp)
    block.write(found, where, refs)
    Columns({ref: block.column(ref) for ref in refs}).write(expected, where, refs)
    assert found.tobytes() == expected.tobytes()


@given(names=SOME, asked=SOME)
def test_names_are_looked_up(names: list[str], asked: list[str]) -> None:
    """A name's row, or the one behind the last."""
    index = {name: row for row, name in enumerate(dict.fromkeys(names))}
    assert places.places_in(index, asked).tolist() == numpy_rows.places_in(index, asked).tolist()


@given(known=SOME, asked=SOME)
def test_stored_states_are_looked_up(known: list[str], asked: list[str]) -> None:
    """The states of one letter, in the order of the categories."""
    fields = {letter + name.encode(): letter + b"!" + name.encode() for name in known for letter in (b"a", b"c")}
    found, rows = places.stored_of(fields, b"c", asked)
    expected, expected_rows = numpy_rows.stored_of(fields, b"c", asked)
    assert (found, rows.tolist()) == (expected, expected_rows.tolist())


@given(known=SOME, texts=st.lists(st.none() | st.sampled_from(NAMES), max_size=8))
def test_codes_are_written(known: list[str], texts: list[str | None]) -> None:
    """One per row, or one for all; what the vocabulary does not have is NaN."""
    vocabulary = {name: code for code, name in enumerate(dict.fromkeys(known))}
    found, expected = np.zeros((2, 5 if len(texts) == 1 else len(texts), 3), dtype=np.float32)
    places.write_codes(found, 1, texts, vocabulary)
    numpy_rows.write_codes(expected, 1, texts, vocabulary)
    assert found.tobytes() == expected.tobytes()


@given(of=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_rows_are_gathered(of: list[int]) -> None:
    """Each row from where it stands, or one for all."""
    laid_out = np.arange(8, dtype=np.float32).reshape(4, 2)
    found, expected = np.zeros((2, 5 if len(of) == 1 else len(of), 4), dtype=np.float32)
    places.write_gathered(found, np.array([3, 1]), laid_out, np.array(of))
    numpy_rows.write_gathered(expected, np.array([3, 1]), laid_out, np.array(of))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("where", "of"), [((3, 4), (0,)), ((-1, 1), (0,)), ((3, 1), (4,)), ((3, 1), (0, -1, 0)), ((3, 1, 0), (0,))]
)
def test_nothing_is_written_outside(where: tuple[int, ...], of: tuple[int, ...]) -> None:
    """Compiled code refuses a column or a row that is not there; it does not count from the end."""
    compiled = pytest.importorskip("behavior.compiled_rows")
    laid_out, rows = np.zeros((4, 2), dtype=np.float32), np.zeros((3, 4), dtype=np.float32)
    with pytest.raises((IndexError, ValueError)):
        compiled.write_gathered(rows, np.array(where), laid_out, np.array(of))
