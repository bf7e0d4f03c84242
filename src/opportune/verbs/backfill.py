"""`opportune backfill`: the archive into change-point tables."""

from typing import Annotated

from cyclopts import Parameter

from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.output import show
from opportune.progress import progress
from opportune.warehouse import archive_of


def backfill(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Bring the table of every behavior view up to the archive: a row wherever a value changes.

    Feast's point-in-time join over these tables gives the exact value at any instant. What is final stays, only
    what has come since the last run is added; a view whose definition, or whose past in the archive, has changed is
    computed whole.

    Parameters
    ----------
    as_json
        Print one JSON object instead of a table.
    """
    from training.backfill import backfill as fill
    from training.backfill import render

    settings = load()
    with progress() as tell:
        report = fill(
            load_plan(settings.plan), archive_of(settings), settings.tables, memory_limit=settings.memory_limit,
            threads=settings.thread_count, progress=tell,
        )  # fmt: skip
    show(render(report), report, as_json=as_json)
