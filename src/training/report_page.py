"""What a report says, as texts and tables: figures come in, words go out, and the template only lays them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from behavior.calibration import Calibration
from behavior.distribution import Distribution, stability_index
from behavior.event import SECOND_US
from behavior.manifest import Manifest, Span
from deployment.zone import zone
from training.changes import Changes
from training.compare import verdict
from training.curves import Curves
from training.evaluation import TITLES, Estimate, Evaluation
from training.importance import PERMUTED_ROWS, REPEATS, Permuted, Shap
from training.measured import SMALLEST_CLASS, SMALLEST_ROWS, SMALLEST_USERS, Slice

# The usual reading of the stability index (behavior.distribution.stability_index).
STABLE, SHIFTED = 0.1, 0.25
_SECTIONS = (
    ("metrics", "Metrics"),
    ("curves", "Ordering"),
    ("calibration", "Calibration"),
    ("importance", "Importance"),
    ("slices", "Slices"),
    ("drift", "Drift"),
    ("changes", "Changes"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: its text, a class of the page's style (good, bad, soft), and what stands small under it."""

    text: str
    mark: str = ""
    under: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page; the first column is words, the others stand on the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the large figures at the top."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True, slots=True)
class Drift:
    """One input's line: how far the test rows moved; pairs are heights 0..1 of (training, test) per bin."""

    input: str
    index: str
    mark: str
    missing: tuple[str, str]
    pairs: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template shows, in its words."""

    title: str
    question: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[tuple[str, str], ...]
    measured_on: str
    replicates: int
    tiles: tuple[Tile, ...]
    baselines: Table | None
    plots: Mapping[str, str]
    calibration_told: str
    reliability: Table
    shap_told: str
    importance: Table
    permutation_told: str
    slices_told: str
    slices: Table
    drift_told: str
    drift: tuple[Drift, ...]
    changes: Changes | None
    changes_told: str
    differences: Table | None
    parameters: Table | None
    footer: str


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What was found of a bundle, before it is put into words.

    measured_rows   how many rows were measured; `slices` may be made of those of some users only
    pairs           (ours, the current bundle's) per slice, where both were measured
    drift           distributions of training and of test rows
    """

    manifest: Manifest
    question: str
    revision: str
    measured_on: str
    measured_rows: int
    replicates: int
    slices: Sequence[Slice]
    pairs: Sequence[tuple[Slice, Slice]] | None
    evaluation: Evaluation | None
    curves: Curves
    calibration: Calibration | None
    shap: Shap
    permuted: Sequence[Permuted]
    drift: tuple[Mapping[str, Distribution], Mapping[str, Distribution]]
    changes: Changes | None


def page(found: Findings, plots: Mapping[str, str]) -> Page:
    """The page of what was found; plots are SVG by name."""
    manifest, changes = found.manifest, found.changes
    return Page(
        title=manifest.bundle_id,
        question=found.question,
        facts=_facts(manifest, found.revision),
        sections=_SECTIONS,
        measured_on=_measured_on(found),
        replicates=found.replicates,
        tiles=tuple(
            Tile(TITLES[metric], f"{estimate.value:.4f}", _bounds(estimate))
            for metric, estimate in _estimates(found.slices[0]).items()
        ),
        baselines=_baselines(found.evaluation) if found.evaluation else None,
        plots=plots,
        calibration_told=_calibration_told(found.calibration, found.curves),
        reliability=_reliability(found.curves),
        shap_told=f"TreeSHAP of {len(found.shap.x):,} test rows: what each input adds to the margin (log-odds). A "
        "point is a row: blue where the input's value is low, orange where it is high, grey where it is missing.",
        importance=_importance(manifest, found.shap, found.permuted),
        permutation_told="How much the log loss rises when one input is shuffled over at most "
        f"{PERMUTED_ROWS:,} test rows: mean ± spread of {REPEATS} shufflings, for the {len(found.permuted)} inputs "
        "that TreeSHAP calls strongest. Inputs that stand in for each other lose little one at a time.",
        slices_told=_slices_told(found.slices),
        slices=_slices(found.slices),
        drift_told=_drift_told(*found.drift),
        drift=_drift(*found.drift),
        changes=changes,
        changes_told="Paired differences on the same rows: this bundle − the current one."
        if found.pairs
        else "The two were not measured on the same rows, so that their metrics are not compared.",
        differences=_differences(found.pairs) if found.pairs else None,
        parameters=_parameters(changes) if changes and changes.parameters else None,
        footer=f"Made by `opportune` from {manifest.bundle_id}. One file: nothing is loaded from elsewhere.",
    )


