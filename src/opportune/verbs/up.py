"""`opportune up`: everything on this machine, until Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from behavior.errors import BadInput
from deployment.settings import Settings, load
from opportune.processes import children, has_model
from opportune.progress import Tell, progress
from opportune.replay import DeploymentClock, instant, replay_clock
from opportune.restore import restore
from opportune.supervise import Running, running
from opportune.warehouse import archive_of


def up(*, at: str | None = None, rebuild: bool = False) -> None:
    """Run Redis, the server and its consumers on this machine until Ctrl-C.

    Waits until everything is healthy, prints where it listens and writes that to run/up.json in the home, beside the
    logs. If one process ends, all are stopped and the exit status is 1.

    Parameters
    ----------
    at
        Instant at which a replay's clock starts, like 2017-10-15T00:00 (in the settings' zone unless it has an offset).
    rebuild
        First make the states anew from the archive; those of a replay up to `--at`, into an empty Redis.
    """
    settings = load()
    first = None if at is None else instant(at, settings)

    with _stop_signal() as stop:

        def prepare(reached: Settings) -> None:
            with replay_clock(reached) as clock:
                if first is not None:
                    clock.advance(first)
                now = _now(clock)
            if rebuild:
                with progress() as tell:
                    until = now if settings.replay else None
                    restore(reached, archive_of(reached), _until_stopped(stop, tell), until=until)

        up = running(settings, children(settings), prepare=prepare, stop=stop)
        with up as deployment:
            show(deployment, Console())
            if not has_model(settings):
                print("there is no model yet: events are taken, Score answers after `opportune train`", flush=True)
            deployment.watch(stop)
    print("stopped")


def _now(clock: DeploymentClock) -> int:
    try:
        return clock.now()
    except BadInput:
        raise BadInput("a replay needs its first instant; say `opportune up --at 2017-10-15T00:00`") from None


def _until_stopped(stop: threading.Event, tell: Tell) -> Tell:
    """The same telling, which ends the work as Ctrl-C would once `stop` is set."""

    def told(step: str, done: int, all_: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        tell(step, done, all_)

    return told


def show(deployment: Running, console: Console) -> None:
    """Print what listens where: a table on a terminal, one line per process without one."""
    rows = [("redis", deployment.settings.redis_address, "")]
    for process in deployment.processes:
        place = process.place
        serving = f"grpc://{place.host}:{place.port}" if process.child.serves else ""
        rows.append((process.child.name, serving, f"http://{place.host}:{place.metrics_port}/metrics"))
    if not console.is_terminal:
        for row in rows:
            print("  ".join(part for part in row if part), flush=True)
        print(f"ready; logs are in {deployment.settings.run}", flush=True)
        return
    table = Table("process", "listens on", "metrics", title="Opportune is up", title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"Logs are in {deployment.settings.run}. Ctrl-C stops everything.", highlight=False)


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, in place of an exception that could break a clean stop in two."""
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
