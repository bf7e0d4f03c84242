"""`opportune serve`, `fold`, `learn` and `archive`: the processes of a deployment, each until it is told to stop."""

import threading

from deployment.clock import Clock, replay_key
from deployment.settings import load
from opportune.warehouse import archive_of


def serve() -> None:
    """Answer Score and Track over gRPC, with health, reflection and Prometheus metrics, until told to stop.

    With the setting `workers` from 2 on, so many processes share the port; SIGHUP replaces them one by one.
    """
    settings = load()
    if settings.workers > 1:
        from opportune.workers import supervise

        supervise(settings)
    else:
        from scoring.server import serve as run

        run(settings)


def learn() -> None:
    """Learn from the outcomes of what was served, until told to stop. Several share the shards of personas."""
    from scoring.learn import learn as run

    run(load())


def fold() -> None:
    """Fold the log into online states and publish snapshots, until told to stop. Several share the partitions."""
    from deployment.connections import connect
    from scoring.entry import join_in
    from scoring.folding import Folding, tell
    from scoring.leases import holder_name
    from scoring.log import Log
    from scoring.process import expose_metrics, log_to_stderr, persevere, stop_signals

    settings = load()
    log_to_stderr()
    holder = holder_name()

    def once(stopping: threading.Event) -> None:
        with connect(settings) as client:
            keys = join_in(settings, client)
            clock = Clock(client, replay_key(keys, replay=settings.replay))
            log = Log(client, keys, archive_of(settings))
            Folding(client, keys, log, clock, holder, round(settings.lease_s * 1000)).run(stopping, tell)

    with stop_signals() as stopping:
        expose_metrics(settings)
        persevere(once, stopping)


def archive() -> None:
    """Append the log to the archive, until told to stop. Several share the partitions."""
    from deployment.connections import connect
    from scoring.archiver import archiver_of, tell
    from scoring.entry import join_in
    from scoring.leases import holder_name
    from scoring.process import expose_metrics, log_to_stderr, persevere, stop_signals

    settings = load()
    log_to_stderr()
    holder = holder_name()

    def once(stopping: threading.Event) -> None:
        with connect(settings) as client:
            join_in(settings, client)
            archiver_of(settings, client, archive_of(settings), holder).run(stopping, tell)

    with stop_signals() as stopping:
        expose_metrics(settings)
        persevere(once, stopping)
