"""The online states anew from the archive: what `rebuild`, `up --rebuild` and the demonstration have in common."""

from typing import TYPE_CHECKING

from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US
from behavior.manifest import check_features, decode
from behavior.plan import Plan
from deployment.archive import Archive
from deployment.bundles import Bundles
from deployment.clock import Clock, replay_key
from deployment.connections import PASSING, connect
from deployment.generations import serving
from deployment.journal_archive import JournalArchive
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.settings import Settings
from opportune.progress import Tell

if TYPE_CHECKING:
    from scoring.rebuild import Rebuilt


def restore(settings: Settings, archive: Archive, tell: Tell, *, until: int | None = None) -> "Rebuilt":
    """Rebuild the states under the plan that `apply` wrote, and let them serve.

    `until` restores only what was admitted before that instant (µs), and needs an empty Redis.
    Raises BadInput for what cannot be rebuilt, Unavailable if Redis does not answer.
    """
    from scoring.rebuild import Rebuild

    plan = load_plan(settings.plan)
    refuse_to_orphan(settings, plan)
    if until is not None:
        _refuse_beyond(settings, archive, until)
    keys = Keys(settings.redis_prefix, settings.partitions)
    try:
        with connect(settings) as client:
            return Rebuild(
                client, keys, archive, plan, Clock(client, replay_key(keys, replay=settings.replay)), until=until,
                lateness_us=settings.lateness_horizon_h * HOUR_US,
                settings=settings.replaced(archive=archive.path), progress=tell,
            ).run()  # fmt: skip
    except PASSING as error:
        raise Unavailable(f"Redis at {settings.redis_address} does not answer ({type(error).__name__})") from error


def refuse_to_orphan(settings: Settings, plan: Plan) -> None:
    """Raise BadInput if the bundle that serves needs a feature that the plan lacks or defines otherwise."""
    bundles = Bundles.of(settings)
    serving = bundles.current_id(settings.target)
    if serving is not None:
        # The manifest alone: whether the bundle is whole is for the server to say, and no reason not to rebuild.
        check_features(decode(bundles.store.manifest(settings.target, serving)), plan.fingerprints)


def _refuse_beyond(settings: Settings, archive: Archive, until: int) -> None:
    journal = JournalArchive(archive.path, archive.partitions)
    numbers = range(archive.partitions)
    reached = max(max(archive.covered_until(each), journal.covered_until(each)) for each in numbers)
    if settings.replay and reached >= until:
        raise BadInput(
            f"the archive {archive.path} holds what came through a log after that instant; "
            "replay into an archive of its own (OPPORTUNE_ARCHIVE)"
        )


def serves(settings: Settings) -> bool:
    """Whether Redis holds a generation that serves. Raises Unavailable if it does not answer."""
    try:
        with connect(settings) as client:
            return serving(client, Keys(settings.redis_prefix, settings.partitions)) is not None
    except PASSING as error:
        raise Unavailable(f"Redis at {settings.redis_address} does not answer ({type(error).__name__})") from error
