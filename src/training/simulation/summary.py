"""What policies did in one world, side by side: figures, tables and curves, each of which says that it is simulated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from training.evaluation import REPLICATES, Estimate
from training.persona_plot import file_kind
from training.simulation.running import Trace
from training.simulation.study import Curve, click_rate, curve, rate, share_of_best
from training.simulation.world import World

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44")
_DAY_US = 86_400e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy did.

    visits, events, clicks, purchases   how many there were; events include impressions
    click_rate                          clicks per visit
    share_of_best                       expected clicks as a share of those of the best rankings
    regret                              expected clicks that were missed
    by_persona                          clicks per visit of each persona
    """

    policy: str
    visits: int
    events: int
    clicks: int
    purchases: int
    click_rate: Estimate
    share_of_best: Estimate
    regret: float
    by_persona: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What all policies did in the same visits of one world; `curves` has one entry for each policy."""

    world: str
    seed: int
    users: int
    outcomes: tuple[Outcome, ...]
    curves: dict[str, Curve]


def summarised(world: World, traces: Mapping[str, Trace], *, replicates: int = REPLICATES) -> Summary:
    """The figures of each policy's trace, with 95 % intervals from resampled users.

    Raises BadInput if there are no visits, or a persona has none.
    """
    outcomes = tuple(_outcome(name, trace, replicates) for name, trace in traces.items())
    curves = {name: curve(trace, replicates=replicates) for name, trace in traces.items()}
    return Summary(world.name, world.parameters.seed, world.parameters.users, outcomes, curves)


def to_json(found: Summary) -> dict[str, object]:
    """The summary as plain values; it says that it is simulated."""
    curves = {
        name: {
            "t": each.t.tolist(), "visits": each.visits.tolist(), "clicks": each.clicks.tolist(),
            "regret": _rounded(each.regret), "low": _rounded(each.low), "high": _rounded(each.high),
        }
        for name, each in found.curves.items()
    }  # fmt: skip
    return {
        "simulated": True, "world": found.world, "seed": found.seed, "users": found.users,
        "policies": list(found.outcomes), "curves": curves,
    }  # fmt: skip


def render(found: Summary) -> Table:
    """A table for people."""
    table = Table("policy", title=f"{found.world}, {found.users:,} users", title_justify="left")
    for name in ("visits", "events", "purchases", "clicks a visit", "share of the best", "regret"):
        table.add_column(name, justify="right")
    for each in found.outcomes:
        table.add_row(
            each.policy, f"{each.visits:,}", f"{each.events:,}", f"{each.purchases:,}", _shown(each.click_rate),
            _shown(each.share_of_best), f"{each.regret:,.0f}",
        )  # fmt: skip
    return table


def draw(found: Summary, file: Path) -> None:
    """Draw cumulative regret and clicks a visit over time; an .svg or a .png, the same for the same summary."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kind = file_kind(file)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, each) in zip(_cycle(len(found.curves)), found.curves.items(), strict=True):
        days = (each.t - each.t[0]) / _DAY_US
        left.plot(days, each.regret, color=colour, label=name)
        left.fill_between(days, each.low, each.high, color=colour, alpha=0.25, linewidth=0)
        before = np.concatenate(([0], each.visits[:-1])), np.concatenate(([0], each.clicks[:-1]))
        right.plot(days, (each.clicks - before[1]) / (each.visits - before[0]), color=colour, label=name)
    left.set(xlabel="days", ylabel="expected clicks missed so far")
    right.set(xlabel="days", ylabel="clicks a visit", ylim=(0, None))
    left.legend(loc="upper left")
    figure.suptitle(f"{found.world}, {found.users:,} users")
    with mpl.rc_context({"svg.hashsalt": found.world, "svg.fonttype": "none"}):
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _outcome(name: str, trace: Trace, replicates: int) -> Outcome:
    return Outcome(
        policy=name,
        visits=len(trace),
        events=int(trace.events.sum()),
        clicks=int(trace.clicks.sum()),
        purchases=int(trace.bought.sum()),
        click_rate=rate(trace, click_rate, replicates=replicates),
        share_of_best=rate(trace, share_of_best, replicates=replicates),
        regret=round(float(trace.regret.sum()), 3),
        by_persona=tuple(
            rate(trace.where(trace.persona == persona), click_rate, replicates=replicates)
            for persona in np.unique(trace.persona)
        ),
    )


def _shown(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, 3).tolist()  # type: ignore[no-any-return]


def _cycle(n: int) -> Sequence[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(n)]
