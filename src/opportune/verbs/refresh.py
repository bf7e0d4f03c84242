"""`opportune refresh`: from what the archive holds now to a better bundle, or to the reasons against it."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from deployment.bundles import DEFAULT_TARGET, Bundles
from deployment.settings import Settings, load
from opportune.output import show
from opportune.progress import progress
from opportune.warehouse import events_of


def refresh(
    *,
    target: str = DEFAULT_TARGET,
    weeks: Annotated[int, Parameter(name="--weeks")] = 4,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Backfill, train a challenger, measure it beside the current bundle on weeks that neither has seen, and promote it
    if it is truly better.

    It must order and be calibrated on all rows and in every slice that is large enough, have a lower log loss beyond
    chance, and be worse in no slice. The report beside the bundles shows both. A refresh that was killed is gone on
    with, to the same end. `opportune rollback` takes a promotion back.

    Parameters
    ----------
    target
        What to predict.
    weeks
        How many of the last Sundays whose answers are known are held back to judge by.
    as_json
        Print one JSON object instead of sentences.
    """
    from opportune.refreshing import work_of
    from training.lock import alone_in
    from training.refresh import begin, load_run
    from training.refresh import refresh as bring_to_its_end
    from training.rows import latest
    from training.targets import target_named

    settings, asked = load(), target_named(target)
    directory = settings.home / "refresh"
    with alone_in(directory, "refresh in"), progress() as tell, events_of(settings) as events:
        run = load_run(directory / f"{target}.json")
        if run is None:
            current, learned_until = _current(settings, target)
            run = begin(
                asked, latest=latest(events), current=current, learned_until=learned_until, zone=settings.zone,
                started=datetime.now(UTC), weeks=weeks,
            )  # fmt: skip
        decision = bring_to_its_end(directory, run, work_of(settings, asked, events, tell), tell)
    table = Table("step", title="refresh", title_justify="left")
    table.add_column("seconds", justify="right")
    for step in decision.steps:
        table.add_row(step.name, f"{step.seconds:.1f}")
    became = "is current now" if decision.promoted else f"was refused, {decision.current or 'nothing'} stays current"
    said = [Text(f"{decision.challenger} {became}"), *(Text(f"· {reason}") for reason in decision.reasons)]
    show(Group(table, *said), decision, as_json=as_json)


def _current(settings: Settings, target: str) -> tuple[str | None, int]:
    """The bundle that serves, and where its knowledge ends (µs); 0 without one."""
    bundles = Bundles.of(settings)
    current = bundles.current_id(target)
    return current, 0 if current is None else bundles.read(current)[0].trained.end_us
