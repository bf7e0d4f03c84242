"""How many groups there are among users, and where: K-means judged by stability and silhouette, HDBSCAN beside it.

stability    how alike two partitions of the same users are, that of all and that of a bootstrap sample: the adjusted
             Rand index (Hubert and Arabie, Journal of Classification 2, 1985, p. 193), mean of ten samples
silhouette   how much nearer users are to their own group than to the next (Rousseeuw, J. Comput. Appl. Math. 20, 1987)

Nothing here depends on the number of threads: the same rows have the same groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from behavior.personas import Choice

KMEANS, DENSITY = "kmeans", "hdbscan"
SEED = 7
# Two groups are hardly personas; more than eight nobody tells apart.
FEWEST, MOST = 3, 8
# Fewer users than this in a group say too much about each of them, and too little about the group.
LEAST_USERS = 20
LEAST_STABILITY = 0.8
# So much of the best silhouette is given for more groups to speak of.
SILHOUETTE_GIVEN = 0.1
# The number before is kept while it is as stable as this and gives no more: another number renames many users.
KEPT_STABILITY, KEPT_GIVEN = 0.6, 0.15
# What density must gain in silhouette, and the share of users that it may call noise.
DENSITY_GAIN, MOST_NOISE = 0.05, 0.1
_BOOTSTRAPS = 10
_FIT_ROWS, _SILHOUETTE_ROWS, _DENSITY_ROWS = 20_000, 5_000, 10_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to group the users: its figures, and the share of users that it calls noise."""

    method: str
    clusters: int
    silhouette: float
    stability: float
    noise: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """The groups that were taken, float64[k, d] of their centres, and all that were considered."""

    centres: np.ndarray
    choice: Choice
    considered: tuple[Candidate, ...]


def cluster(x: np.ndarray, before: Choice | None = None) -> Clustering:
    """Groups of users float64[n, d].

    Taken is the greatest number of K-means groups that is stable and loses at most 0.1 of the best silhouette; the
    number `before` as long as it does not do much worse. Where none is stable, the most stable one. HDBSCAN is taken
    instead where it finds 3 to 8 groups, calls at most 10 % of the users noise, is as stable, and gains 0.05 of
    silhouette.
    """
    x = _drawn(x, _FIT_ROWS)
    distinct = len(np.unique(x, axis=0))
    with threadpool_limits(1):
        numbers = [k for k in range(FEWEST, MOST + 1) if k * LEAST_USERS <= len(x) and k < distinct]
        if not numbers:
            return Clustering(x.mean(axis=0)[None, :], Choice(KMEANS, 1, 0.0, 1.0), ())
        partings = [_by_means(x, k) for k in numbers]
        taken, centres = partings[chosen([candidate for candidate, _ in partings], before)]
        density = _by_density(x)
    considered = [candidate for candidate, _ in partings]
    if density is not None:
        considered.append(density[0])
        if _helps(density[0], taken):
            taken, centres = density
    choice = Choice(taken.method, taken.clusters, taken.silhouette, taken.stability)
    return Clustering(centres, choice, tuple(considered))


def chosen(candidates: Sequence[Candidate], before: Choice | None = None) -> int:
    """The place of the number of groups that is taken; at least one candidate."""
    stable = [place for place, each in enumerate(candidates) if each.stability >= LEAST_STABILITY]
    best = max((candidates[place].silhouette for place in stable), default=0.0)
    for place, each in enumerate(candidates):
        is_before = before is not None and (before.method, before.clusters) == (each.method, each.clusters)
        if is_before and each.stability >= KEPT_STABILITY and each.silhouette >= best - KEPT_GIVEN:
            return place
    if not stable:
        return max(range(len(candidates)), key=lambda place: candidates[place].stability)
    good = [place for place in stable if candidates[place].silhouette >= best - SILHOUETTE_GIVEN]
    return max(good, key=lambda place: candidates[place].clusters)


