"""The report of one bundle: a page of HTML that holds all it shows, and that equal input makes again byte for byte."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from behavior.calibration import Calibration, propensities
from behavior.distribution import REFERENCE_FILE, Distribution, counted, decode
from behavior.errors import BadInput
from behavior.manifest import TEXT_FILE, Manifest
from training import plots
from training.changes import changes
from training.compare import paired
from training.curves import curves
from training.evaluation import REPLICATES, Evaluation
from training.importance import PERMUTED_INPUTS, permutation, shap
from training.measured import Measured, figures
from training.measuring import Answers
from training.report_page import Findings, Page, page

# More measured rows than this are thinned to those of some users, drawn at random; the page says so.
MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """The bundle that is current when another is reported; `measured` on the same rows, where that was possible."""

    manifest: Manifest
    booster_text: str
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReportInput:
    """All that a report is made of.

    manifest, booster_text   the bundle's manifest and model.txt
    question                 what the target asks, in words
    x, label                 float32[m, d], uint8[m]: a sample of the test rows by the bundle's inputs, and labels
    measured                 the model's answers on the test rows
    reference, test          distributions of training and of test rows, in the same bins
    measured_on              a sentence on which rows were measured
    evaluation               metrics beside baselines on the same rows, if there are some
    current                  what the bundle would replace
    revision                 git revision of the code that trained it
    """

    manifest: Manifest
    booster_text: str
    question: str
    x: np.ndarray
    label: np.ndarray
    measured: Measured
    reference: Mapping[str, Distribution] = field(default_factory=dict)
    test: Mapping[str, Distribution] = field(default_factory=dict)
    measured_on: str = ""
    evaluation: Evaluation | None = None
    current: Current | None = None
    revision: str = ""
    threads: int = 1
    replicates: int = REPLICATES


def report_of(
    manifest: Manifest,
    bundle_files: Mapping[str, bytes],
    answers: Answers,
    *,
    question: str,
    measured_on: str = "",
    evaluation: Evaluation | None = None,
    current: Current | None = None,
    revision: str = "",
    threads: int = 1,
) -> ReportInput:
    """The input of a bundle's report: its manifest and files as read, and what it answered on test rows.

    Test rows are counted in the bins of the bundle's reference distributions, if it has some.
    """
    reference = decode(bundle_files[REFERENCE_FILE]) if REFERENCE_FILE in bundle_files else {}
    return ReportInput(
        manifest, bundle_files[TEXT_FILE].decode(), question, answers.x, answers.label, answers.measured, reference,
        counted(reference, answers.x, manifest.inputs), measured_on, evaluation, current, revision, threads,
    )  # fmt: skip


def render(report: ReportInput) -> str:
    """The page."""
    _check(report)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("training") / "report.html.jinja").read_text(encoding="utf-8"))
    return template.render(page=_page(report)) + "\n"


def _page(report: ReportInput) -> Page:
    found = _findings(report)
    inputs = report.manifest.inputs
    svgs = {
        "curves": plots.roc_and_precision(found.curves),
        "lift": plots.lift(found.curves),
        "calibration": plots.calibration(found.curves),
        "beeswarm": plots.beeswarm(found.shap, inputs),
        "permutation": plots.permutation(found.permuted, inputs),
    }
    # The SVG is our own, made of numbers and of texts that matplotlib escapes; all else is escaped by the template.
    return page(found, {name: Markup(svg) for name, svg in svgs.items()})  # noqa: S704


def _findings(report: ReportInput) -> Findings:
    current = report.current
    measured, other = _thinned(report.measured, current.measured if current else None)
    if other is None:
        ours, pairs = figures(measured, replicates=report.replicates), None
    else:
        pairs = paired(measured, other, replicates=report.replicates)
        ours = [first for first, _ in pairs]
    added = shap(report.booster_text, report.x, threads=report.threads)
    calibration = report.manifest.calibration or Calibration(1.0, 0.0)
    return Findings(
        manifest=report.manifest,
        question=report.question,
        revision=report.revision,
        measured_on=report.measured_on,
        measured_rows=len(report.measured),
        replicates=report.replicates,
        slices=ours,
        pairs=pairs,
        evaluation=report.evaluation,
        curves=curves(measured, replicates=report.replicates),
        calibration=report.manifest.calibration,
        shap=added,
        permuted=permutation(
            report.booster_text, report.x, report.label, np.argsort(-added.mean, kind="stable")[:PERMUTED_INPUTS],
            lambda margin: propensities(calibration.margins(margin)), threads=report.threads,
        ),
        drift=(report.reference, report.test),
        changes=changes(current.manifest, current.booster_text, report.manifest, report.booster_text)
        if current
        else None,
    )  # fmt: skip


def _thinned(measured: Measured, other: Measured | None) -> tuple[Measured, Measured | None]:
    """At most about MOST_ROWS rows, all of some users; of both in the same way."""
    if other is not None and not measured.same_rows(other):
        raise BadInput("the current bundle was measured on other rows than the reported one; measure both on the same")
    if len(measured) <= MOST_ROWS:
        return measured, other
    users, user = np.unique(measured.user, return_inverse=True)
    drawn = np.random.default_rng(1).random(len(users)) < MOST_ROWS / len(measured)
    places = np.flatnonzero(drawn[user])
    return measured.take(places), None if other is None else other.take(places)


def _check(report: ReportInput) -> None:
    width = len(report.manifest.inputs)
    if report.x.ndim != 2 or report.x.shape[1] != width or not len(report.x) or len(report.x) != len(report.label):
        raise BadInput(
            f"a report needs sample rows of the model's {width} inputs with a label each, not {list(report.x.shape)} "
            f"with {len(report.label)} labels"
        )
    if len(np.unique(report.measured.label)) != 2:
        raise BadInput("a report needs measured rows of both labels; measure over more cut-offs")
