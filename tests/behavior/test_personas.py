"""Personas: the nearest centre, the same for one row as for many, from bytes that no flipped bit survives."""

import msgspec
import numpy as np
import pytest

from behavior.column import Column
from behavior.errors import BundleRefused
from behavior.event import DAY_US
from behavior.manifest import Span
from behavior.personas import (
    UNKNOWN,
    Choice,
    Persona,
    PersonaInput,
    Personas,
    assign,
    check_features,
    decode,
    encode,
    sealed,
    typical,
)

DAY_S = 86_400.0
RECENCY = PersonaInput("recency", "people:age", "aa", 400 * DAY_S, DAY_S, float(np.log1p(9)), 1.0)
ORDERS = PersonaInput("orders", "people:orders", "bb", 0.0, 1.0, float(np.log1p(4)), 2.0)


def personas(*people: Persona) -> Personas:
    """Two inputs; by default whoever bought yesterday, and whoever bought long ago."""
    draft = Personas(
        personas_id="", digest="", inputs=(RECENCY, ORDERS), window_us=30 * DAY_US,
        personas=people or (Persona("Champions", 40, (-1.5, 0.5)), Persona("Dormant", 30, (1.5, -0.8))),
        made_from=Span(17_380 * DAY_US, 17_440 * DAY_US), choice=Choice("kmeans", 2, 0.5, 0.9),
    )  # fmt: skip
    return sealed(draft)


def finals(ages: list[float | None], orders: list[int | None]) -> dict[str, Column]:
    return {"people:age": Column.of(ages, "float32"), "people:orders": Column.of(orders, "int64")}


def test_users_get_the_nearest_centre() -> None:
    """Recent buyers and lapsed ones are told apart; who has no value stands where its input says."""
    found = assign(personas(), finals([DAY_S, 60 * DAY_S, None], [12, 0, 3]))
    assert found.dtype == np.int64
    assert personas().named(found).tolist() == ["Champions", "Dormant", "Dormant"]


def test_a_user_of_whom_nothing_is_known_is_unknown() -> None:
    """Only without any value; values that are not there are not read, whatever they are."""
    nothing = Column(np.array([np.nan, 5.0, 5.0], np.float32), np.array([False, False, True]))
    orders = Column(np.array([99, 99, 0]), np.array([False, True, False]))
    found = assign(personas(), {"people:age": nothing, "people:orders": orders})
    assert found.tolist()[0] == UNKNOWN
    assert UNKNOWN not in found.tolist()[1:]
    assert personas().name_of(UNKNOWN) == "Unknown"
    assert personas().named(found).tolist()[0] == "Unknown"


def test_of_equally_near_centres_the_first_is_taken() -> None:
    """A tie has one answer."""
    tied = personas(Persona("B", 20, (1.0, 0.0)), Persona("A", 20, (-1.0, 0.0)))
    assert assign(tied, finals([9 * DAY_S], [4])).tolist() == [0]


def test_one_row_alone_gets_what_it_gets_among_many() -> None:
    """Requests ask one by one, training asks for all rows together: equal to the last place."""
    draw = np.random.default_rng(3)
    centres = np.round(draw.normal(size=(7, 2)), 6).tolist()
    many = personas(*(Persona(f"p{place}", 20, tuple(each)) for place, each in enumerate(centres)))
    ages, orders = draw.exponential(20 * DAY_S, 40_000).astype(np.float32), draw.integers(0, 40, 40_000)
    there = draw.random((2, 40_000)) < 0.9
    table = {"people:age": Column(ages, there[0]), "people:orders": Column(orders, there[1])}
    together = assign(many, table)
    for row in [*range(300), *range(39_700, 40_000)]:
        one = {ref: Column(column.values[row : row + 1], column.valid[row : row + 1]) for ref, column in table.items()}
        assert assign(many, one).tolist() == [together[row]], row


def test_the_typical_user_is_told_in_units() -> None:
    """A centre turned back: 9 days and 4 orders are the means."""
    middle = personas(Persona("Middle", 20, (0.0, 0.0)))
    assert typical(middle, 0) == pytest.approx({"recency": 9.0, "orders": 4.0})


def test_personas_read_back_equal() -> None:
    """The id names the date of the instant they were made at; equal content has equal bytes."""
    assert decode(encode(personas())) == personas()
    assert personas().personas_id.startswith("personas-20171001-")
    assert encode(personas()) == encode(personas())


def test_every_flipped_bit_is_refused() -> None:
    """All of them, one by one: no byte of the manifest can change unnoticed."""
    data = encode(personas())
    for place in range(len(data)):
        for bit in range(8):
            flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            with pytest.raises(BundleRefused):
                decode(flipped)


@pytest.mark.parametrize(
    "wrong",
    [
        {"personas": ()},
        {"inputs": ()},
        {"personas": (Persona("A", 20, (1.0,)),)},
        {"personas": (Persona("A", 20, (1.0, 0.0)), Persona("A", 20, (2.0, 0.0)))},
        {"personas": (Persona("Unknown", 20, (1.0, 0.0)),)},
        {"inputs": (RECENCY, msgspec.structs.replace(ORDERS, scale=0.0))},
        {"format": 2},
    ],
    ids=["no persona", "no input", "short centre", "equal names", "taken name", "no scale", "format"],
)
def test_whole_bytes_without_sense_are_refused(wrong: dict[str, object]) -> None:
    """Sealed by whoever wrote them, and still nothing that users can be assigned with."""
    with pytest.raises(BundleRefused):
        decode(encode(sealed(msgspec.structs.replace(personas(), **wrong))))


def test_features_must_be_those_they_were_made_with() -> None:
    """A changed or absent feature is named; other features do not matter."""
    check_features(personas(), {"people:age": "aa", "people:orders": "bb", "other:n": "cc"})
    with pytest.raises(BundleRefused, match="people:orders"):
        check_features(personas(), {"people:age": "aa", "people:orders": "b2"})
    with pytest.raises(BundleRefused, match="people:age"):
        check_features(personas(), {"people:orders": "bb"})
