"""Figures per slice: the metrics of the house on each slice's own rows, on one resampling of all users."""

from dataclasses import replace

import numpy as np
import pytest

from behavior.errors import BadInput
from tests.training.measured_rows import ITEMS, PERSONAS, USERS, measured, noisy
from training.evaluation import evaluate
from training.measured import BIN_ROWS, SMALLEST_ROWS, Measured, figures


def test_all_rows_are_what_evaluate_says() -> None:
    """On all rows the figures and their intervals are those of `evaluate`: one metric, one number."""
    rows = measured(noisy(0.5), users=600)
    found = figures(rows, replicates=50)[0]
    told = evaluate(rows.user, rows.group, rows.label, {"p": rows.propensity}, propensities=["p"], replicates=50)
    assert (found.of, found.rows, found.users, found.positives) == ("all", len(rows), 600, int(rows.label.sum()))
    assert {name: figure.estimate for name, figure in found.figures.items()} == told.scores[0].metrics


def test_a_slice_is_measured_on_its_own_rows() -> None:
    """Each persona's AUC, log loss and NDCG are those of its rows alone, and its users and positives are counted."""
    rows = measured(noisy(0.5, worse_in="New", by=3.0))
    found = {each.name: each for each in figures(rows, replicates=20)}
    assert list(found) == ["all", "Champions", "Dormant", "Loyal", "New"]
    for name in PERSONAS:
        mine = rows.take(np.flatnonzero(rows.slices["persona"] == name))
        told = evaluate(mine.user, mine.group, mine.label, {"p": mine.propensity}, propensities=["p"], replicates=2)
        for metric in ("auc", "log_loss", "ndcg_10"):
            assert found[name].figures[metric].value == pytest.approx(told.scores[0].metrics[metric].value, abs=1e-12)
        assert (found[name].users, found[name].positives) == (len(np.unique(mine.user)), int(mine.label.sum()))
    assert found["New"].figures["auc"].value < found["Loyal"].figures["auc"].value - 0.1


def test_slices_stand_in_the_order_of_what_they_count() -> None:
    """Tenures and hours by their numbers, whatever word stands before them; a kind of one name is all rows again."""
    rows = measured(noisy(0.5))
    tenure = np.array(["180 to 270 days", "over 270 days", "unknown", "under 90 days", "90 to 180 days"], dtype=object)
    hour = np.array(["evening 18-23", "morning 6-11", "night 0-5", "afternoon 12-17"], dtype=object)
    user = rows.user // 10
    told = replace(
        rows, slices={"hour": hour[user % 4], "tenure": tenure[user % 5], "persona": np.repeat(hour[:1], len(rows))}
    )
    assert [(each.of, each.name) for each in figures(told, replicates=2)[1:]] == [
        *(("tenure", name) for name in ("unknown", "under 90 days", "90 to 180 days", "180 to 270 days",
                                        "over 270 days")),
        *(("hour", name) for name in ("night 0-5", "morning 6-11", "afternoon 12-17", "evening 18-23")),
    ]  # fmt: skip


def test_a_slice_is_drawn_as_often_as_among_all_users() -> None:
    """A replicate draws users once for everything: the slices' positives add up to those of all rows."""
    rows = measured(noisy(0.5))
    everything, *parts = figures(rows, replicates=30)
    sums = sum(part.figures["log_loss"].value * part.rows for part in parts)
    assert sums == pytest.approx(everything.figures["log_loss"].value * everything.rows)
    same = figures(rows, replicates=30)
    for ours, theirs in zip((everything, *parts), same, strict=True):
        for metric, figure in ours.figures.items():
            assert np.array_equal(figure.drawn, theirs.figures[metric].drawn, equal_nan=True)


def test_a_small_slice_says_why_it_is_not_judged() -> None:
    """Two users are shown with what there are too few of, never left out; a large slice is judged."""
    found = {each.name: each for each in figures(measured(noisy(0.5)), replicates=5)}
    assert not found["Dormant"].judged
    assert found["Dormant"].why_not == f"{2 * 2 * ITEMS} rows of at least {SMALLEST_ROWS}"
    assert found["New"].judged
    assert found["all"].judged


def test_rankings_of_one_row_have_no_ndcg() -> None:
    """Where every group is a single row there is nothing to rank, and no figure pretends so."""
    rows = measured(noisy(0.5))
    alone = Measured(rows.user, np.arange(len(rows)), rows.label, rows.propensity, rows.margin, rows.slices)
    assert set(figures(alone, replicates=2)[0].figures) == {"auc", "log_loss", "calibration_error"}


def test_a_slice_has_no_more_calibration_bins_than_it_can_fill() -> None:
    """A perfectly calibrated slice of 2,000 rows stays well below the limit of 0.05: its bins hold enough rows."""
    worst = 0.0
    for seed in range(20):
        found = figures(measured(noisy(0.0), seed, users=4 * BIN_ROWS // ITEMS // 2), replicates=2)[0]
        worst = max(worst, found.figures["calibration_error"].value)
    assert worst < 0.05


def test_a_slice_without_positives_has_no_auc() -> None:
    """One class alone has no order: NaN, with an interval of NaN, and no failure."""
    rows = measured(noisy(0.5))
    label = np.where(rows.slices["persona"] == "New", 0, rows.label).astype(np.uint8)
    none = Measured(rows.user, rows.group, label, rows.propensity, rows.margin, rows.slices)
    found = {each.name: each for each in figures(none, replicates=5)}["New"]
    assert np.isnan(found.figures["auc"].estimate.value)
    assert not found.judged
    assert "positives" in found.why_not


def test_a_bound_for_a_small_chance_is_wider() -> None:
    """At 2.5 % on each side the bound agrees with the percentiles; at a hundredth of that it lies further out."""
    figure = figures(measured(noisy(0.5)), replicates=400)[0].figures["auc"]
    near, far, told = figure.within(0.025), figure.within(0.00025), figure.estimate
    assert near.low == pytest.approx(told.low, abs=(told.high - told.low) * 0.1)
    assert near.high == pytest.approx(told.high, abs=(told.high - told.low) * 0.1)
    assert far.low < near.low
    assert far.high > near.high


@pytest.mark.parametrize(
    "change",
    [
        {"user": np.arange(3)},
        {"label": np.full(USERS * 2 * ITEMS, 2, np.uint8)},
        {"propensity": np.full(USERS * 2 * ITEMS, 1.1)},
        {"propensity": np.full(USERS * 2 * ITEMS, np.nan)},
        {"margin": np.full(USERS * 2 * ITEMS, np.inf)},
        {"slices": {"persona": np.array(["New"], dtype=object)}},
    ],
)
def test_columns_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    """Lengths, labels, propensities and margins are looked at before anything is measured."""
    rows = measured(noisy(0.5))
    columns = {name: getattr(rows, name) for name in Measured.__dataclass_fields__}
    with pytest.raises(BadInput):
        Measured(**(columns | change))
