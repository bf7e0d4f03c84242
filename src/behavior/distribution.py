"""What an input of the model looked like, in bins that later rows are counted in too: the reference that drift is
measured against.

    numeric   edges e1 < e2 < ... < eb−1 by quantiles of the reference: (−∞, e1], (e1, e2], ..., (eb−1, ∞)
    codes     the most frequent codes of a vocabulary, one bin each, and one bin for all others
    both      a bin of its own for what is missing (NaN)

Pure: rows come in, shares go out. Training writes the reference into the bundle; reports and the watch compare with it.
"""

import math
from collections.abc import Container, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from behavior.errors import BadInput, BundleRefused

REFERENCE_FILE = "reference.json"
BINS = 10
CODES = 50  # of one vocabulary have a bin of their own; the rest are rare, and counted together
# A bin that one side has no row in still has a logarithm: its share counts as one row in 10,000.
SMALLEST_SHARE = 1e-4


class Distribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shares of n rows in the bins of one input; `shares` and `missing` add up to 1.

    shares    one per bin: len(edges) + 1 for a numeric input, len(codes) + 1 for codes (the last one: all others)
    missing   share of NaN
    n         rows that were counted
    edges     greatest value of each bin but the last, rising; None for codes
    codes     whole numbers, the most frequent of the reference first; None for a numeric input
    Raises BadInput for what cannot be one.
    """

    shares: tuple[float, ...]
    missing: float
    n: int
    edges: tuple[float, ...] | None = None
    codes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        bounds = self.codes if self.edges is None else self.edges
        if bounds is None or (self.codes is not None and self.edges is not None):
            raise BadInput("a distribution has either edges or codes; describe the input again")
        if len(self.shares) != len(bounds) + 1 or not all(0 <= share <= 1 for share in (*self.shares, self.missing)):
            raise BadInput(f"{len(bounds)} edges or codes need {len(bounds) + 1} shares within 0..1; describe it again")
        if self.n < 1 or not math.isclose(sum(self.shares) + self.missing, 1, abs_tol=1e-6):
            raise BadInput(f"the shares of {self.n} rows must add up to 1; describe the input again")
        if self.edges is not None and not all(low < high for low, high in pairwise(self.edges)):
            raise BadInput("the edges of a distribution must rise; describe the input again")


def describe(
    x: np.ndarray,
    inputs: Sequence[str],
    vocabularies: Container[str],
    weight: np.ndarray | None = None,
) -> dict[str, Distribution]:
    """The distribution of every input over the rows x float32[n, d], n >= 1, by name.

    vocabularies   names of the inputs that are codes of a vocabulary
    weight         float[n], how many rows each one stands for (thinned negatives); default: each for itself
    Raises BadInput if there are no rows, or not one column per input.
    """
    _check(x, inputs)
    return {
        name: _counted(_codes(x[:, place]) if name in vocabularies else _edges(x[:, place]), x[:, place], weight)
        for place, name in enumerate(inputs)
    }


def counted(
    references: Mapping[str, Distribution],
    x: np.ndarray,
    inputs: Sequence[str],
    weight: np.ndarray | None = None,
) -> dict[str, Distribution]:
    """The distributions of other rows x float32[n, d], in the bins of the references; other inputs are left out."""
    _check(x, inputs)
    return {
        name: _counted(references[name], x[:, place], weight) for place, name in enumerate(inputs) if name in references
    }


def shares(distribution: Distribution, values: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The share of values float32[n] in each of the distribution's bins and, last, of NaN: float64[bins + 1].

    >>> shares(Distribution((0.5, 0.5), 0.0, 2, edges=(1.0,)), np.array([0.5, 1.0, 7.0, np.nan])).tolist()
    [0.5, 0.25, 0.25]
    """
    known = ~np.isnan(values)
    place = np.full(len(values), len(distribution.shares), dtype=np.int64)
    if distribution.edges is not None:
        # In float32, as the values are: an edge is a value that occurred, and must find itself at or below it.
        edges = np.array(distribution.edges, dtype=values.dtype)
        place[known] = np.searchsorted(edges, values[known], side="left")
    else:
        place[known] = _code_places(distribution.codes or (), values[known])
    sums = np.bincount(place, weights=weight, minlength=len(distribution.shares) + 1).astype(np.float64)
    found: np.ndarray = sums / max(float(sums.sum()), 1e-300)
    return found


