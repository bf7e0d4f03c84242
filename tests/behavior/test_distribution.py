"""Distributions: every row is in one bin, the same bins serve later rows, and the file says what was counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.distribution import (
    BINS,
    CODES,
    SMALLEST_SHARE,
    Distribution,
    counted,
    decode,
    describe,
    encode,
    shares,
    stability_index,
)
from behavior.errors import BadInput, BundleRefused

INPUTS = ("user:count", "candidate:category")
VALUES = st.lists(st.one_of(st.floats(width=32), st.sampled_from([0.0, 1.0, float("nan")])), min_size=1, max_size=60)


def rows(seed: int = 0, n: int = 5_000, shift: float = 0.0) -> np.ndarray:
    """A normal column with 10 % missing, and codes 0..79 that become rarer, some of them unseen (NaN)."""
    generator = np.random.default_rng(seed)
    value = generator.normal(shift, size=n)
    value[generator.random(n) < 0.1] = np.nan
    code = np.minimum(generator.geometric(0.05, size=n) - 1.0, 79)
    code[generator.random(n) < 0.05] = np.nan
    return np.column_stack([value, code]).astype(np.float32)


def test_a_numeric_input_has_bins_of_equal_mass_and_codes_have_their_own() -> None:
    """Ten quantile bins hold a tenth of what is there; the most frequent codes come first; missing is apart."""
    x = rows()
    found = describe(x, INPUTS, {"candidate:category"})
    number, code = found["user:count"], found["candidate:category"]
    assert number.edges is not None
    assert len(number.shares) == BINS
    assert number.missing == pytest.approx(np.isnan(x[:, 0]).mean())
    assert np.allclose(number.shares, (1 - number.missing) / BINS, atol=1e-3)
    assert code.codes is not None
    assert len(code.codes) == CODES
    assert code.codes[0] == 0
    assert code.shares[0] == pytest.approx((x[:, 1] == 0).mean())
    assert list(code.shares[:CODES]) == sorted(code.shares[:CODES], reverse=True)
    assert code.shares[CODES] == pytest.approx(np.isin(x[:, 1], code.codes, invert=True).mean() - code.missing)


@given(reference=VALUES, later=VALUES, is_code=st.booleans())
def test_every_row_is_counted_once(reference: list[float], later: list[float], is_code: bool) -> None:
    """Whatever was seen, any later values (infinite, unseen, missing) find exactly one bin each."""
    x, y = (np.array(each, dtype=np.float32)[:, None] for each in (reference, later))
    if is_code:
        x, y = (np.where(np.abs(each) < 2**31, np.trunc(each), np.float32(np.nan)) for each in (x, y))
    found = describe(x, ["it"], {"it"} if is_code else set())["it"]
    share = shares(found, y[:, 0])
    assert share.sum() == pytest.approx(1)
    assert share[-1] == pytest.approx(np.isnan(y).mean())
    for value in y[~np.isnan(y)]:
        one = shares(found, np.array([value], dtype=np.float32))[:-1]
        if found.edges is not None:
            place = sum(value > edge for edge in np.array(found.edges, dtype=np.float32))
        else:
            place = [*(found.codes or ()), value].index(value)
        assert np.flatnonzero(one).tolist() == [place]
    assert stability_index(found, describe(x, ["it"], {"it"} if is_code else set())["it"]) == 0


def test_weights_undo_thinning() -> None:
    """Rows of which a part was thinned and weighted look like all of them; without the weights they do not."""
    x = rows(n=40_000)
    upper = np.nan_to_num(x[:, 0]) > 0
    kept = ~upper | (np.random.default_rng(1).random(len(x)) < 0.25)
    weight = np.where(upper, 4.0, 1.0)[kept]
    whole = describe(x, INPUTS, {INPUTS[1]})
    with_weight = counted(whole, x[kept], INPUTS, weight)
    without = counted(whole, x[kept], INPUTS)
    assert stability_index(whole[INPUTS[0]], with_weight[INPUTS[0]]) < 0.005
    assert stability_index(whole[INPUTS[0]], without[INPUTS[0]]) > 0.1


def test_a_shift_shows_and_luck_does_not() -> None:
    """Other rows of the same kind stay far below 0.1; a shift by one standard deviation goes far beyond 0.25."""
    reference = describe(rows(0), INPUTS, {INPUTS[1]})
    same, moved = (counted(reference, rows(1, shift=shift), INPUTS) for shift in (0.0, 1.0))
    assert max(stability_index(reference[name], same[name]) for name in INPUTS) < 0.05
    assert stability_index(reference[INPUTS[0]], moved[INPUTS[0]]) > 0.5
    assert stability_index(reference[INPUTS[1]], moved[INPUTS[1]]) < 0.05


def test_the_index_is_the_formula() -> None:
    """Σ (q − p) ln(q / p) over bins and missing, symmetric, finite where one side has nothing."""
    p = Distribution((0.6, 0.3), 0.1, 10, edges=(1.0,))
    q = Distribution((0.3, 0.5), 0.2, 10, edges=(1.0,))
    wanted = -0.3 * np.log(0.3 / 0.6) + 0.2 * np.log(0.5 / 0.3) + 0.1 * np.log(0.2 / 0.1)
    assert stability_index(p, q) == stability_index(q, p) == pytest.approx(wanted)
    gone = Distribution((0.0, 0.0), 1.0, 10, edges=(1.0,))
    full = Distribution((1.0, 0.0), 0.0, 10, edges=(1.0,))
    assert stability_index(full, gone) == pytest.approx(2 * (1 - SMALLEST_SHARE) * np.log(1 / SMALLEST_SHARE))
    with pytest.raises(BadInput, match="different bins"):
        stability_index(p, Distribution((0.6, 0.3), 0.1, 10, edges=(2.0,)))


def test_the_file_is_canonical() -> None:
    """What is written is read again, equal distributions give equal bytes in any order, and edges are exact."""
    found = describe(rows(), INPUTS, {INPUTS[1]})
    data = encode(found)
    assert decode(data) == found
    assert encode(dict(reversed(found.items()))) == data
    assert counted(decode(data), rows(), INPUTS) == found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"a": {}}',
        b'{"a": {"shares": [1], "missing": 0, "n": 1}}',
        b'{"a": {"shares": [1], "missing": 0, "n": 1, "edges": [], "codes": []}}',
        b'{"a": {"shares": [1], "missing": 0, "n": 1, "edges": [], "more": 1}}',
        b'{"a": {"shares": [0.5], "missing": 0, "n": 1, "edges": []}}',
        b'{"a": {"shares": [1, 0], "missing": 0, "n": 1, "edges": []}}',
        b'{"a": {"shares": [0, 0, 1], "missing": 0, "n": 1, "edges": [2, 2]}}',
        b'{"a": {"shares": [1], "missing": 0, "n": 0, "edges": []}}',
    ],
)
def test_a_file_that_is_none_is_refused(data: bytes) -> None:
    """Neither broken JSON nor shares that cannot be are read as a reference."""
    with pytest.raises(BundleRefused):
        decode(data)


@pytest.mark.parametrize("x", [np.empty((0, 2), np.float32), np.zeros((3, 1), np.float32), np.zeros(3, np.float32)])
def test_rows_that_do_not_fit_are_refused(x: np.ndarray) -> None:
    """No rows, or not one column per input."""
    with pytest.raises(BadInput):
        describe(x, INPUTS, set())
