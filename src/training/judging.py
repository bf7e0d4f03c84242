"""Judging a challenger: both bundles on Sundays that neither has seen, the verdict, and the report that shows it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from behavior.errors import BundleRefused
from behavior.manifest import TEXT_FILE, check_features
from deployment.bundles import Bundles
from training.baselines import baselines
from training.bundle import personas_beside, write_report
from training.evaluation import evaluate
from training.gate import Limits, Verdict, judge
from training.measuring import answered, refuse_learned, unseen_rows
from training.propensity import Propensity
from training.report import Current, render, report_of
from training.rows import Rows
from training.steps import Progress
from training.targets import Target

if TYPE_CHECKING:
    from training.train import Learning

LIMITS = Limits()


def judge_bundle(
    learning: "Learning",
    target: Target,
    bundles: Bundles,
    challenger: str,
    current: str | None,
    cutoffs: Sequence[int],
    progress: Progress = lambda what, done, all_: None,
) -> Verdict:
    """Whether the challenger may take the place of the current bundle; its report tells how both did.

    A current bundle whose features are defined otherwise now can answer nobody any more, and is not asked. Raises
    BadInput if one of them has seen what it is asked.
    """
    manifest, files = bundles.read(challenger)
    rows = unseen_rows(learning.con, target, manifest, cutoffs)
    answers = answered(
        Propensity.of_bundle(manifest, files, learning.threads), learning.store, learning.plan, rows,
        personas=personas_beside(bundles, learning.plan),
        progress=lambda done, all_: progress("measuring the challenger", done, all_),
    )  # fmt: skip
    other = None if current is None else _current(learning, bundles, current, rows, cutoffs, progress)
    verdict = judge(answers.measured, other.measured if other else None, LIMITS)
    progress("reporting", 0, 1)
    scores = {target.name: answers.measured.propensity} | baselines(learning.con, rows, target)
    report = report_of(
        manifest, files, answers, question=target.question, current=other, revision=manifest.git_revision or "",
        measured_on=f"Measured on {len(cutoffs)} Sundays that no model has learned from:", threads=learning.threads,
        evaluation=evaluate(
            rows.instants.user[rows.instant], rows.instant, rows.label, scores, propensities=[target.name],
            replicates=LIMITS.replicates,
        ),
    )  # fmt: skip
    write_report(bundles, challenger, render(report))
    return verdict


def _current(
    learning: "Learning",
    bundles: Bundles,
    current: str,
    rows: Rows,
    cutoffs: Sequence[int],
    progress: Progress,
) -> Current | None:
    manifest, files = bundles.read(current)
    try:
        check_features(manifest, learning.plan.fingerprints)
    except BundleRefused:
        return None
    refuse_learned(manifest, cutoffs)
    answers = answered(
        Propensity.of_bundle(manifest, files, learning.threads), learning.store, learning.plan, rows,
        personas=personas_beside(bundles, learning.plan),
        progress=lambda done, all_: progress("measuring the current bundle", done, all_),
    )  # fmt: skip
    return Current(manifest, files[TEXT_FILE].decode(), answers.measured)
