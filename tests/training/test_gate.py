"""The gate: who is refused, who is promoted, and that the reason names the slice and the figures."""

import numpy as np
import pytest

from behavior.calibration import propensities
from behavior.errors import BadInput
from tests.training.measured_rows import measured, noisy, shuffled
from training.gate import Limits, judge
from training.measured import Measured

GOOD, FAIR = noisy(0.4), noisy(1.0, seed=8)


def recalibrated(rows: Measured, intercept: float, *, only: str = "") -> Measured:
    """The same answers with all margins moved, or those of one persona."""
    moved = rows.margin + intercept * (np.ones(len(rows)) if not only else rows.slices["persona"] == only)
    return Measured(rows.user, rows.group, rows.label, propensities(moved), moved, rows.slices)


def test_a_truly_better_one_is_promoted() -> None:
    """It sees more of the truth everywhere; the reason tells by how much, and in how many slices nothing is worse."""
    verdict = judge(measured(GOOD), measured(FAIR))
    assert verdict.promote
    assert len(verdict.reasons) == 1
    assert "Log loss is lower by 0.0" in verdict.reasons[0]
    assert "3 judged slices" in verdict.reasons[0]


def test_a_label_shuffled_one_is_refused() -> None:
    """It orders nothing: refused beside a current one and without, and the reason says so."""
    for current in (None, measured(FAIR)):
        verdict = judge(measured(shuffled), current)
        assert not verdict.promote
        assert "is not above 0.5 beyond chance" in verdict.reasons[0]


def test_better_overall_but_worse_in_one_persona_is_refused() -> None:
    """Two personas gain much and New loses: all rows are better, and the refusal is that persona's alone."""
    challenger = measured(noisy(0.2, worse_in="New", by=2.5))
    verdict = judge(challenger, measured(FAIR))
    assert not verdict.promote
    assert all(reason.startswith("In persona New ") for reason in verdict.reasons)
    assert any("log loss is worse: it changes by +0.0" in reason for reason in verdict.reasons)
    mended = judge(measured(noisy(0.2)), measured(FAIR))
    assert mended.promote


def test_an_equal_one_is_refused() -> None:
    """The very same model is not lower in log loss beyond chance, and nothing else speaks against it."""
    verdict = judge(measured(FAIR), measured(FAIR))
    assert verdict.reasons == (
        "On all rows log loss changes by +0.0000 [+0.0000, +0.0000], which is not lower beyond chance.",
    )
    assert not verdict.promote


def test_another_one_of_the_same_worth_is_refused() -> None:
    """A model that makes other mistakes of the same size is not better beyond chance."""
    verdict = judge(measured(noisy(1.0, seed=9)), measured(FAIR))
    assert not verdict.promote
    assert any("not lower beyond chance" in reason for reason in verdict.reasons)


def test_a_worse_one_is_refused_for_what_it_loses() -> None:
    """Ordering that is worse on all rows is named with its metric."""
    verdict = judge(measured(FAIR), measured(GOOD))
    assert not verdict.promote
    assert any(reason.startswith("On all rows AUC is worse: it changes by -0.") for reason in verdict.reasons)


def test_the_first_one_is_promoted_if_it_can_be_believed() -> None:
    """Without a current model the gate asks only whether it orders and whether it is calibrated."""
    assert judge(measured(FAIR), None).promote
    off = judge(recalibrated(measured(FAIR), 0.5), None)
    assert not off.promote
    assert off.reasons[0].startswith("On all rows the calibration error 0.0")
    assert "is above 0.02" in off.reasons[0]


def test_a_slice_that_cannot_be_believed_is_refused() -> None:
    """Propensities that are far off in one persona are refused with its name, even where all rows would pass."""
    rows = recalibrated(measured(FAIR), 0.8, only="Loyal")
    verdict = judge(rows, None, Limits(calibration_error=1.0))
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("On persona Loyal the calibration error 0.")
    assert "is above 0.05" in verdict.reasons[0]


def test_a_slice_too_small_to_be_judged_refuses_nobody() -> None:
    """Two users who are worse off are no evidence."""
    challenger = measured(noisy(0.2, worse_in="Dormant", by=9.0))
    assert judge(challenger, measured(FAIR)).promote


def test_many_slices_share_one_chance_of_a_false_alarm() -> None:
    """Of forty challengers that are as good in every persona, hardly any is refused for one of nine comparisons.

    The control: with a chance of 5 % for each comparison alone, many more are.
    """

    def alarms(error: float) -> int:
        limits = Limits(calibration_error=1, slice_calibration_error=1, replicates=100, error=error)
        found = 0
        for seed in range(40):
            challenger, current = (measured(noisy(1.0, 2 * seed + each), seed, users=150) for each in (0, 1))
            found += any(reason.startswith("In persona") for reason in judge(challenger, current, limits).reasons)
        return found

    few, many = alarms(0.05), alarms(0.05 * 9)
    assert few <= 4
    assert many >= few + 4


def test_other_rows_are_not_compared() -> None:
    """A difference between models on different rows is no difference of models."""
    with pytest.raises(BadInput, match="different rows"):
        judge(measured(FAIR, 1), measured(FAIR, 2))
