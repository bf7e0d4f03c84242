"""`opportune rebuild`: the archive into fresh online states."""

from datetime import UTC, datetime
from typing import Annotated

import redis
from cyclopts import Parameter
from rich.text import Text

from behavior.errors import Unavailable
from behavior.event import HOUR_US
from deployment.clock import system_now
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.addresses import attached
from opportune.output import show
from opportune.progress import progress
from opportune.replay import instant
from opportune.warehouse import archive_of


def rebuild(*, until: str | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Fill the states of an empty Redis from the archive, as if the log had been folded event by event.

    Redis must hold nothing of this deployment yet: nothing that was acknowledged is ever overwritten.

    Parameters
    ----------
    until
        Restore only what was admitted before this instant, like 2017-10-15T00:00 (in the settings' zone unless it has
        an offset); nothing later is restored. Default: everything.
    as_json
        Print one JSON object instead of a sentence.
    """
    from scoring.process import connect
    from scoring.rebuild import rebuild as restore

    settings = attached(load())
    end = system_now() if until is None else instant(until, settings)
    try:
        with connect(settings) as client, progress() as tell:
            restored = restore(
                client, Keys(settings.redis_prefix), archive_of(settings), load_plan(settings.plan), until=end,
                lateness_us=settings.lateness_horizon_h * HOUR_US,
                progress=lambda done, all_: tell("rebuilding partitions", done, all_),
            )  # fmt: skip
    except redis.ConnectionError:
        raise Unavailable(f"Redis does not answer at {settings.redis_address}") from None
    at = datetime.fromtimestamp(restored.s / 1e6, UTC).isoformat()
    text = f"restored {restored.users:,} users from {restored.events:,} events; snapshot at {at}"
    show(Text(text), restored, as_json=as_json)