def stability_index(reference: Distribution, later: Distribution) -> float:
    """The population stability index, Σ (q − p) ln(q / p) over the bins and what is missing; 0 iff the shares agree.

    Siddiqi, "Credit Risk Scorecards" (Wiley, 2006), chapter 9, who calls less than 0.1 stable and more than 0.25 a
    significant change. It is Jeffreys' symmetric divergence. A share below SMALLEST_SHARE counts as that much.
    Raises BadInput if the two are not counted in the same bins.

    >>> half = Distribution((0.5, 0.5), 0.0, 10, edges=(0.0,))
    >>> round(stability_index(half, Distribution((0.25, 0.75), 0.0, 10, edges=(0.0,))), 4)
    0.2747
    """
    if (reference.edges, reference.codes) != (later.edges, later.codes):
        raise BadInput("two distributions have different bins; count the later rows in the bins of the reference")
    p, q = (
        np.maximum(np.array([*each.shares, each.missing], dtype=np.float64), SMALLEST_SHARE)
        for each in (reference, later)
    )
    return float(np.sum((q - p) * np.log(q / p)))


def encode(distributions: Mapping[str, Distribution]) -> bytes:
    """The reference file: canonical JSON, equal distributions give equal bytes."""
    return msgspec.json.encode(dict(distributions), order="deterministic") + b"\n"


def decode(data: bytes) -> dict[str, Distribution]:
    """The distributions of a reference file; raises BundleRefused if it is none."""
    try:
        return msgspec.json.decode(data, type=dict[str, Distribution])
    except (msgspec.DecodeError, BadInput) as error:
        raise BundleRefused(f"{REFERENCE_FILE} cannot be read ({error}); train the bundle again") from None


def _check(x: np.ndarray, inputs: Sequence[str]) -> None:
    if x.ndim != 2 or not len(x) or x.shape[1] != len(inputs):
        raise BadInput(f"{len(inputs)} inputs need rows of that many columns, and some: they are {list(x.shape)}")


def _edges(values: np.ndarray) -> Distribution:
    """Bins of about equal mass; infinite values have no say in where they are, and fall into the outer ones."""
    finite = values[np.isfinite(values)]
    # A quantile is a value that occurs, so a column of few values gets an edge at each of the common ones.
    cuts = np.quantile(finite, np.arange(1, BINS) / BINS, method="inverted_cdf") if len(finite) else np.empty(0)
    edges = tuple(float(edge) for edge in np.unique(cuts))
    return Distribution((1.0, *[0.0] * len(edges)), 0.0, 1, edges=edges)


def _codes(values: np.ndarray) -> Distribution:
    found, counts = np.unique(values[np.isfinite(values)].astype(np.int64), return_counts=True)
    codes = tuple(int(code) for code in found[np.lexsort((found, -counts))][:CODES])
    return Distribution((*[0.0] * len(codes), 1.0), 0.0, 1, codes=codes)


def _counted(bins: Distribution, values: np.ndarray, weight: np.ndarray | None) -> Distribution:
    *inside, missing = shares(bins, values, weight).tolist()
    return Distribution(tuple(inside), missing, len(values), edges=bins.edges, codes=bins.codes)


def _code_places(codes: Sequence[int], values: np.ndarray) -> np.ndarray:
    """The place of each value among the codes, and `len(codes)` for any other."""
    if not codes:
        return np.zeros(len(values), dtype=np.int64)
    rising = np.argsort(codes)
    ordered = np.asarray(codes, dtype=np.float64)[rising]
    near = np.minimum(np.searchsorted(ordered, values), len(codes) - 1)
    found: np.ndarray = np.where(ordered[near] == values, rising[near], len(codes))
    return found
