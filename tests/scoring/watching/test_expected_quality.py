"""Quality without labels: what labels show later lies within what was expected, and where they part, it is said."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.calibration import propensities
from behavior.event import DAY_US
from scoring.learners import canonical_hash
from scoring.watching.expected_quality import Effects, ExpectedQuality, effects_of, expected, parting
from scoring.watching.quality import realised
from scoring.watching.quality_tally import Judged, Tally
from scoring.watching.quality_windows import WINDOWS
from tests.scoring.watching.crowds import USERS, labels_of, tally_of, users_of

Shown = list[tuple[str, str, int, np.ndarray, np.ndarray]]


def answers(seed: int, n: int) -> Shown:
    """What was shown in so many answers: whose, where, when, margins and corrections."""
    rng = np.random.default_rng(seed)
    return [
        (f"u{number % 89}", ("home", "basket")[number % 2], number * DAY_US // 10, *rng.normal(-1.0, 0.7, (2, 5)))
        for number in range(n)
    ]


def shown(those: Shown, quality: ExpectedQuality | None = None) -> ExpectedQuality:
    quality = quality or ExpectedQuality()
    for each in those:
        quality.take(*each)
    return quality


ANSWERS = answers(1, 120)


def test_what_is_expected_is_the_mean_over_labels() -> None:
    """Of the same rows with labels drawn from the probabilities, the mean of what is realised is what was expected."""
    rng = np.random.default_rng(2)
    users = np.arange(600)
    margins = rng.normal(-1.0, 1.2, (600, 1))
    hoped = expected(tally_of(rng, users, margins), Judged.BATCH)
    seen = []
    for _ in range(300):
        labels = rng.random(600) < propensities(margins[:, 0])
        found = realised(tally_of(rng, users, margins, labels), Judged.BATCH)
        seen.append((found.positives, found.log_loss.value, found.brier.value, found.auc.value))
    for values, each in zip(np.array(seen).T, (hoped.positives, hoped.log_loss, hoped.brier, hoped.auc), strict=True):
        assert values.mean() == pytest.approx(each.value, abs=4 * each.error / np.sqrt(300))
        assert values.std() == pytest.approx(each.error, rel=0.15)


def test_labels_come_as_expected_though_users_are_alike() -> None:
    """In 300 crowds the 95 % intervals of what labels will show hold it in 92 % or more, by the design effect.

    Without that effect they hold it in fewer than 85 %.
    """
    rng = np.random.default_rng(19)
    held, held_as_independent = np.zeros(4), np.zeros(4)
    for _ in range(300):
        effects = effects_of(crowd(rng), Judged.BATCH)  # last week's, with labels
        this_week = crowd(rng)
        found = realised(this_week, Judged.BATCH)
        seen = np.array([found.positives, found.log_loss.value, found.brier.value, found.auc.value])
        for count, each in [(held, effects), (held_as_independent, Effects())]:
            hoped = expected(this_week, Judged.BATCH, each)
            low, high = np.array(
                [(each.low, each.high) for each in (hoped.positives, hoped.log_loss, hoped.brier, hoped.auc)]
            ).T
            count += (low <= seen) & (seen <= high)
    assert (held / 300 >= 0.92).all(), held / 300
    assert held_as_independent[0] / 300 < 0.85


def crowd(rng: np.random.Generator, shift: float = 0.0, users: int = USERS) -> Tally:
    """The tally of a crowd whose scores are off by `shift` logits."""
    of = users_of(rng, users)
    margins = rng.normal(-1.5, 1.0, len(of))
    return tally_of(rng, of, margins[:, None], labels_of(rng, of, margins + shift))


def test_scores_that_are_right_part_from_labels_no_more_often_than_said() -> None:
    """In 300 calibrated crowds any measure parts in some, but in 5 % at most, within what 300 can tell."""
    rng = np.random.default_rng(23)
    parted = sum(bool(parting(crowd(rng), Judged.BATCH).parts) for _ in range(300))
    assert 1 <= parted <= 0.05 * 300 + 2 * np.sqrt(300 * 0.05 * 0.95)


def test_scores_that_mean_something_else_part_from_labels() -> None:
    """What came to something half as often as scores said is told at once, and in which measures."""
    found = parting(crowd(np.random.default_rng(4), shift=-0.8, users=500), Judged.BATCH)
    assert "positives" in found.parts
    assert "log_loss" in found.parts
    assert found.positives.high < 0.0


def test_scores_whose_order_means_nothing_part_by_auc() -> None:
    """Labels that come at the mean rate whatever the score are told by the AUC."""
    rng = np.random.default_rng(6)
    of = users_of(rng, 500)
    margins = rng.normal(-1.5, 1.0, len(of))
    labels = labels_of(rng, of, np.full(len(of), -1.3))
    assert "auc" in parting(tally_of(rng, of, margins[:, None], labels), Judged.BATCH).parts


@settings(max_examples=20, deadline=None)
@given(st.integers(0, len(ANSWERS)))
def test_a_restart_at_any_answer_changes_nothing(at: int) -> None:
    """State, and what is told of it, are to the last bit those of one that was never restarted."""
    whole, resumed = shown(ANSWERS), ExpectedQuality()
    resumed.restore(shown(ANSWERS[:at]).numbers())
    assert resumed.changed() == {}
    shown(ANSWERS[at:], resumed)
    assert canonical_hash(resumed.numbers()) == canonical_hash(whole.numbers())
    assert astuple(expected(resumed.over(), Judged.SUM)) == astuple(expected(whole.over(), Judged.SUM))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, len(ANSWERS)))
def test_merged_it_is_what_one_would_have_seen(at: int) -> None:
    """Two that saw a part each, merged in either order, are to the last bit one that saw both, if nothing was late."""
    one = shown(ANSWERS[:at])
    other = shown(ANSWERS[at:])
    one_first, other_first = ExpectedQuality(), ExpectedQuality()
    for merged, parts in [(one_first, (one, other)), (other_first, (other, one))]:
        for part in parts:
            merged.merge(part.numbers())
        assert canonical_hash(merged.numbers()) == canonical_hash(shown(ANSWERS).numbers())


def test_what_is_late_or_no_number_is_counted() -> None:
    """Rows that are left out are told one by one; the others of the answer count."""
    quality = ExpectedQuality()
    quality.take("u", "home", 20 * DAY_US, np.array([0.0, np.nan, 31.0, 1.0]), np.array([0.0, 0.0, 0.0, np.inf]))
    quality.take("u", "home", (20 - WINDOWS) * DAY_US, np.zeros(3), np.zeros(3))
    quality.take("u", "home", 20 * DAY_US, np.zeros(0), np.zeros(0))
    assert quality.over("home").rows == 1
    assert quality.placements == ("home",)
    assert quality.take_left_out() == 6


def test_of_nothing_nothing_is_expected() -> None:
    """Without rows means are NaN, and no row is a positive."""
    found = expected(ExpectedQuality().over(), Judged.SUM)
    assert found.rows == 0
    assert found.positives.value == 0.0
    assert np.isnan([found.log_loss.value, found.brier.value, found.auc.value]).all()
