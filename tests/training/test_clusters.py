"""Groups of users: how many, which are merged, and that the same users have the same groups."""

import numpy as np
import pytest

from behavior.personas import Choice
from training.clusters import DENSITY, KMEANS, LEAST_USERS, Candidate, chosen, cluster, merged, nearest


def blobs(*sizes: int, seed: int = 5, spread: float = 0.2) -> np.ndarray:
    """Round groups of so many users on a circle of radius 4."""
    draw = np.random.default_rng(seed)
    angles = np.arange(len(sizes)) * 2 * np.pi / len(sizes)
    middles = 4 * np.column_stack([np.cos(angles), np.sin(angles)])
    return np.vstack([middle + spread * draw.normal(size=(n, 2)) for middle, n in zip(middles, sizes, strict=True)])


def test_groups_that_are_there_are_found() -> None:
    """Four clear groups make four centres, each in the midst of one, and they are stable."""
    x = blobs(80, 60, 50, 40)
    found = cluster(x)
    assert found.choice.clusters == 4
    assert found.choice.stability > 0.95
    assert sorted(np.bincount(nearest(found.centres, x)).tolist()) == [40, 50, 60, 80]


def test_the_same_users_have_the_same_groups() -> None:
    """Bit for bit: seeds are fixed."""
    x = blobs(60, 60, 60, spread=1.5)
    assert np.array_equal(cluster(x).centres, cluster(x.copy()).centres)


def test_too_few_users_are_one_group() -> None:
    """Where three groups of 20 do not fit there is one, at the mean; so too where all users are alike."""
    x = blobs(20, 20, 15)
    assert np.array_equal(cluster(x).centres, x.mean(axis=0)[None, :])
    assert len(cluster(np.ones((200, 3))).centres) == 1


def test_groups_under_twenty_are_merged_into_the_nearest() -> None:
    """A group of 19 joins its neighbour, one of 20 stays; every group that is left is large enough."""
    x = np.vstack([np.zeros((40, 1)), np.full((19, 1), 3.0), np.full((20, 1), 10.0)])
    centres = merged(np.array([[0.0], [3.0], [10.0]]), x)
    assert centres[:, 0].tolist() == pytest.approx([19 * 3 / 59, 10.0])
    assert np.bincount(nearest(centres, x)).tolist() == [59, 20]


def test_merging_goes_on_until_all_are_large_enough() -> None:
    """Many small groups may end as one, and a centre that nobody is near to goes."""
    x = np.repeat(np.arange(6.0), 6)[:, None]
    assert np.bincount(nearest(merged(np.arange(6.0)[:, None], x), x)).min() >= LEAST_USERS
    kept = merged(np.array([[0.0], [5.0], [99.0]]), np.repeat([[0.0], [5.0]], 25, axis=0))
    assert kept[:, 0].tolist() == [0.0, 5.0]


def test_the_most_groups_that_are_stable_and_apart_are_taken() -> None:
    """Neither an unstable number nor one that gives away much silhouette; without a stable one the most stable."""
    three, five, six, seven = (
        Candidate(KMEANS, k, silhouette, stability)
        for k, silhouette, stability in ((3, 0.41, 0.95), (5, 0.33, 0.9), (6, 0.2, 0.9), (7, 0.4, 0.5))
    )
    assert chosen([three, five, six, seven]) == 1
    assert chosen([seven, Candidate(KMEANS, 8, 0.1, 0.6)]) == 1


def test_the_number_before_is_kept_while_it_does_not_do_much_worse() -> None:
    """A number that has become a little less stable stays, one that falls apart goes."""
    best, before = Candidate(KMEANS, 6, 0.4, 0.95), Choice(KMEANS, 4, 0.4, 0.9)
    assert chosen([Candidate(KMEANS, 4, 0.3, 0.7), best], before) == 0
    assert chosen([Candidate(KMEANS, 4, 0.3, 0.5), best], before) == 1
    assert chosen([Candidate(KMEANS, 4, 0.2, 0.9), best], before) == 1


def test_density_is_considered_and_taken_only_where_it_helps() -> None:
    """It is always told. On round groups K-means stays; a long group that K-means cuts in two is one by density."""
    found = cluster(blobs(80, 60, 50, 40))
    assert [each.method for each in found.considered].count(DENSITY) == 1
    assert found.choice.method == KMEANS
    draw = np.random.default_rng(5)
    long = np.column_stack([draw.uniform(0, 3, 80), draw.normal(0, 0.1, 80)])
    x = np.vstack([long, draw.normal((-6, 6), 0.3, (120, 2)), draw.normal((9, 6), 0.3, (120, 2))])
    whole = cluster(x)
    assert (whole.choice.method, whole.choice.clusters) == (DENSITY, 3)
    assert len(set(nearest(whole.centres, x[:80]).tolist())) == 1
    assert chosen([each for each in whole.considered if each.method == KMEANS]) == 1  # four groups, without density
