"""The journal's entries: what is written without an object for each thing shown is what msgspec writes of the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.calibration import Calibration
from behavior.raw_rows import RawRows
from behavior.served import Basis, Explored, decode, encode
from scoring import journal_entry as rooms
from scoring.answer import Answer, Degradation
from scoring.journal_entry import served, write
from scoring.ranking import Addend, Ranked
from tests.scoring.rankings import ranking_of

# Lengths and numbers on either side of where MessagePack says them in more bytes.
LENGTHS = st.sampled_from([0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
texts = st.text(max_size=40) | st.builds(lambda length: "é" + "x" * length, LENGTHS)
EDGES = [edge + by for bits in (5, 7, 8, 15, 16, 31, 32, 62) for edge in (2**bits, -(2**bits)) for by in (-1, 0, 1)]
numbers = st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=64)
packed = msgspec.msgpack.Encoder().encode


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Any answer: of any number of things, factors and reasons, with and without whatever may be left out."""
    kind, names = draw(st.sampled_from(["category", "item"])), draw(st.lists(texts, max_size=3))
    weights = [draw(floats) for _ in names]
    m = draw(st.sampled_from([0, 1, 2, 3, 15, 16, 17]))
    moved = draw(st.booleans())
    explored = st.builds(
        Explored, texts, floats, st.binary(max_size=300), st.lists(texts, max_size=2).map(tuple),
        st.binary(max_size=300), st.lists(texts, max_size=2).map(tuple), st.booleans(), st.binary(max_size=300),
    )  # fmt: skip
    ranked = ranking_of(
        *[
            Ranked(
                kind, draw(texts), draw(texts), draw(floats),
                tuple(Addend(name, draw(floats), weight, 0.0) for name, weight in zip(names, weights, strict=True)),
                draw(floats), draw(floats), draw(floats),
                draw(st.binary(max_size=9)) * draw(st.integers(0, 40)), {}, (),
                draw(st.integers(1, 70_000)) if moved else place,
            )
            for place in range(1, m + 1)
        ],
        explored=draw(st.none() | explored),
    )  # fmt: skip
    raws = st.builds(RawRows, texts, st.binary(max_size=300), st.just(((None, "a", ["b"]),)))
    basis = st.builds(Basis, numbers, texts, st.lists(raws, max_size=2).map(tuple), texts, texts)
    return Answer(
        draw(texts), draw(texts), draw(st.none() | texts), draw(numbers), draw(numbers), draw(numbers), draw(texts),
        "purchase_7d", draw(st.none() | st.just(Calibration(0.8, -0.3))), draw(numbers), ranked,
        tuple(Degradation(reason, "") for reason in draw(st.lists(texts, max_size=3))), draw(texts),
        placements_id=draw(texts), basis=draw(st.none() | basis),
    )  # fmt: skip


@given(answers(), texts, st.binary(max_size=20))
def test_an_entry_is_what_msgspec_writes_of_it(answer: Answer, key_id: str, seal: bytes) -> None:
    """To the last byte, whatever is said and left out; and it can be read again."""
    data = write(answer, key_id, seal, packed)
    assert data == encode(served(answer, key_id, seal))
    assert encode(decode(data)) == data


@pytest.mark.skipif(write.__module__ == rooms.__name__, reason="there was no C compiler")
def test_a_column_that_is_too_short_is_an_error() -> None:
    """Compiled parts read nothing beyond a list, and write nothing in its place."""
    ranked = ranking_of(*[Ranked("item", "i", "c", 1.0, (Addend("a", 1.0, 1.0, 1.0),), 1.0, 0.0, 0.5, b"", {})] * 2)
    for name in ("margins", "residuals", "scores", "vectors", "propensities"):
        short = msgspec.structs.replace(ranked, **{name: []})
        with pytest.raises(IndexError):
            write(Answer("r", "u", None, 1, 0, 0, "b", "t", None, 0, short, ()), "", b"", packed)
    with pytest.raises(IndexError):
        short = msgspec.structs.replace(ranked, values=[[]])
        write(Answer("r", "u", None, 1, 0, 0, "b", "t", None, 0, short, ()), "", b"", packed)
