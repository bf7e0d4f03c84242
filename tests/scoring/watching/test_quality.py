"""Quality with labels: what scikit-learn says of the same rows, restarts that change nothing, intervals that hold."""

import random
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from behavior.calibration import propensities
from behavior.event import DAY_US
from scoring.example import Example
from scoring.learners import canonical_hash
from scoring.watching.quality import Quality, gain, realised
from scoring.watching.quality_tally import Judged
from scoring.watching.quality_windows import PLACEMENTS, WINDOWS
from tests.scoring.examples import drawn, one
from tests.scoring.watching.crowds import labels_of, tally_of, users_of

SAMPLE = [replace(each, user_id=f"u{number % 97}") for number, each in enumerate(drawn(11, 300))]


def correction(example: Example) -> float:
    """Some correction, by what is shown."""
    return (len(example.category) - 3) / 4


def judged(examples: list[Example], quality: Quality | None = None) -> Quality:
    quality = quality or Quality()
    for example in examples:
        quality.take(example, correction(example))
    return quality


def same_day(n: int) -> list[Example]:
    """Labelled examples of many users, all of one window."""
    rng = random.Random(5)
    found = (replace(one(rng, t=number), user_id=f"u{number % 211}") for number in range(2 * n))
    return [example for example in found if example.label is not None][:n]


def test_it_is_what_scikit_learn_says() -> None:
    """Log loss and Brier to 2⁻²⁰, AUC within its bound, of each that is judged and of each placement."""
    examples = same_day(1_500)
    quality = judged(examples)
    for placement in (None, *quality.placements):
        mine = [each for each in examples if placement in (None, each.placement)]
        labels = np.array([each.label for each in mine])
        batch = np.array([each.margin for each in mine])
        tally = quality.over(placement)
        for what, margins in [
            (Judged.BATCH, batch),
            (Judged.SUM, batch + np.array([correction(each) for each in mine])),
        ]:
            found, p = realised(tally, what), propensities(margins)
            assert (found.rows, found.positives) == (len(mine), labels.sum())
            assert found.log_loss.value == pytest.approx(log_loss(labels, p), abs=2**-20)
            assert found.brier.value == pytest.approx(brier_score_loss(labels, p), abs=2**-20)
            assert found.in_the_large.value == pytest.approx(p.mean() - labels.mean(), abs=2**-20)
            assert abs(found.auc.value - roc_auc_score(labels, margins)) <= found.auc.within
    assert quality.placements == ("", "basket", "home")


def test_the_learner_alone_stands_on_the_base_rate_before_each_example() -> None:
    """Its margin is the logit of the share of positives so far plus the correction: none of what is judged is in it."""
    examples = same_day(500)
    labels = np.array([each.label for each in examples])
    positives = np.concatenate([[0], np.cumsum(labels)[:-1]])
    base = np.log((positives + 0.5) / (np.arange(len(labels)) - positives + 0.5))
    margins = base + np.array([correction(each) for each in examples])
    found = realised(judged(examples).over(), Judged.LEARNER)
    assert found.log_loss.value == pytest.approx(log_loss(labels, propensities(margins)), abs=2**-20)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, len(SAMPLE)))
def test_a_restart_at_any_example_changes_nothing(at: int) -> None:
    """State, and what is told of it, are to the last bit those of one that was never restarted."""
    whole = judged(SAMPLE)
    before = judged(SAMPLE[:at])
    resumed = Quality()
    resumed.restore(before.numbers())
    assert resumed.changed() == {}
    judged(SAMPLE[at:], resumed)
    assert canonical_hash(resumed.numbers()) == canonical_hash(whole.numbers())
    assert astuple(gain(resumed.over())) == astuple(gain(whole.over()))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(SAMPLE)), max_size=4).map(sorted))
def test_what_was_committed_is_the_state(cuts: list[int]) -> None:
    """What has changed, committed at any times, adds up to the numbers."""
    quality, kept = Quality(), {}
    for since, until in pairwise([0, *cuts, len(SAMPLE)]):
        judged(SAMPLE[since:until], quality)
        for key, values in quality.changed().items():
            if values is None:
                kept.pop(key, None)
            else:
                kept[key] = values
    assert kept == quality.numbers()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.integers(1, 100), st.integers(101, 299))
