"""`opportune deadletters`: the rejected events that are kept, and sending them again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from behavior.event import HOUR_US
from deployment.sealing import Sealing
from deployment.settings import Settings, load
from opportune.addresses import attached
from opportune.output import show
from opportune.replay import replay_clock, shown

if TYPE_CHECKING:
    from scoring.dead_letters import DeadLetters, Heap, Redriven

deadletters = App(name="deadletters", help="Look at rejected events, or send them again.")


@deadletters.default
@deadletters.command(name="list")
def list_letters(*, reason: str | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Show how many rejected events are kept, by reason, and when the oldest and the newest were refused.

    They are kept sealed, for the lateness horizon. Nothing of what is in them is shown.

    Parameters
    ----------
    reason
        Only those with this reason, such as too_late. Default: all.
    as_json
        Print one JSON object, instants in microseconds since 1970 UTC.
    """
    settings = attached(load())
    with _letters(settings) as (letters, since):
        heaps = letters.heaps(since, reason)
    show(_table(heaps, settings) if heaps else Text("no rejected event is kept"), {"reasons": heaps}, as_json=as_json)


@deadletters.command
def redrive(
    *,
    reason: str | None = None,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Send rejected events to the running server again, as they were reported.

    For when the cause is gone: a property that is allowed now, a longer lateness horizon. What is taken now, or was
    taken before, is no longer kept; what is rejected again is kept anew, under the reason that it has now.

    Parameters
    ----------
    reason
        Only those with this reason, such as bad_value. Default: all.
    dry_run
        Open them without sending any.
    as_json
        Print one JSON object instead of a sentence.
    """
    from scoring.client import Client
    from scoring.credentials import Credentials

    settings = attached(load())
    sealing = Sealing.load(settings.sealing_key_file)
    with (
        _letters(settings) as (letters, since),
        Client(f"{settings.host}:{settings.port}", credentials=Credentials.of(settings)) as client,
    ):
        redriven = letters.redrive(sealing, since, reason, None if dry_run else client.track)
    show(Text(_sentence(redriven, dry_run)), redriven, as_json=as_json)


@contextmanager
def _letters(settings: Settings) -> Iterator[tuple["DeadLetters", int]]:
    """The dead letters, and since when they are kept (µs UTC)."""
    from scoring.dead_letters import DeadLetters

    with replay_clock(settings) as clock:
        since = max(0, clock.now() - settings.lateness_horizon_h * HOUR_US)
        yield DeadLetters(clock.client, clock.keys), since


def _table(heaps: list["Heap"], settings: Settings) -> Table:
    table = Table("reason", "letters", "oldest", "newest")
    for heap in heaps:
        table.add_row(heap.reason, f"{heap.letters:,}", shown(heap.oldest, settings), shown(heap.newest, settings))
    return table


def _sentence(redriven: "Redriven", dry_run: bool) -> str:
    fates = ", ".join(f"{number:,} {fate}" for fate, number in sorted(redriven.fates.items()))
    sent = redriven.letters - redriven.unopened
    told = f"{sent:,} letters would be sent" if dry_run else f"{sent:,} letters sent"
    closed = f"{redriven.unopened:,} stay: sealed with another key, or damaged" if redriven.unopened else ""
    return "; ".join(part for part in (": ".join(filter(None, (told, fates))), closed) if part)