def _facts(manifest: Manifest, revision: str) -> tuple[tuple[str, str], ...]:
    return (
        ("target", f"{manifest.target}, asked of each {manifest.entity.replace('_', ', ')}"),
        ("trained on", _span(manifest.trained, manifest.zone)),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in manifest.rows.items())),
        ("inputs", f"{len(manifest.inputs)}"),
        ("created", manifest.created),
        ("made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        ("git revision", revision or "unknown"),
        ("ONNX", f"within {manifest.export_difference:.1e} of LightGBM, in margin"),
    )


def _span(span: Span, zone_name: str) -> str:
    days = (
        datetime.fromtimestamp(t / SECOND_US, UTC).astimezone(zone(zone_name)).strftime("%Y-%m-%d %H:%M")
        for t in (span.start_us, span.end_us)
    )
    return f"{' to '.join(days)} ({zone_name}; labels included)"


def _measured_on(found: Findings) -> str:
    head = found.slices[0]
    count = f"{head.rows:,} rows of {head.users:,} users, {head.positives / head.rows:.2%} positive."
    of = found.measured_rows
    capped = "" if head.rows == of else f" They are all rows of some users, drawn at random from {of:,} measured rows."
    return f"{found.measured_on} {count}{capped}".strip()


def _baselines(evaluation: Evaluation) -> Table:
    rows = [
        (Cell(scored.name), *(_interval(scored.metrics.get(metric)) for metric in TITLES))
        for scored in evaluation.scores
    ]
    for each in evaluation.differences:
        cells = (_signed(metric, each.metrics.get(metric)) for metric in TITLES)
        rows.append((Cell(f"{each.name} − {each.baseline}"), *cells))
    return Table(("score", *TITLES.values()), tuple(rows))


def _calibration_told(calibration: Calibration | None, curves: Curves) -> str:
    if calibration is None:
        return "This bundle is not calibrated: before and after are the same."
    intercept = _minus(f"{calibration.intercept:+.4f}")
    return (
        f"Calibrated margin = {calibration.slope:.4f} × margin {intercept}, fitted on rows of its own. The calibration "
        f"error was {curves.before.error:.4f} before it and is {curves.after.error:.4f} after it."
    )


def _reliability(found: Curves) -> Table:
    """Bins of calibrated propensity."""
    part = found.after
    rows = (
        (Cell(f"{place + 1}"), Cell(f"{mean:.4f}"), Cell(f"{share:.4f}"), Cell(_minus(f"{share - mean:+.4f}")),
         Cell(f"{rows:,}"), Cell(f"{positives:,}"))
        for place, (mean, share, rows, positives) in enumerate(
            zip(part.mean, part.share, part.rows, part.positives, strict=True)
        )
    )  # fmt: skip
    return Table(("bin", "mean propensity", "share that came true", "gap", "rows", "positives"), tuple(rows))


def _importance(manifest: Manifest, shap: Shap, permuted: Sequence[Permuted]) -> Table:
    lost = {each.place: each for each in permuted}
    mean = shap.mean
    total = max(float(mean.sum()), 1e-300)
    rows = []
    for place in np.argsort(-mean, kind="stable").tolist():
        drop = lost.get(place)
        told = "–" if drop is None else _minus(f"{drop.mean:+.5f} ± {drop.spread:.5f}")
        rows.append(
            (Cell(manifest.inputs[place]), Cell(f"{mean[place]:.4f}"), Cell(f"{mean[place] / total:.1%}"), Cell(told))
        )
    return Table(("input", "mean |SHAP|", "of all", "rise of log loss when shuffled"), tuple(rows))


def _slices_told(slices: Sequence[Slice]) -> str:
    kinds = ", ".join(dict.fromkeys(each.of for each in slices[1:]))
    if not kinds:
        return "The measured rows tell no slices."
    small = sum(not each.judged for each in slices[1:])
    return (
        f"By {kinds}. A slice of fewer than {SMALLEST_ROWS:,} rows, {SMALLEST_USERS} users, or {SMALLEST_CLASS} rows "
        f"of either label is shown and not judged; {small or 'none'} of {len(slices) - 1} here."
    )


