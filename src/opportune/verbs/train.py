"""`opportune train` and `opportune evaluate`: from the archive to a bundle, and how good it is."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from deployment.bundles import DEFAULT_TARGET, Bundles
from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.output import show
from opportune.progress import progress
from opportune.served_log import served_journal
from opportune.warehouse import events_of, local_midnight

if TYPE_CHECKING:
    from training.steps import Step


def train(
    *,
    target: str = DEFAULT_TARGET,
    until: str | None = None,
    rows: Literal["tables", "journal"] = "tables",
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Train a propensity on the archive and the backfilled tables, and make it the current bundle.

    Parameters
    ----------
    target
        What to predict: `purchase_7d` (will a user buy in a category within 7 days?), `purchase_14d`, `churn_30d`,
        `redeem`.
    until
        Local date (2017-09-25) before which everything must lie that the model learns from. Default: the last event.
    rows
        What to learn from: `tables`, questions like those of requests with features from the backfilled tables; or
        `journal`, the categories that were really shown, with the vectors that were served: archived and in the log.
    as_json
        Print one JSON object instead of a sentence.
    """
    from training.bundle import point
    from training.rows import latest
    from training.store import open_store
    from training.targets import target_named
    from training.train import Learning
    from training.train import train as fit

    settings = load()
    bundles = Bundles.of(settings)
    source = served_journal(settings, bundles, target) if rows == "journal" else nullcontext()
    with progress() as tell, events_of(settings) as events, source as journal:
        learning = Learning(
            events, open_store(settings), load_plan(settings.plan), settings.zone, settings.thread_count
        )
        trained = fit(
            learning, target_named(target), bundles, created=datetime.now(UTC), progress=tell, journal=journal,
            until=latest(events) + 1 if until is None else local_midnight(until, settings),
        )  # fmt: skip
        point(bundles, "current", trained.bundle_id)
    text = (
        f"bundle {trained.bundle_id} is current: {trained.trees} trees from {trained.fit_rows:,} rows, "
        f"ONNX within {trained.onnx_difference:.1e} of LightGBM; {trained.report} tells how good it is"
    )
    if trained.journal is not None:
        text += f"; {trained.journal}"
    show(Group(_steps(trained.steps), Text(text)), trained, as_json=as_json)


def _steps(steps: "Sequence[Step]") -> Table:
    """How long each step took."""
    table = Table("step", title="training", title_justify="left")
    table.add_column("seconds", justify="right")
    for each in steps:
        table.add_row(each.name, f"{each.seconds:.1f}")
    table.add_section()
    table.add_row("together", f"{sum(each.seconds for each in steps):.1f}")
    return table


def evaluate(
    bundle: str = "current",
    *,
    target: str = DEFAULT_TARGET,
    first: str,
    last: str,
    replicates: int = 200,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure a bundle on weekly cut-offs that it has never seen, beside popularity and the user's own habits.

    Prints AUC, log loss, NDCG@10 and calibration error with 95 % intervals (users resampled), and the paired
    differences to the baselines; then what the bundle is worth in each declared slice.

    Parameters
    ----------
    bundle
        Its id, or the name of a pointer of the target.
    target
        What the pointer's bundle predicts.
    first
        Local date of the first cut-off (00:00), such as 2017-10-15; then every 7 days.
    last
        Local date of the last cut-off.
    replicates
        How often users are resampled.
    as_json
        Print one JSON object instead of tables.
    """
    from training.evaluate import evaluate_bundle
    from training.evaluation import render, to_json
    from training.measured import render_slices, slice_to_json
    from training.rows import local_midnights
    from training.store import open_store

    settings = load()
    with progress() as tell, events_of(settings) as events:
        found = evaluate_bundle(
            events, open_store(settings), load_plan(settings.plan), Bundles.of(settings), bundle, of=target,
            cutoffs=local_midnights(first, last, settings.zone), replicates=replicates, threads=settings.thread_count,
            progress=tell,
        )  # fmt: skip
    told = to_json(found.evaluation) | {"slices": [slice_to_json(each) for each in found.slices]}
    show(Group(render(found.evaluation), render_slices(found.slices)), told, as_json=as_json)
