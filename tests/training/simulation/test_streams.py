"""Addressed random numbers: the same on every machine, of no order, and as random as they should be."""

import numpy as np
import pytest

from tests.training.simulation.worlds import FAR, chi_square
from training.simulation.streams import REACTION, STARTS, WORLD, normals, uniforms


def test_numbers_are_those_of_philox() -> None:
    """The bits are promised by numpy, and how they become numbers is ours: written down once, they stay so."""
    assert [float(each).hex() for each in uniforms(1, 2, STARTS, 3, 3)] == [
        "0x1.ddede32433db9p-1", "0x1.e52a1e8016454p-1", "0x1.3a710124ae8e6p-2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other", [(2, 7, STARTS, 0), (1, 8, STARTS, 0), (1, 7, REACTION, 0), (1, 7, STARTS, 1), (1, WORLD, STARTS, 0)]
)
def test_another_address_has_other_numbers(other: tuple[int, int, int, int]) -> None:
    """Each part of the address counts."""
    ours, theirs = uniforms(1, 7, STARTS, 0, 1000), uniforms(*other, 1000)
    assert not np.isin(ours, theirs).any()
    assert abs(np.corrcoef(ours, theirs)[0, 1]) * np.sqrt(1000) < FAR


def test_neighbouring_users_are_uniform_together() -> None:
    """The first number of each of many users, all of whom differ in the key alone, fills [0, 1) evenly."""
    first = np.array([uniforms(5, user, STARTS, 0, 1)[0] for user in range(5_000)])
    counts = np.histogram(first, bins=50, range=(0, 1))[0]
    assert abs(chi_square(counts, np.full(50, 100.0))) < FAR


def test_normals_are_normal() -> None:
    """Mean 0, variance 1, and the tails of a normal distribution; an odd number of them is a beginning, too."""
    drawn = normals(1, 7, STARTS, 0, 40_000)
    assert (normals(1, 7, STARTS, 0, 3) == drawn[:3]).all()
    assert abs(drawn.mean()) * np.sqrt(40_000) < FAR
    assert abs((drawn**2).mean() - 1) * np.sqrt(40_000 / 2) < FAR
    assert abs((np.abs(drawn) > 2).mean() - 0.0455) * np.sqrt(40_000 / 0.0434) < FAR