def _slices(slices: Sequence[Slice]) -> Table:
    rows = []
    for each in slices:
        found = _estimates(each)
        cells = (_interval(found.get(metric), "" if each.judged else "soft") for metric in TITLES)
        counts = (Cell(f"{count:,}") for count in (each.rows, each.users, each.positives))
        rows.append((_slice(each), *counts, *cells))
    return Table(("slice", "rows", "users", "positives", *TITLES.values()), tuple(rows))


def _slice(of: Slice) -> Cell:
    return Cell(of.title) if of.judged else Cell(of.title, "soft", f"not judged: {of.why_not}")


def _drift_told(reference: Mapping[str, Distribution], test: Mapping[str, Distribution]) -> str:
    indices = [stability_index(reference[name], test[name]) for name in reference if name in test]
    if not indices:
        return "No distributions were kept of training and test rows."
    shifted = sum(index > SHIFTED for index in indices)
    return (
        f"Population stability index per input: below {STABLE} is stable, above {SHIFTED} a significant change "
        f"({shifted} of {len(indices)} inputs). The bars are shares of rows, bin by bin, last of missing values. "
        "Training rows hold instants just after an order as well as cut-offs, and test rows often cut-offs only: what "
        "counts the time since the last event may differ for that reason alone."
    )


def _drift(reference: Mapping[str, Distribution], test: Mapping[str, Distribution]) -> tuple[Drift, ...]:
    found = sorted(
        ((stability_index(reference[name], test[name]), name) for name in reference if name in test),
        key=lambda pair: (-pair[0], pair[1]),
    )
    return tuple(_drift_line(name, index, reference[name], test[name]) for index, name in found)


def _drift_line(name: str, index: float, reference: Distribution, test: Distribution) -> Drift:
    pairs = [*zip(reference.shares, test.shares, strict=True), (reference.missing, test.missing)]
    # The bin of all other codes is often the greatest by far, and would press the rest flat.
    most = max(max(pair) for pair in (pairs if reference.codes is None else pairs[: len(reference.codes)] or pairs))
    return Drift(
        name,
        f"{index:.3f}",
        "bad" if index > SHIFTED else "" if index > STABLE else "soft",
        (f"{reference.missing:.1%}", f"{test.missing:.1%}"),
        tuple((min(left / most, 1), min(right / most, 1)) for left, right in pairs),
    )


def _differences(pairs: Sequence[tuple[Slice, Slice]]) -> Table:
    rows = []
    for ours, theirs in pairs:
        found = {metric: ours.figures[metric].less(theirs.figures[metric]).estimate for metric in ours.figures}
        cells = (_signed(metric, found.get(metric), ours.judged) for metric in TITLES)
        rows.append((_slice(ours), *cells))
    return Table(("slice", *TITLES.values()), tuple(rows))


def _parameters(found: Changes) -> Table:
    rows = ((Cell(name), Cell(older), Cell(newer)) for name, older, newer in found.parameters)
    return Table(("", "current", "this bundle"), tuple(rows))


def _estimates(found: Slice) -> dict[str, Estimate]:
    return {metric: found.figures[metric].estimate for metric in TITLES if metric in found.figures}


def _interval(found: Estimate | None, mark: str = "") -> Cell:
    if found is None or np.isnan(found.value):
        return Cell("–", "soft")
    return Cell(f"{found.value:.4f}", mark, _bounds(found))


def _signed(metric: str, found: Estimate | None, judged: bool = True) -> Cell:
    if found is None or np.isnan(found.value):
        return Cell("–", "soft")
    mark = {"better": "good", "worse": "bad"}.get(verdict(metric, found), "") if judged else "soft"
    return Cell(_minus(f"{found.value:+.4f}"), mark, _minus(f"[{found.low:+.4f}, {found.high:+.4f}]"))


def _minus(text: str) -> str:
    """With the sign that is as wide as a plus, so that columns stand straight."""
    return text.replace("-", "−")


def _bounds(found: Estimate) -> str:
    return f"[{found.low:.4f}, {found.high:.4f}]"
