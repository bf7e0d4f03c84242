"""`opportune demo`: the whole loop on a real year of a real shop."""

import statistics
from pathlib import Path

import msgspec
from rich.console import Console

from behavior.partition import partition_of
from deployment.settings import Settings
from opportune import demonstration, household, output
from opportune.processes import children
from opportune.progress import progress
from opportune.replay import instant, replay_clock, shown
from opportune.supervise import Running, only_one, running
from opportune.warehouse import archive_of

LATENCY_CALLS = 300


def demo(*, home: Path = Path("var/demo"), household_id: str = demonstration.HOUSEHOLD, baskets: int = 3) -> None:
    """Show the whole loop on a real year of grocery purchases: events, features, model, ranked answers, new events.

    Imports the year, trains on what is before 2017-09-25, starts everything on a replay of 2017-10-15, and lets one
    real household do its next shopping. A second run reuses what is there.

    Parameters
    ----------
    home
        Where everything is kept.
    household_id
        Which household to follow.
    baskets
        How many of its next baskets to replay.
    """
    settings, live = demonstration.replay_settings(home)
    with only_one(settings.home / "demo"):
        _demo(settings, live, household_id, baskets, output.console())


def _demo(settings: Settings, live: Settings, household_id: str, baskets: int, console: Console) -> None:
    with progress() as tell:
        prepared = demonstration.prepare(settings, tell, console)
    demonstration.clear(live)
    with progress() as tell:
        up = running(live, children(live), prepare=lambda reached: demonstration.start(settings, reached, tell))
        with up as deployment:
            _follow(deployment, settings, household_id, baskets, console)
    from training.evaluation import Evaluation, render

    console.print(render(msgspec.convert(prepared.evaluation, Evaluation)))
    console.print(f"[dim]Everything is in {settings.home}; the next run reuses it.[/dim]", highlight=False)


def _follow(deployment: Running, settings: Settings, household_id: str, baskets: int, console: Console) -> None:
    from scoring.client import Client

    reached = deployment.settings
    pseudonym = household.pseudonym_of(settings.key_file, household_id)
    partition = partition_of(pseudonym, settings.partitions)
    today = instant(demonstration.TODAY, settings)
    coming = household.next_baskets(archive_of(settings), partition, pseudonym, today, baskets)
    with Client(f"{reached.host}:{reached.port}", deadline_s=10.0) as client, replay_clock(reached) as clock:
        before, _ = household.ask(client, household_id)
        files = household.bundle_files(settings.bundles, before.bundle_id)
        household.show_ranking(
            before,
            console,
            f"household {household_id} on {shown(clock.now(), settings)}: what will it buy within 7 days?",
        )
        for basket in coming:
            household.go_to(clock, basket)
            asked, _ = household.ask(client, household_id)
            console.rule(f"{shown(basket.t, settings)}: it buys {len(basket.lines)} products")
            console.print(", ".join(basket.categories), highlight=False)
            admitted = household.send(client, household_id, basket, asked.request_id)
            after, waited = household.ask(client, household_id, admitted)
            console.print(f"in the features {waited * 1000:.0f} ms after Track answered", highlight=False)
            for name in household.show_moves(asked, after, basket.categories, console):
                household.show_why(name, asked, after, files, console)
            before = after
        household.show_ranking(before, console, f"household {household_id} on {shown(clock.now(), settings)}")
        seconds = sorted(household.latencies(client, household_id, LATENCY_CALLS))
    p99 = seconds[int(len(seconds) * 0.99)]
    console.print(
        f"Score, {len(before.ranked)} candidates, {LATENCY_CALLS} calls one after the other: "
        f"p50 {statistics.median(seconds) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms",
        highlight=False,
    )
