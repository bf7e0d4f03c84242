"""Answers while Redis is frozen, cut off, slow or flapping: whether they come in time, and what they say.

A real `opportune serve` on the demonstration's year asks a real Redis through a line that can be broken
(`tests.chaos.line`); it is asked at half of its capacity, Poisson arrivals, 100 candidates, without a deadline of the
caller, so that the placement's 100 ms holds and a late answer is seen to be late. For each fault:

    whole 1 s ── fault FAULT_S ── healed 3 s

In time, late and reasons are what the server itself counted in that span. Recovery is from the healing until the last
degraded answer was asked for, as the caller saw it.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from deployment.redis_server import RedisServer, redis_server
from opportune.demonstration import clear, replay_settings, start
from opportune.processes import children
from opportune.supervise import running
from scoring.v1 import scoring_pb2 as wire
from tests.chaos.asking import Asker, Heard, Told, told
from tests.chaos.line import Line

FAULT_S = 4.0
BEFORE_S, AFTER_S = 1.0, 3.0
USERS = 300
CAPACITY_S = 3.0

Break = Callable[[Line, RedisServer], None]
# What is done to Redis or to the line; healing undoes all of them.
FAULTS: dict[str, Break] = {
    "none": lambda line, redis: None,
    "frozen (SIGSTOP)": lambda line, redis: redis.process.send_signal(signal.SIGSTOP),
    "frozen line": lambda line, redis: line.freeze(),
    "cut": lambda line, redis: line.cut(),
    "slow, 50 ms and 50 kB/s": lambda line, redis: line.slow(latency_s=0.05, bytes_per_s=50_000),
    "flapping, 0.2 s": lambda line, redis: line.flap(0.2),
}


def heal(line: Line, redis: RedisServer) -> None:
    """Undo every fault."""
    redis.process.send_signal(signal.SIGCONT)
    line.heal()


@dataclass(frozen=True, slots=True)
class Fault:
    """What became of the answers of all rounds.

    in_time                        share of all calls that were answered within their deadline
    latest_at_most_ms              no answer was later after its deadline than this, a bound of the server's histogram;
                                   0 if none was late, infinite if one was beyond the last bound
    degraded                       share of answers that say so
    reasons                        how many answers say what
    longest_recovery_s             from the healing until nothing is degraded any more, of the slowest round
    """

    calls: int
    in_time: float
    failed: int
    latest_at_most_ms: float
    degraded: float
    reasons: dict[str, int]
    longest_recovery_s: float


@dataclass(frozen=True, slots=True)
class FaultsBench:
    """What was measured; see the module."""

    rounds: int
    fault_s: float
    capacity_per_s: float
    asked_per_s: float
    faults: dict[str, Fault]


def measure(home: Path, rounds: int) -> FaultsBench:
    """Start a server on a replay of the demo's year, and break what is between it and its Redis."""
    settings, live = replay_settings(home)
    clear(live)
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="opportune-bench-"))
        redis = stack.enter_context(redis_server(Path(directory)))
        line = stack.enter_context(Line(redis.port))
        start(settings, live.replaced(redis_url=redis.url), lambda *_: None)
        serve = [child for child in children(live) if child.serves]
        up = stack.enter_context(running(live.replaced(redis_url=line.url), serve))
        place = up["serve"].place
        stack.callback(heal, line, redis)
        with Asker(f"{place.host}:{place.port}", _questions(range(1, 2 * USERS))) as everybody:
            heard = everybody.each_once()
        known = [number for number, each in enumerate(heard, 1) if each == (each.sent, "OK", ())][:USERS]
        asker = stack.enter_context(Asker(f"{place.host}:{place.port}", _questions(known)))
        asker.capacity(1.0)
        capacity = asker.capacity(CAPACITY_S)
        rate = capacity / 2
        found: dict[str, list[tuple[Told, list[Heard], float]]] = {name: [] for name in FAULTS}
        for number in range(rounds):
            for name, break_it in FAULTS.items():
                before = told(place.metrics_port)
                asking = asker.open_loop(rate, BEFORE_S + FAULT_S + AFTER_S, seed=number)
                healed = during(break_it, line, redis)
                heard = asking.result()
                found[name].append((told(place.metrics_port).since(before), heard, healed))
    faults = {name: summed(each) for name, each in found.items()}
    return FaultsBench(rounds, FAULT_S, round(capacity), round(rate), faults)


def during(break_it: Break, line: Line, redis: RedisServer, fault_s: float = FAULT_S) -> float:
    """Break it after a while, for so long; when it was healed (`time.monotonic`)."""
    time.sleep(BEFORE_S)
    break_it(line, redis)
    time.sleep(fault_s)
    heal(line, redis)
    return time.monotonic()


def summed(rounds: list[tuple[Told, list[Heard], float]]) -> Fault:
    """The figures of one fault."""
    calls, in_time, answers, reasons = 0.0, 0.0, 0.0, Counter[str]()
    latest, degraded, recovery = 0.0, 0, 0.0
    for counted, heard, healed in rounds:
        calls += sum(counted.statuses.values())
        answers += counted.statuses.get("OK", 0.0)
        in_time += counted.lateness[0.0]
        latest = max(latest, _latest_ms(counted))
        reasons.update({name: int(n) for name, n in counted.reasons.items() if n})
        degraded += sum(bool(each.reasons) for each in heard)
        recovery = max([recovery, *(each.sent - healed for each in heard if each.reasons or each.status != "OK")])
    return Fault(
        int(calls), round(in_time / calls, 5), int(calls - answers), latest, round(degraded / calls, 5), dict(reasons),
        round(recovery, 2),
    )  # fmt: skip


def _latest_ms(counted: Told) -> float:
    """The least bound that holds all answers; infinite beyond the last."""
    everything = max(counted.lateness.values())
    bound = min(bound for bound, n in counted.lateness.items() if n == everything)
    return max(bound, 0.0) * 1000


def _questions(users: "range | list[int]") -> list[wire.ScoreRequest]:
    return [wire.ScoreRequest(user_id=str(number), top_k=10) for number in users]


def render(found: FaultsBench) -> Table:
    """The figures as a table for people."""
    table = Table(
        "", "calls", "in time", "failed", "latest after its deadline", "degraded", "recovered in", "reasons",
        title="faults", title_justify="left",
    )  # fmt: skip
    for name, each in found.faults.items():
        table.add_row(
            name, f"{each.calls:,}", f"{each.in_time:.3%}", str(each.failed), f"≤ {each.latest_at_most_ms:g} ms",
            f"{each.degraded:.2%}", f"{each.longest_recovery_s:.2f} s",
            ", ".join(f"{reason} {n:,}" for reason, n in each.reasons.items()),
        )  # fmt: skip
    table.caption = (
        f"{found.rounds} rounds of {found.fault_s:g} s each, {found.asked_per_s:,} calls a second, half of "
        f"{found.capacity_per_s:,}; Redis with appendfsync always"
    )
    return table
