"""Whole numbers as bytes: every int64 comes back, in one piece with others or alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from behavior.codec import decode_numbers, encode_numbers, put, take

# Around every change of length, and at the ends.
EDGES = tuple(
    sign * (1 << bits) + shift
    for bits in range(63)
    for sign in (1, -1)
    for shift in (-1, 0, 1)
)  # fmt: skip
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from((*EDGES, -(2**63), 2**63 - 1))


@given(st.lists(INT64, max_size=20))
def test_what_is_encoded_is_decoded(numbers: list[int]) -> None:
    """In order, with the place at which each begins and ends."""
    data, borders = encode_numbers(numbers)
    found, ends = decode_numbers(data)
    assert found.dtype == np.int64
    assert found.tolist() == numbers
    assert borders.tolist() == [0, *(ends + 1).tolist()]
    assert data == b"".join(put(number) for number in numbers)


@given(INT64, st.binary(max_size=3), st.binary(max_size=3))
def test_one_number_is_taken_from_between_others(number: int, before: bytes, after: bytes) -> None:
    """`take` gives the number and the position behind it."""
    data = before + put(number) + after
    assert take(data, len(before)) == (number, len(before) + len(put(number)))


def test_numbers_are_zigzag_leb128() -> None:
    """As the format says (DWARF 5, 7.6): seven bits a byte, the lowest first; signs alternate."""
    expected = {
        0: "00",
        -1: "01",
        1: "02",
        63: "7e",
        -64: "7f",
        64: "8001",
        300: "d804",
        2**63 - 1: "fe" + "ff" * 8 + "01",
    }
    assert {number: put(number).hex() for number in expected} == expected
    assert encode_numbers([*expected])[0].hex() == "".join(expected.values())


def test_every_length() -> None:
    """From one byte to ten."""
    data, borders = encode_numbers(EDGES)
    assert decode_numbers(data)[0].tolist() == list(EDGES)
    assert set(np.diff(borders).tolist()) == set(range(1, 11))
    assert len(put(-(2**63))) == len(put(2**63 - 1)) == 10
