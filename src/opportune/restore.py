"""Filling an empty Redis from the archive: what `rebuild`, `up --rebuild` and the demonstration have in common."""

from typing import TYPE_CHECKING

import redis

from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US
from deployment.archive import Archive
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.settings import Settings
from opportune.progress import Tell

if TYPE_CHECKING:
    from scoring.rebuild import Rebuilt


def restore(settings: Settings, archive: Archive, until: int, tell: Tell) -> "Rebuilt":
    """Rebuild the states of everything admitted before `until` (µs) into the settings' Redis.

    Raises BadInput if Redis holds a deployment already, Unavailable if it does not answer.
    """
    from scoring.process import connect

    if settings.replay and any(
        (archive.logged_span(number) or (0, 0))[1] >= until for number in range(archive.partitions)
    ):
        raise BadInput(
            f"the archive {archive.path} holds events that came through a log after that instant; "
            "replay into an archive of its own (OPPORTUNE_ARCHIVE)"
        )
    from scoring.rebuild import rebuild

    try:
        with connect(settings) as client:
            return rebuild(
                client,
                Keys(settings.redis_prefix),
                archive,
                load_plan(settings.plan),
                until=until,
                lateness_us=settings.lateness_horizon_h * HOUR_US,
                progress=lambda done, all_: tell("restoring states", done, all_),
            )
    except (redis.ConnectionError, redis.TimeoutError):
        raise Unavailable(f"Redis does not answer at {settings.redis_address}") from None
