"""The figures of the score benchmark, and how they are shown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table

from tests.benchmarks.load import Load
from tests.benchmarks.stage_times import WHOLE


@dataclass(frozen=True, slots=True)
class Median:
    """The median of rounds, with the least and the greatest."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in ms: medians over rounds of each round's percentile; the greatest of all rounds."""

    p50_ms: Median
    p99_ms: Median
    p999_ms: Median
    max_ms: float


@dataclass(frozen=True, slots=True)
class Side:
    """One server. `open_loop` is None where no Poisson load was offered."""

    rate_8_connections_per_s: Median
    server_cpu_us_per_request: Median
    redis_cpu_us_per_request: Median
    one_connection: Percentiles
    open_loop: Percentiles | None
    resident_memory_of_a_worker_mb: float
    calls: int


@dataclass(frozen=True, slots=True)
class ScoreBench:
    """What was measured; see `tests.benchmarks.score`."""

    rounds: int
    users: int
    candidates: int
    top_k: int
    running: str
    sides: dict[str, Side]
    scorer_times_first_write_by_cpu: Median
    scorer_times_first_write_by_cpu_with_redis: Median
    scorer_share_of_empty_by_cpu: Median
    scorer_share_of_empty_by_rate: Median
    open_loop_rate_per_s: Median
    scorer_p999_share_of_twice_empty_p999_plus_handler_median: Median
    handler_median_one_connection_us: float
    stage_mean_one_connection_us: dict[str, float]
    degraded_answers_share: float
    late_starts_share: float
    top_10_shared_with_first_write: float
    greatest_score_difference_from_first_write_logits: float


def median_of(rounds: Sequence[float]) -> Median:
    """The median of rounds.

    >>> median_of([3.0, 1.0, 2.0])
    Median(median=2.0, least=1.0, greatest=3.0)
    """
    return Median(statistics.median(rounds), min(rounds), max(rounds))


def percentiles_of(rounds: Sequence[Load]) -> Percentiles:
    """The percentiles of rounds of load."""
    p50, p99, p999 = (
        median_of([each.histogram.percentile(share) / 1e3 for each in rounds]) for share in (50.0, 99.0, 99.9)
    )
    return Percentiles(p50, p99, p999, max(each.greatest_us for each in rounds) / 1e3)


def render(found: ScoreBench) -> Group:
    """The figures as tables for people."""
    return Group(_servers(found), _ratios(found), _stages(found))


def _servers(found: ScoreBench) -> Table:
    table = Table(
        "", "per s, 8 conn.", "CPU µs/request", "of Redis", "p50 ms, 1 conn.", "p99", "p99.9 ms, open", "max", "MB",
        title="score", title_justify="left",
    )  # fmt: skip
    for name, side in found.sides.items():
        opened = side.open_loop
        table.add_row(
            name, _shown(side.rate_8_connections_per_s, 0), _shown(side.server_cpu_us_per_request, 0),
            f"{side.redis_cpu_us_per_request.median:.0f}", _shown(side.one_connection.p50_ms, 2),
            _shown(side.one_connection.p99_ms, 2), _shown(opened.p999_ms, 2) if opened else "–",
            f"{opened.max_ms:.1f}" if opened else "–", f"{side.resident_memory_of_a_worker_mb:.0f}",
        )  # fmt: skip
    table.caption = (
        f"{found.rounds} rounds, medians (least to greatest); {found.candidates} candidates, top {found.top_k}, "
        f"{found.users} users; open loop at {found.open_loop_rate_per_s.median:.0f} a second; running: {found.running}"
    )
    return table


def _ratios(found: ScoreBench) -> Table:
    table = Table("", "median", "by round", title="beside the others", title_justify="left")
    for name, each in (
        ("times the first-write scorer, by CPU", found.scorer_times_first_write_by_cpu),
        ("the same with Redis's CPU", found.scorer_times_first_write_by_cpu_with_redis),
        ("share of the empty RPC's rate, by CPU", found.scorer_share_of_empty_by_cpu),
        ("the same by answers per second", found.scorer_share_of_empty_by_rate),
        (
            "p99.9 over 2 × the empty RPC's + handler's median",
            found.scorer_p999_share_of_twice_empty_p999_plus_handler_median,
        ),
    ):
        table.add_row(name, f"{each.median:.2f}", f"{each.least:.2f} to {each.greatest:.2f}")
    table.caption = (
        f"{found.top_10_shared_with_first_write:.1%} of the top {found.top_k} are the first-write scorer's too; "
        f"{found.degraded_answers_share:.2%} of the answers degraded; {found.late_starts_share:.2%} started late"
    )
    return table


def _stages(found: ScoreBench) -> Table:
    table = Table("stage", "mean µs", "share", title="one connection", title_justify="left")
    stages = dict(found.stage_mean_one_connection_us)
    whole = stages.pop(WHOLE)
    for name, mean in sorted(stages.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{mean:.0f}", f"{mean / whole:.0%}")
    rest = whole - sum(stages.values())
    table.add_row("between stages", f"{rest:.0f}", f"{rest / whole:.0%}")
    table.add_row("the whole handler", f"{whole:.0f}", "", style="bold")
    return table


def _shown(each: Median, digits: int) -> str:
    return f"{each.median:,.{digits}f} ({each.least:,.{digits}f} to {each.greatest:,.{digits}f})"
