"""Another number of partitions: the log is sealed, archived to its end, and moved with the states.

    seal every partition ──▶ archive the rest ──▶ copy the archive ──▶ rebuild under the new keys ──▶ swap

While this runs events are refused as unavailable, and the old states serve. Afterwards every process is started anew
with the new number. Run again after it was cut off, it goes on.
"""

from typing import TYPE_CHECKING

from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US
from deployment.archive import Archive
from deployment.clock import Clock, replay_key
from deployment.connections import PASSING, connect
from deployment.generations import PARTITIONS
from deployment.keys import Keys
from deployment.moving import alone, check_room, discard_unfinished, moved_archive, put_in_place
from deployment.plan_file import load_plan
from deployment.settings import Settings
from opportune.progress import Tell
from opportune.restore import refuse_to_orphan
from scoring.forgetting import forget_partitions
from scoring.rebuild import Rebuild, Rebuilt

if TYPE_CHECKING:
    import redis

_SEALED = b"sealed"


def repartition(settings: Settings, partitions: int, tell: Tell) -> Rebuilt | None:
    """Move the log, the archive and the states to so many partitions; None if only the archive's name was left to do.

    Raises BadInput for a number that there is already, Unavailable if Redis does not answer.
    """
    if partitions == settings.partitions or not 1 <= partitions <= 1000:
        raise BadInput(f"there are {settings.partitions} partitions now; name another number, 1 to 1000")
    plan = load_plan(settings.plan)
    refuse_to_orphan(settings, plan)
    archive = Archive(settings.archive, settings.partitions)
    old, new = Keys(settings.redis_prefix, settings.partitions), Keys(settings.redis_prefix, partitions)
    try:
        with alone(archive), connect(settings) as client:
            done = None
            if int(client.hget(old.deployment(), PARTITIONS) or settings.partitions) != partitions:
                check_room(archive)
                _seal(client, old)
                _archive_rest(settings, client, archive, tell)
                discard_unfinished(archive)
                copy = moved_archive(archive, partitions, memory_limit=settings.memory_limit)
                clock = Clock(client, replay_key(new, replay=settings.replay))
                # The archive of a replay goes on beyond its now; instants of the log may be a little ahead of it, too.
                until = max(clock.now(), _last_k(client, old)) + 1
                forget_partitions(client, new, seals=True)
                done = Rebuild(
                    client, new, copy, plan, clock, until=until, moved=True,
                    lateness_us=settings.lateness_horizon_h * HOUR_US,
                    settings=settings.replaced(archive=copy.path, partitions=partitions), progress=tell,
                ).run()  # fmt: skip
            put_in_place(archive, settings.partitions)
            forget_partitions(client, old, seals=False)
            return done
    except PASSING as error:
        raise Unavailable(f"Redis at {settings.redis_address} does not answer ({type(error).__name__})") from error


def _seal(client: "redis.Redis", keys: Keys) -> None:
    with client.pipeline(transaction=False) as together:
        for number in range(keys.partitions):
            together.hset(keys.meta(number), _SEALED, 1)
        together.execute()


def _last_k(client: "redis.Redis", keys: Keys) -> int:
    """The last instant that any partition has admitted something at, or was closed up to."""
    with client.pipeline(transaction=False) as together:
        for number in range(keys.partitions):
            together.hget(keys.meta(number), "last_k")
        return max(int(last or 0) for last in together.execute())


def _archive_rest(settings: Settings, client: "redis.Redis", archive: Archive, tell: Tell) -> None:
    """Archive what is in the log; beside a running archiver, whose leases are respected."""
    from scoring.archiver import archiver_of
    from scoring.leases import holder_name
    from scoring.rebuild import unarchived

    keys = Keys(settings.redis_prefix, settings.partitions)
    left = whole = unarchived(client, keys, archive)
    archiver = archiver_of(settings, client, archive, holder_name())
    while left:
        archiver.step(100)
        archiver.flush()
        left = unarchived(client, keys, archive)
        tell("archiving the log", whole - left, whole)
