"""Two models of one target on the same rows: what each is worth, and what the difference is, in every declared slice.

The bootstrap is paired: both are measured on the same draws of users, and the interval is that of the difference.
"""

from dataclasses import dataclass

from rich.table import Table

from behavior.errors import BadInput
from training.evaluation import REPLICATES, TITLES, Estimate
from training.measured import HIGHER_IS_BETTER, Measured, Slice, figures


@dataclass(frozen=True, slots=True)
class Compared:
    """One slice of the rows: both models' metrics, and first − second; not judged if too small, and `why_not` tells."""

    of: str
    name: str
    title: str
    rows: int
    users: int
    positives: int
    judged: bool
    why_not: str
    first: dict[str, Estimate]
    second: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models beside each other; all rows are the first slice."""

    first: str
    second: str
    replicates: int
    slices: tuple[Compared, ...]


def compare(
    first: Measured,
    second: Measured,
    *,
    names: tuple[str, str],
    replicates: int = REPLICATES,
    seed: int = 1,
) -> Comparison:
    """Both on the same rows, with 95 % intervals from resampled users. Raises BadInput if the rows are not the same."""
    pairs = paired(first, second, replicates=replicates, seed=seed)
    return Comparison(*names, replicates, tuple(_compared(ours, theirs) for ours, theirs in pairs))


def paired(
    first: Measured, second: Measured, *, replicates: int = REPLICATES, seed: int = 1
) -> list[tuple[Slice, Slice]]:
    """The figures of both for each slice, resampled alike; the slices are those of the first.

    Raises BadInput if the two were not measured on the same rows.
    """
    if not first.same_rows(second):
        raise BadInput(
            f"the two models were measured on different rows ({len(first):,} and {len(second):,}); "
            "measure both at the same cut-offs"
        )
    alike = Measured(second.user, second.group, second.label, second.propensity, second.margin, first.slices)
    pairs = zip(
        figures(first, replicates=replicates, seed=seed), figures(alike, replicates=replicates, seed=seed), strict=True
    )
    return list(pairs)


def render(comparison: Comparison) -> Table:
    """A table for people: first − second per slice; ✓ is better and ✗ is worse, beyond the interval."""
    head = comparison.slices[0]
    title = (
        f"{comparison.first} − {comparison.second}: {head.rows:,} rows, {head.users:,} users, {head.positives:,} "
        f"positive; 95 % intervals from {comparison.replicates} resamplings of users; ✓ better, ✗ worse beyond them"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    for heading in TITLES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, metrics in ((comparison.first, head.first), (comparison.second, head.second)):
        table.add_row(name, f"{head.rows:,}", *(_plain(metrics.get(each)) for each in TITLES))
    table.add_section()
    for each in comparison.slices:
        title = each.title if each.judged else f"{each.title} (not judged: {each.why_not})"
        cells = (_signed(metric, each.differences.get(metric), each.judged) for metric in TITLES)
        table.add_row(title, f"{each.rows:,}", *cells)
    return table


def verdict(metric: str, difference: Estimate) -> str:
    """`better` or `worse` if the interval says so, else nothing."""
    if not difference.excludes_zero:
        return ""
    return "better" if (difference.value > 0) == HIGHER_IS_BETTER[metric] else "worse"


def _signed(metric: str, difference: Estimate | None, judged: bool) -> str:
    """A difference over its interval, with a mark if it is sure and the slice large enough."""
    if difference is None:
        return "–"
    sure = verdict(metric, difference) if judged else ""
    colour, mark = {"better": ("green", " ✓"), "worse": ("red", " ✗")}.get(sure, ("none", ""))
    return f"[{colour}]{difference.value:+.4f}{mark}[/]\n\\[{difference.low:+.4f}, {difference.high:+.4f}]"


def _plain(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{estimate.value:.4f}"


def _compared(ours: Slice, theirs: Slice) -> Compared:
    return Compared(
        ours.of, ours.name, ours.title, ours.rows, ours.users, ours.positives, ours.judged, ours.why_not,
        first={metric: figure.estimate for metric, figure in ours.figures.items()},
        second={metric: figure.estimate for metric, figure in theirs.figures.items()},
        differences={metric: ours.figures[metric].less(theirs.figures[metric]).estimate for metric in ours.figures},
    )  # fmt: skip
