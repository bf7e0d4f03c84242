"""`opportune compare`: two bundles of one target on the same rows."""

from typing import Annotated

from cyclopts import Parameter

from behavior.errors import BadInput
from behavior.manifest import target_of
from deployment.bundles import DEFAULT_TARGET, Bundles
from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.output import show
from opportune.progress import progress
from opportune.warehouse import events_of


def compare(
    first_bundle: str,
    second_bundle: str,
    *,
    target: str = DEFAULT_TARGET,
    first: str,
    last: str,
    replicates: int = 200,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure two bundles of one target on the same rows, and say where they differ beyond chance.

    Prints the differences (the one bundle − the other) of AUC, NDCG@10, log loss and calibration error, on all rows
    and in each declared slice, with 95 % intervals from a paired bootstrap over users.

    Parameters
    ----------
    first_bundle
        Its id, or the name of a pointer.
    second_bundle
        The one that it is compared with.
    target
        What the bundle of a pointer predicts.
    first
        Local date of the first cut-off (00:00), such as 2017-10-15; then every 7 days.
    last
        Local date of the last cut-off.
    replicates
        How often users are resampled.
    as_json
        Print one JSON object instead of a table.
    """
    from training.compare import compare as paired
    from training.compare import render
    from training.evaluate import measure_bundle
    from training.rows import local_midnights
    from training.store import open_store

    settings = load()
    bundles = Bundles.of(settings)
    names = (bundles.resolve(first_bundle, target), bundles.resolve(second_bundle, target))
    if target_of(names[0]) != target_of(names[1]):
        raise BadInput(f"{names[0]} and {names[1]} predict different things; compare bundles of one target")
    with progress() as tell, events_of(settings) as events:
        store, plan = open_store(settings), load_plan(settings.plan)
        measured = [
            measure_bundle(
                events, store, plan, bundles, name, cutoffs=local_midnights(first, last, settings.zone),
                threads=settings.thread_count, progress=tell,
            ).measured
            for name in names
        ]  # fmt: skip
        tell("resampling users", 0, 1)
        found = paired(*measured, names=names, replicates=replicates)
    show(render(found), found, as_json=as_json)
