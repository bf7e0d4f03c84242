"""Which questions are learned from: a gap before the newest span, its users halved, too few answers refused."""

import numpy as np
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US
from training.rows import Instants, Rows
from training.sampling import Recipe, sample_negatives, split
from training.targets import TARGETS

TARGET = TARGETS["purchase_14d"]
UNTIL = 20_000 * DAY_US


def rows_of(days: int = 120, users: int = 200, share: float = 0.3) -> Rows:
    """One question per user and day, up to the last instant whose label is known."""
    last = UNTIL - TARGET.horizon_us
    t = np.repeat(last - np.arange(days)[::-1] * DAY_US, users)
    user = np.tile(np.arange(users, dtype=np.int32), days)
    n = len(t)
    label = (np.random.default_rng(5).random(n) < share).astype(np.uint8)
    instants = Instants(user, t, t, [f"k1-{number:03}" for number in range(users)])
    return Rows(instants, np.arange(n, dtype=np.int32), np.zeros(n, np.int32), [""], label, np.ones(n, np.float32))


def test_no_label_of_the_fit_reaches_into_the_newest_span() -> None:
    """What is fitted on had its whole horizon before the span; the span is all that is newer, parted by user."""
    rows = rows_of()
    parts = split(rows, until=UNTIL, target=TARGET, recipe=Recipe())
    valid_from = UNTIL - TARGET.horizon_us - TARGET.valid_us
    assert (rows.t[parts.fit] + TARGET.horizon_us).max() <= valid_from
    newest = np.sort(np.concatenate([parts.stop, parts.calibrate]))
    assert newest.tolist() == np.flatnonzero(rows.t >= valid_from).tolist()
    stop, calibrate = (set(rows.instants.user[rows.instant[each]].tolist()) for each in (parts.stop, parts.calibrate))
    assert not stop & calibrate
    assert abs(len(stop) - len(calibrate)) <= 1


def test_the_same_rows_are_parted_alike() -> None:
    """Equal rows and seed give equal parts; another seed halves the users otherwise."""
    one, same = (split(rows_of(), until=UNTIL, target=TARGET, recipe=Recipe()) for _ in range(2))
    other = split(rows_of(), until=UNTIL, target=TARGET, recipe=Recipe(seed=2))
    assert one.stop.tolist() == same.stop.tolist()
    assert one.stop.tolist() != other.stop.tolist()


def test_calibrated_is_on_what_everybody_is_asked() -> None:
    """Of the newest span's other half, instants just after an event are left out; stopping takes them."""
    rows = rows_of()
    cutoff = rows.instants.t - np.where(np.arange(len(rows)) % 3 == 0, 0, 1)
    moved = Instants(rows.instants.user, rows.instants.t, cutoff, rows.instants.users)
    mixed = Rows(moved, rows.instant, rows.category, rows.categories, rows.label, rows.weight)
    parts, whole = (split(each, until=UNTIL, target=TARGET, recipe=Recipe()) for each in (mixed, rows))
    assert parts.calibrate.tolist() == [place for place in whole.calibrate.tolist() if place % 3 == 0]
    assert parts.stop.tolist() == whole.stop.tolist()


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (rows_of(share=0.001), r"rows to fit on, \d+ are yes and [\d,]+ are no, and fewer than 100"),
        (rows_of(days=20), "of 0 rows to fit on"),
        (rows_of(share=1.0), "0 are no"),
    ],
)
def test_too_few_answers_are_refused_with_their_numbers(rows: Rows, match: str) -> None:
    """A rare yes, a short history and a question with one answer each end in one sentence."""
    with pytest.raises(BadInput, match=match):
        split(rows, until=UNTIL, target=TARGET, recipe=Recipe())


def test_negatives_stand_for_those_left_out() -> None:
    """All positives stay with weight 1; the sampled negatives' weights add up to about all of them."""
    rows = rows_of()
    sampled = sample_negatives(rows, 0.25, np.random.default_rng(3))
    assert sampled.label.sum() == rows.label.sum()
    assert set(sampled.weight[sampled.label == 1]) == {1.0}
    negatives = int((rows.label == 0).sum())
    assert abs(sampled.weight[sampled.label == 0].sum() - negatives) < 0.05 * negatives