def test_merged_in_any_order_it_is_the_same(order: list[int], first: int, second: int) -> None:
    """Three that saw a part each are merged to the same bits in any order and grouping."""
    parts = [judged(part).numbers() for part in (SAMPLE[:first], SAMPLE[first:second], SAMPLE[second:])]
    expected, found, inner = Quality(), Quality(), Quality()
    for part in parts:
        expected.merge(part)
    inner.merge(parts[order[1]])
    inner.merge(parts[order[2]])
    found.merge(parts[order[0]])
    found.merge(inner.numbers())
    assert canonical_hash(found.numbers()) == canonical_hash(expected.numbers())


def test_merged_it_is_what_one_would_have_judged() -> None:
    """Of the batch model and the sum, two that saw half of a day each tell what one tells that saw all of it."""
    examples = same_day(400)
    merged = judged(examples[:100])
    merged.merge(judged(examples[100:]).numbers())
    for what in (Judged.BATCH, Judged.SUM):
        assert astuple(realised(merged.over(), what)) == astuple(realised(judged(examples).over(), what))


def test_state_is_bounded() -> None:
    """However many days and placements come: so many windows, so many placements; the others count in all together."""
    template = same_day(1)[0]
    examples = [
        replace(template, t=day * DAY_US, placement=f"p{number}")
        for day in range(2 * WINDOWS)
        for number in range(2 * PLACEMENTS)
    ]
    quality = judged(examples)
    assert len(quality.numbers()) == (PLACEMENTS + 1) * WINDOWS
    assert len(quality.placements) == PLACEMENTS
    assert quality.over().rows == WINDOWS * 2 * PLACEMENTS
    assert quality.over(since=(2 * WINDOWS - 1) * DAY_US).rows == 2 * PLACEMENTS
    assert quality.over("p1").rows == WINDOWS
    judged([replace(template, t=100 * DAY_US, placement="new")], quality)
    assert quality.placements == ("new",)


def test_what_cannot_be_judged_is_counted() -> None:
    """What is too late, or no number, is left out and told; what has no label is nothing to judge."""
    template = replace(same_day(1)[0], t=20 * DAY_US)
    odd = [replace(template, margin=margin) for margin in (float("nan"), float("inf"), 31.0)]
    late = [replace(template, t=(20 - WINDOWS) * DAY_US), replace(template, t=(21 - WINDOWS) * DAY_US)]
    quality = judged([template, *odd, *late, replace(template, label=None)])
    assert quality.over().rows == 2
    assert quality.take_left_out() == len(odd) + 1
    quality.take(template, float("nan"))
    assert quality.take_left_out() == 1
    assert quality.take_left_out() == 0


def test_of_nothing_nothing_is_known() -> None:
    """Without rows values are NaN, and nothing is said of the learner."""
    tally = Quality().over("nowhere")
    found = realised(tally, Judged.BATCH)
    assert np.isnan([found.log_loss.value, found.auc.value, found.calibration_error.value]).all()
    assert found.curve == ()
    assert gain(tally).helps is None


def crowd(rng: np.random.Generator, users: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Margins float64[n, 2] of batch model and sum, and labels: users have tastes, of which a share is learned."""
    taste = rng.normal(0.0, 0.8, users.max() + 1)[users]
    margins = rng.normal(-1.5, 1.0, len(users))
    return np.stack([margins, margins + share * taste], axis=1), labels_of(rng, users, margins + taste)


def test_the_interval_of_the_gain_holds_the_truth() -> None:
    """In 250 crowds of 1,000 users, of 8 rows each on average, 95 % intervals hold the true gain in 92 to 98 %.

    Intervals that take rows for independent hold it in fewer than 90 %.
    """
    rng = np.random.default_rng(17)
    users = users_of(rng, 100_000)
    truth = gain(tally_of(rng, users, *crowd(rng, users, share=0.4))).log_loss.value
    held = held_by_rows = 0
    for _ in range(250):
        users = users_of(rng, 1_000)
        margins, labels = crowd(rng, users, share=0.4)
        found = gain(tally_of(rng, users, margins, labels)).log_loss
        held += found.low <= truth <= found.high
        losses = np.logaddexp(0.0, margins) - labels[:, None] * margins
        differences = losses[:, 1] - losses[:, 0]
        held_by_rows += abs(differences.mean() - truth) <= 1.96 * differences.std() / np.sqrt(len(users))
    assert 0.92 <= held / 250 <= 0.98
    assert held_by_rows / 250 < 0.9


def test_whether_the_learner_helps_is_said_with_an_interval() -> None:
    """Learning tastes helps, learning them the wrong way round does harm, and of noise nothing is said."""
    rng = np.random.default_rng(3)
    users = users_of(rng, 1_000)
    said = [gain(tally_of(rng, users, *crowd(rng, users, share))).helps for share in (0.5, -0.5, 0.0)]
    assert said == [True, False, None]
