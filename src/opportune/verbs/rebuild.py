"""`opportune rebuild`: the archive into fresh online states."""

from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from deployment.settings import load
from opportune.addresses import attached
from opportune.output import show
from opportune.progress import progress
from opportune.replay import instant, replay_clock, shown
from opportune.restore import restore
from opportune.warehouse import archive_of


def rebuild(*, until: str | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Fill the states of an empty Redis from the archive, as if the log had been folded event by event.

    Redis must hold nothing of this deployment yet: nothing that was acknowledged is ever overwritten.

    Parameters
    ----------
    until
        Restore only what was admitted before this instant, like 2017-10-15T00:00 (in the settings' zone unless it has
        an offset); nothing later is restored. Default: the deployment's now.
    as_json
        Print one JSON object instead of a sentence.
    """
    settings = attached(load())
    with replay_clock(settings) as clock:
        end = clock.now() if until is None else instant(until, settings)
    with progress() as tell:
        restored = restore(settings, archive_of(settings), end, tell)
    at = shown(restored.s, settings)
    text = f"restored {restored.users:,} users from {restored.events:,} events; snapshot at {at}"
    show(Text(text), restored, as_json=as_json)
