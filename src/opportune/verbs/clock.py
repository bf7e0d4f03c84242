"""`opportune clock`: what time it is for the deployment, and moving a replay forward."""

from cyclopts import App

from behavior.errors import BadInput
from deployment.settings import load
from opportune.addresses import attached
from opportune.replay import instant, replay_clock, shown, span_us

clock = App(name="clock", help="Show the deployment's clock, or advance it in a replay.")


@clock.default
@clock.command
def show() -> None:
    """Print the deployment's now, in the settings' zone."""
    settings = attached(load())
    with replay_clock(settings) as its:
        print(shown(its.now(), settings))


@clock.command(name="advance")
def advance_clock(*, to: str | None = None, by: str | None = None) -> None:
    """Move a replay's clock forward; every process follows at once. It is never set back.

    Parameters
    ----------
    to
        The instant to move to, like 2017-10-15T00:00 (in the settings' zone unless it has an offset).
    by
        How far to move, like 90s, 5min, 2h or 7d.
    """
    if (to is None) == (by is None):
        raise BadInput("clock advance takes either --to or --by")
    settings = attached(load())
    with replay_clock(settings) as its:
        target = instant(to, settings) if to is not None else its.now() + span_us(by or "")
        its.advance(target)
        print(shown(its.now(), settings))
