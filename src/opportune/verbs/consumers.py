"""`opportune serve`, `fold`, `learn` and `archive`: the processes of a deployment, each until it is told to stop."""

import threading

from prometheus_client import Counter, Gauge

from behavior.event import SECOND_US
from deployment.clock import Clock, replay_key
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.warehouse import archive_of


def serve() -> None:
    """Answer Score and Track over gRPC, with health, reflection and Prometheus metrics, until told to stop."""
    from scoring.server import serve as run

    run(load())


def learn() -> None:
    """Learn from the outcomes of what was served, until told to stop. There must be one learner per deployment."""
    from scoring.learn import learn as run

    run(load())


def fold() -> None:
    """Fold the log into online states and publish snapshots, until told to stop. There must be one per deployment."""
    from scoring.agreement import agree
    from scoring.fold import Fold
    from scoring.log import Log
    from scoring.process import connect, expose_metrics, log_to_stderr, persevere, stop_signals

    settings = load()
    log_to_stderr()
    plan, keys = load_plan(settings.plan), Keys(settings.redis_prefix)
    folded = Counter("opportune_fold_entries_total", "Entries of the log that were folded into states.")
    snapshot = Gauge(
        "opportune_snapshot_instant_seconds", "Instant of the last published snapshot, seconds since 1970."
    )

    def tell(entries: int, s: int) -> None:
        folded.inc(entries)
        snapshot.set(s / SECOND_US)

    def once(stopping: threading.Event) -> None:
        with connect(settings) as client:
            agree(client, keys, settings.partitions, plan)
            clock = Clock(client, replay_key(keys, replay=settings.replay))
            Fold(client, keys, Log(client, keys), clock, plan, settings.partitions).run(stopping, tell)

    with stop_signals() as stopping:
        expose_metrics(settings)
        persevere(once, stopping)


def archive() -> None:
    """Append the log to the archive, until told to stop. There must be one per deployment."""
    from scoring.agreement import agree
    from scoring.archiver import Archiver
    from scoring.log import Log
    from scoring.process import connect, expose_metrics, log_to_stderr, persevere, stop_signals

    settings = load()
    log_to_stderr()
    plan, keys = load_plan(settings.plan), Keys(settings.redis_prefix)
    archived = Counter("opportune_archive_events_total", "Events that are durable in the archive.")

    def once(stopping: threading.Event) -> None:
        with connect(settings) as client:
            agree(client, keys, settings.partitions, plan)
            Archiver(Log(client, keys), archive_of(settings)).run(stopping, archived.inc)

    with stop_signals() as stopping:
        expose_metrics(settings)
        persevere(once, stopping)
