"""Comparisons: paired on the same users, told per slice, readable by people and programs."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from behavior.errors import BadInput
from opportune.output import _plain
from tests.training.measured_rows import measured, noisy
from training.compare import compare, render
from training.evaluation import evaluate

NAMES = ("challenger", "champion")


def test_differences_are_those_of_evaluate() -> None:
    """On all rows the paired differences and their intervals are those of `evaluate` on both scores."""
    ours, theirs = measured(noisy(0.4), users=600), measured(noisy(1.0, seed=8), users=600)
    found = compare(ours, theirs, names=NAMES, replicates=50).slices[0]
    told = evaluate(
        ours.user, ours.group, ours.label, {"ours": ours.propensity, "theirs": theirs.propensity},
        propensities=["ours", "theirs"], replicates=50,
    )  # fmt: skip
    assert found.first == told.scores[0].metrics
    assert found.second == told.scores[1].metrics
    assert found.differences == told.differences[0].metrics


def test_a_slice_that_loses_shows_its_own_difference() -> None:
    """Better on all rows and in two personas, worse in one: the table marks both, and small slices say so."""
    ours, theirs = measured(noisy(0.2, worse_in="New", by=2.5)), measured(noisy(1.0, seed=8))
    found = compare(ours, theirs, names=NAMES, replicates=50)
    by = {each.name: each for each in found.slices}
    assert by["all"].differences["log_loss"].high < 0
    assert by["Loyal"].differences["auc"].low > 0
    assert by["New"].differences["auc"].high < 0
    assert not by["Dormant"].judged
    console = Console(file=io.StringIO(), width=160)
    console.print(render(found))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (new,) = (line for line in lines if "persona New" in line)
    (loyal,) = (line for line in lines if "persona Loyal" in line)
    assert f"{by['New'].differences['auc'].value:+.4f} ✗" in new
    assert f"{by['Loyal'].differences['log_loss'].value:+.4f} ✓" in loyal
    assert any("not judged" in line for line in lines)


def test_programs_read_the_same_figures() -> None:
    """The JSON holds every slice with both models' metrics and the difference."""
    found = compare(measured(noisy(0.4)), measured(noisy(1.0)), names=NAMES, replicates=5)
    plain = json.loads(json.dumps(_plain(found)))
    assert (plain["first"], plain["second"]) == NAMES
    assert [each["name"] for each in plain["slices"]] == ["all", "Champions", "Dormant", "Loyal", "New"]
    assert plain["slices"][0]["differences"]["auc"]["value"] == found.slices[0].differences["auc"].value


def test_other_rows_are_refused() -> None:
    """Neither other labels nor another order of the rows can be paired."""
    rows = measured(noisy(0.4))
    for other in (measured(noisy(0.4), seed=1), rows.take(np.arange(len(rows))[::-1]), measured(noisy(0.4), users=299)):
        with pytest.raises(BadInput, match="different rows"):
            compare(rows, other, names=NAMES)
