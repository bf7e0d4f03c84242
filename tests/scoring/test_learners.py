"""Keys and the hash of what was learned: no two states are written alike."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from scoring.learners import apart, canonical_hash, joined, key_of, parts_of

PARTS = st.lists(st.text(st.sampled_from("a|%2057C\n\x00é"), max_size=6), min_size=1, max_size=4)


@given(PARTS)
def test_a_key_says_its_parts(parts: list[str]) -> None:
    """Whatever the parts hold, they come back: so other parts have another key."""
    assert list(parts_of(key_of(*parts))) == parts


@given(PARTS, PARTS)
def test_keys_that_follow_each_other_are_one_key(parts: list[str], others: list[str]) -> None:
    """Joined they are the key of all parts together, and numbers are found under the first one."""
    key = joined(key_of(*parts), key_of(*others))
    assert key == key_of(*parts, *others)
    assert apart({key: (1.0,)}) == {parts[0]: {key_of(*parts[1:], *others): (1.0,)}}


def test_the_hash_does_not_depend_on_order_and_sees_every_bit() -> None:
    """Shuffled numbers have the same hash; the least change of a number, a key or a border has another."""
    numbers = {"a": (1.0, 2.0), "b": (0.1 + 0.2,), "ab": ()}
    keys = list(numbers)
    random.Random(3).shuffle(keys)
    assert canonical_hash({key: numbers[key] for key in keys}) == canonical_hash(numbers)
    others = [
        {**numbers, "b": (math.nextafter(0.1 + 0.2, 1.0),)},
        {**numbers, "a": (1.0,), "b": (2.0, 0.1 + 0.2)},
        {**numbers, "c": (0.0,)},
        {"A" if key == "a" else key: values for key, values in numbers.items()},
        {**numbers, "ab": (0.0,)},
        {**numbers, "ab": (-0.0,)},
        {},
    ]
    assert len({canonical_hash(each) for each in [numbers, *others]}) == 1 + len(others)
