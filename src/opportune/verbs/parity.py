"""`opportune parity`: what was served, held against what the events say, once or for ever."""

import threading
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from behavior.errors import BadInput
from behavior.event import SECOND_US
from deployment.settings import Settings, load
from opportune.addresses import attached
from opportune.output import show
from opportune.replay import instant, replay_clock, shown, span_us

if TYPE_CHECKING:
    from opportune.difference import Difference
    from opportune.parity_check import Report


def parity(
    *,
    sample: int = 200,
    since: str | None = None,
    every: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Derive served vectors anew from the archive and the log, up to their offsets, and compare them bit for bit.

    The exit status is 1 if a value differs; then the first difference is shown with both derivations. How often a
    served value was not the ideal one, without lag and without late events, is counted beside that: staleness.

    Parameters
    ----------
    sample
        How many served entries to check, the newest of those that the log holds.
    since
        Only what was served since this instant, like 2017-10-15T00:00 (in the settings' zone unless it has an offset).
    every
        Go on checking what was served since the last time, at this pace, such as 30s, and count it for Prometheus:
        opportune_parity_checked_total, opportune_parity_mismatch_total, opportune_staleness_checked_total,
        opportune_staleness_differed_total, all by feature.
    as_json
        Print one JSON object, instants in microseconds since 1970 UTC.
    """
    from opportune.parity_check import ParityCheck

    settings = attached(load())
    if sample < 1:
        raise BadInput(f"--sample {sample}: check one served entry at least")
    first = 0 if since is None else instant(since, settings)
    if every is not None:
        _keep_checking(settings, sample, first, span_us(every) / SECOND_US)
        return 0
    with replay_clock(settings) as clock:
        report = ParityCheck(settings, clock.keys, since=first).run(clock.client, sample)
    show(_told(report, settings), report, as_json=as_json)
    return 1 if report.mismatched else 0


def _keep_checking(settings: Settings, sample: int, since: int, pace_s: float) -> None:
    """The sampler: until it is told to stop."""
    import logging

    from deployment.connections import connect
    from deployment.keys import Keys
    from opportune.parity_check import ParityCheck, tell
    from scoring.process import expose_metrics, log_to_stderr, persevere, stop_signals

    log = logging.getLogger("opportune.parity")
    check = ParityCheck(settings, Keys(settings.redis_prefix, settings.partitions), since=since)

    def once(stopping: threading.Event) -> None:
        with connect(settings) as client:
            while not stopping.is_set():
                report = check.run(client, sample)
                tell(report)
                log.info("%s", _sentence(report))
                if report.first is not None:
                    log.error("%s", " · ".join(_derivations(report.first, settings)))
                stopping.wait(pace_s)

    log_to_stderr()
    with stop_signals() as stopping:
        expose_metrics(settings)
        persevere(once, stopping)


def _told(report: "Report", settings: Settings) -> RenderableType:
    parts: list[RenderableType] = []
    if report.features:
        table = Table("feature", "checked", "differ", "stale", title="served values", title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, tally in report.features.items():
            row = (f"{tally.checked:,}", f"{tally.mismatched:,}", f"{tally.stale:,}")
            table.add_row(Text(name), *row, style="bold red" if tally.mismatched else None)
        parts.append(table)
    parts.append(Text(_sentence(report)))
    parts += [Text(f"{number:,} entries were not checked: {reason}") for reason, number in report.left_out.items()]
    if report.first is not None:
        parts += [Text(line) for line in _derivations(report.first, settings)]
        if report.first.latest:
            parts.append(_events(report.first, settings))
    return Group(*parts)


def _sentence(report: "Report") -> str:
    if not report.entries and not report.waiting and not report.left_out:
        return "there is no served entry to check"
    values = sum(tally.checked for tally in report.features.values())
    equal = "all are equal to the last bit" if not report.mismatched else f"{report.mismatched:,} differ"
    waiting = f"; {report.waiting:,} entries wait for the archive" if report.waiting else ""
    return f"{values:,} values of {report.candidates:,} candidates in {report.entries:,} answers: {equal}{waiting}"


def _derivations(first: "Difference", settings: Settings) -> list[str]:
    """The first difference in words."""
    raw = ", ".join(f"{name} = {value}" for name, value in first.offline_raw.items())
    anew = "too many events to fold them anew"
    if first.folded_raw is not None:
        same = ", ".join(f"{name} = {value}" for name, value in first.folded_raw.items())
        anew = f"{_value(first.folded)}, folded anew from the same events ({same or 'none'})"
    about = " ".join(each for each in first.entity if each != first.user_id)
    return [
        f"the first difference: {first.feature}{f' of {about}' if about else ''}",
        f"  answer   {first.request_id} to {first.user_id}, candidate {first.candidate}, bundle {first.bundle_id}",
        f"  as of    {shown(first.as_of, settings)}, folded up to {shown(first.offset, settings)}, "
        f"snapshot of {shown(first.s, settings)}",
        f"  served   {_value(first.served)} ({first.served_bits})",
        f"  events   {_value(first.derived)} ({first.derived_bits}): {_value(first.offline)} from {raw}",
        f"  state    {anew}",
        f"  behind it are {first.events:,} events" + (", the latest:" if first.events else ""),
    ]


def _events(first: "Difference", settings: Settings) -> Table:
    table = Table("kind", "event time", "admitted", "item", "category", "value", "message id")
    for each in first.latest:
        times = (shown(each["e"], settings), shown(each["k"], settings))
        rest = ("" if each[name] is None else str(each[name]) for name in ("item", "category", "value", "message_id"))
        table.add_row(Text(each["kind"]), *times, *(Text(word) for word in rest))
    return table


def _value(value: Any) -> str:
    return "missing" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)
