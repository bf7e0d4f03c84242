"""`opportune ope`: what another policy, or other weights, would have earned, told from the journal."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.text import Text

from behavior.errors import BadInput
from behavior.served import Served, decode
from deployment.journal_archive import JournalArchive
from deployment.settings import Settings, load
from opportune.output import show
from opportune.progress import progress
from opportune.replay import instant, span_us
from opportune.warehouse import events_of

# The exit status of a gate that lets the candidate not pass.
REFUSED = 5


def ope(
    *,
    candidate: Path,
    reward: Annotated[tuple[str, ...], Parameter(negative="")] = ("purchase=1",),
    window: str = "7d",
    placement: str | None = None,
    since: str | None = None,
    positions: int | None = None,
    clip: float | None = None,
    gate: Annotated[bool, Parameter(negative="")] = False,
    margin: float = 0.0,
    plot: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Estimate what a candidate would have earned, from answers that were explored with exact chances.

    The value is the mean sum of the rewards of an answer, by inverse propensity scoring (IPS), self-normalised (SNIPS)
    and doubly robust (DR) under the cascade model, with 95 % intervals over users. What the archive holds
    is evaluated; Thompson's chances are estimates, and its answers are left out.

    Parameters
    ----------
    candidate
        A TOML file: `[weights]` of factors beside the logged ones, and `policy` (epsilon-greedy, plackett-luce or
        greedy) with its `strength` where they are not the logged ones.
    reward
        What an outcome of a shown thing is worth, such as click=0.1, 0 to 1; once per kind. Of several outcomes of one
        thing the greatest counts.
    window
        How long after it was shown an outcome counts, such as 7d.
    placement
        Only answers of this placement.
    since
        Only answers since this instant, like 2017-10-15T00:00 (in the settings' zone unless it has an offset).
    positions
        Evaluate the first positions of each answer only: the fewer, the more evenly answers count.
    clip
        Cut weights off at this. It makes values steadier, and wrong by what is printed.
    gate
        Pass or refuse: the exit status is 5 if the lower bound of the difference by DR is not above −margin, or the
        log cannot tell.
    margin
        How much worse than the log the candidate may be to pass, in rewards per answer.
    plot
        Draw the values into this file, an `.svg` or a `.png`.
    as_json
        Print one JSON object instead of tables.
    """
    from training.ope.answers import Asked, decisions_of, explored_answers
    from training.ope.candidate import read_candidate
    from training.ope.evaluation import evaluated
    from training.ope.gate import Limits, judge
    from training.ope.plot import draw
    from training.ope.report import render
    from training.ope.rewards import rewards_of
    from training.persona_plot import file_kind
    from training.rows import latest

    settings, rewards, window_us = load(), _rewards(reward), span_us(window)
    _refuse(positions, clip, margin)
    if plot is not None:
        file_kind(plot)  # a wrong name is told before the work, not after
    wanted = read_candidate(candidate)
    with progress() as tell, events_of(settings) as events:
        before = latest(events) + 1 - window_us
        first = 0 if since is None else instant(since, settings)
        tell("reading the journal", 0, 1)
        answers, accounting = explored_answers(_archived(settings), Asked(wanted, before, first, placement, positions))
        tell("joining outcomes", 0, 1)
        decisions = decisions_of(answers, rewards_of(events, answers, rewards, window_us))
        tell("estimating", 0, 1)
        found = evaluated(
            decisions, candidate=str(wanted), rewards=rewards, window_us=window_us, accounting=accounting, clip=clip,
            pool=sorted(each.pool for each in answers)[len(answers) // 2],
        )  # fmt: skip
    if plot is not None:
        draw(found, plot)
    if not gate:
        show(render(found), found, as_json=as_json)
        return 0
    verdict = judge(found, Limits(margin=margin))
    said = Text("passed" if verdict.promote else "refused", style="bold")
    lines = (Text(f"· {reason}") for reason in verdict.reasons)
    show(Group(render(found), said, *lines), asdict(found) | {"gate": asdict(verdict)}, as_json=as_json)
    return 0 if verdict.promote else REFUSED


def _archived(settings: Settings) -> Iterator[Served]:
    """The archived journal, partition after partition."""
    journal = JournalArchive(settings.archive, settings.partitions)
    for partition in range(settings.partitions):
        for _, entry in journal.read(partition):
            yield decode(entry)


def _rewards(said: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in said:
        kind, equals, reward = each.partition("=")
        try:
            found[kind] = float(reward)
        except ValueError:
            equals = ""
        if not equals or not kind:
            raise BadInput(f"--reward {each}: write it like click=0.1")
    return found


def _refuse(positions: int | None, clip: float | None, margin: float) -> None:
    if positions is not None and positions < 1:
        raise BadInput(f"--positions {positions}: evaluate one at least")
    if clip is not None and clip < 1:
        raise BadInput(f"--clip {clip:g}: weights are 1 in the mean; cut them off above that")
    if margin < 0:
        raise BadInput(f"--margin {margin:g}: it is how much worse the candidate may be, 0 or more")
