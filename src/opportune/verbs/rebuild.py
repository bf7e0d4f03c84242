"""`opportune rebuild`: the online states made anew from the archive, while everything runs."""

from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from deployment.settings import load
from opportune.addresses import attached
from opportune.output import show
from opportune.progress import progress
from opportune.replay import instant, replay_clock, shown
from opportune.restore import restore, serves
from opportune.warehouse import archive_of


def rebuild(
    *,
    until: str | None = None,
    partitions: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Make the online states anew from the archive and the log, under the plan that `apply` wrote, and let them serve.

    Everything goes on meanwhile: events are taken and folded, the states that there are and the current bundle serve
    until the new states have caught up; then they are swapped, partition by partition. After a change of the features,
    and after a loss of Redis, it is this command. Nothing that was acknowledged is lost; what is in the log but not in
    the archive yet is counted, and folded from the log.

    Parameters
    ----------
    until
        Restore only what was admitted before this instant, like 2017-10-15T00:00 (in the settings' zone unless it has
        an offset); nothing later is restored. Only into an empty Redis.
    partitions
        Move to another number of partitions. Events are refused as unavailable until it is done; then set `partitions`
        to the new number and start every process anew.
    as_json
        Print one JSON object instead of a sentence.
    """
    settings = attached(load())
    if partitions is not None:
        from opportune.repartition import repartition

        with progress() as tell:
            moved = repartition(settings, partitions, tell)
        text = f"moved to {partitions} partitions; set `partitions = {partitions}` and start every process anew"
        show(Text(text), moved, as_json=as_json)
        return
    with replay_clock(settings) as clock:
        now = clock.now()
    end = None if until is None else instant(until, settings)
    if end is None and settings.replay and not serves(settings):
        end = now  # the archive that a replay starts from goes on beyond its now
    with progress() as tell:
        made = restore(settings, archive_of(settings), tell, until=end)
    lacking = "unknown, since Redis was empty" if made.unarchived is None else f"{made.unarchived:,}"
    text = (
        f"generation {made.generation} serves: {made.users:,} users from {made.events:,} archived events; "
        f"snapshot at {shown(made.s, settings)}; acknowledged but not archived then: {lacking}"
    )
    show(Text(text), made, as_json=as_json)