def merged(centres: np.ndarray, x: np.ndarray, least: int = LEAST_USERS) -> np.ndarray:
    """The centres without those that fewer than `least` users are nearest to: each is merged into the nearest other.

    centres   float64[k, d]; a merged centre lies between both, by their numbers of users
    """
    while len(centres) > 1:
        sizes = np.bincount(nearest(centres, x), minlength=len(centres))
        smallest = int(sizes.argmin())
        if sizes[smallest] >= least:
            break
        apart = ((centres - centres[smallest]) ** 2).sum(axis=1)
        apart[smallest] = np.inf
        into = int(apart.argmin())
        weights = np.array([sizes[into], sizes[smallest]], dtype=np.float64)
        both = centres[[into, smallest]]
        centres = centres.copy()
        centres[into] = np.average(both, axis=0, weights=weights) if weights.sum() else both[0]
        centres = np.delete(centres, smallest, axis=0)
    return centres


def nearest(centres: np.ndarray, x: np.ndarray) -> np.ndarray:
    """int64[n], the place of the nearest centre of each row."""
    apart = np.stack([((x - centre) ** 2).sum(axis=1) for centre in centres])
    places: np.ndarray = apart.argmin(axis=0)
    return places


def _by_means(x: np.ndarray, k: int) -> tuple[Candidate, np.ndarray]:
    centres = _means(x, k, SEED, 10)
    labels = nearest(centres, x)
    alike = [
        adjusted_rand_score(labels, nearest(_means(sample, k, SEED + draw, 3), x))
        for draw, sample in enumerate(_bootstraps(x))
    ]
    return Candidate(KMEANS, k, _silhouette(x, labels), _rounded(np.mean(alike))), centres


def _by_density(x: np.ndarray) -> tuple[Candidate, np.ndarray] | None:
    """What HDBSCAN finds, each group as its mean; None if it finds fewer than two."""
    x = _drawn(x, _DENSITY_ROWS)
    found = _density(x)
    if found is None:
        return None
    centres, noise = found
    labels = nearest(centres, x)
    if len(np.unique(labels)) < 2:
        return None
    alike = []
    for sample in _bootstraps(x):
        again = _density(sample)
        alike.append(0.0 if again is None else adjusted_rand_score(labels, nearest(again[0], x)))
    found_of = Candidate(DENSITY, len(centres), _silhouette(x, labels), _rounded(np.mean(alike)), _rounded(noise))
    return found_of, centres


def _helps(density: Candidate, means: Candidate) -> bool:
    return (
        FEWEST <= density.clusters <= MOST
        and density.noise <= MOST_NOISE
        and density.stability >= min(means.stability, LEAST_STABILITY)
        and density.silhouette >= means.silhouette + DENSITY_GAIN
    )


def _means(x: np.ndarray, k: int, seed: int, starts: int) -> np.ndarray:
    centres: np.ndarray = KMeans(k, n_init=starts, random_state=seed).fit(x).cluster_centers_
    return centres


def _density(x: np.ndarray) -> tuple[np.ndarray, float] | None:
    labels = HDBSCAN(min_cluster_size=max(LEAST_USERS, len(x) // 50), copy=True).fit(x).labels_
    groups = [x[labels == label].mean(axis=0) for label in range(labels.max() + 1)]
    return (np.stack(groups), float((labels < 0).mean())) if len(groups) > 1 else None


def _bootstraps(x: np.ndarray) -> list[np.ndarray]:
    draw = np.random.default_rng(SEED)
    return [x[draw.integers(0, len(x), len(x))] for _ in range(_BOOTSTRAPS)]


def _silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    places = np.arange(len(x))
    if len(x) > _SILHOUETTE_ROWS:
        places = np.sort(np.random.default_rng(SEED).choice(len(x), _SILHOUETTE_ROWS, replace=False))
    if len(np.unique(labels[places])) < 2:
        return 0.0
    return _rounded(silhouette_score(x[places], labels[places]))


def _drawn(x: np.ndarray, most: int) -> np.ndarray:
    if len(x) <= most:
        return x
    return x[np.sort(np.random.default_rng(SEED).choice(len(x), most, replace=False))]


def _rounded(figure: "float | np.floating") -> float:
    return round(float(figure), 4)
