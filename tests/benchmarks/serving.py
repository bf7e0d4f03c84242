"""How fast the whole loop is: Score, and the way of an event from Track into the next Score.

Measured from a client over gRPC, on a real Redis with `appendfsync always`, in rounds that interleave what is compared:

    score      one Score of 100 candidates, top 10, from one connection
    visible    from Track's answer until a Score reflects the event
    echo       one XADD until a blocked XREAD has it: the floor of any log on this Redis
"""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import redis
from rich.table import Table

from behavior.errors import OpportuneError
from opportune.demonstration import HOUSEHOLD, TODAY, clear, replay_settings, start
from opportune.household import ask, instant_of, latest_admission
from opportune.processes import children
from opportune.replay import instant, replay_clock
from opportune.supervise import running

CALLS = 100


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of all rounds in milliseconds: medians over rounds, and the smallest and greatest round's p50."""

    p50_ms: float
    p99_ms: float
    least_p50_ms: float
    greatest_p50_ms: float


@dataclass(frozen=True, slots=True)
class ServingBench:
    """What was measured; see the module."""

    rounds: int
    calls_per_round: int
    candidates: int
    redis_policy: str
    score: Spread
    visible: Spread
    echo: Spread
    visible_p99_per_echo_p99: float


def measure(home: Path, rounds: int) -> ServingBench:
    """Start everything on a replay of the demo's year and measure it."""
    from scoring.client import Client

    settings, live = replay_settings(home)
    clear(live)
    today = instant(TODAY, settings)
    with running(live, children(live), prepare=lambda reached: start(settings, reached, lambda *_: None)) as deployment:
        reached = deployment.settings
        with Client(f"{reached.host}:{reached.port}", deadline_s=10.0) as client, replay_clock(reached) as clock:
            answer, _ = ask(client, HOUSEHOLD)

            def score() -> float:
                began = time.perf_counter()
                client.score(HOUSEHOLD, top_k=10)
                return time.perf_counter() - began

            def visible() -> float:
                (result,) = client.track([_purchase(clock.now())])
                began = time.perf_counter()
                while instant_of(client.score(HOUSEHOLD, top_k=1).as_of) <= latest_admission([result]):
                    if time.perf_counter() - began > 10:
                        raise OpportuneError("a tracked event did not show within 10 s")
                return time.perf_counter() - began

            with (
                redis.Redis.from_url(str(reached.redis_url)) as writer,
                redis.Redis.from_url(str(reached.redis_url)) as reader,
            ):
                figures = _interleaved(
                    {"score": score, "visible": visible, "echo": lambda: _echo(writer, reader)}, rounds
                )
            assert clock.now() == today
    return ServingBench(
        rounds, CALLS, len(answer.ranked), "appendonly yes, appendfsync always", **figures,
        visible_p99_per_echo_p99=figures["visible"].p99_ms / figures["echo"].p99_ms,
    )  # fmt: skip


def render(found: ServingBench) -> Table:
    """The figures as a table for people."""
    table = Table("", "p50 ms", "p99 ms", "p50 by round ms", title="serving", title_justify="left")
    for name in ("score", "visible", "echo"):
        each: Spread = getattr(found, name)
        table.add_row(
            name, f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}", f"{each.least_p50_ms:.2f} to {each.greatest_p50_ms:.2f}"
        )
    table.caption = f"{found.rounds} rounds of {found.calls_per_round} calls; Redis with {found.redis_policy}"
    return table


def _interleaved(measured: dict[str, Callable[[], float]], rounds: int) -> dict[str, Spread]:
    seconds: dict[str, list[list[float]]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, call in measured.items():
            seconds[name].append(sorted(call() for _ in range(CALLS)))
    return {name: _spread(each) for name, each in seconds.items()}


def _spread(rounds: Sequence[Sequence[float]]) -> Spread:
    medians = [statistics.median(each) * 1000 for each in rounds]
    tails = [each[int(len(each) * 0.99)] * 1000 for each in rounds]
    return Spread(statistics.median(medians), statistics.median(tails), min(medians), max(medians))


def _echo(writer: "redis.Redis", reader: "redis.Redis") -> float:
    stream = f"bench:{uuid4().hex}"
    heard = threading.Event()

    def listen() -> None:
        reader.xread({stream: "0"}, block=5000)
        heard.set()

    reading = threading.Thread(target=listen)
    reading.start()
    time.sleep(0.002)  # let the reader block first
    began = time.perf_counter()
    writer.xadd(stream, {"b": b"x" * 200})
    heard.wait()
    elapsed = time.perf_counter() - began
    reading.join()
    writer.delete(stream)
    return elapsed


def _purchase(now: int) -> dict[str, object]:
    return {
        "message_id": uuid4().hex, "kind": "purchase", "user_id": HOUSEHOLD, "event_time": now,
        "category": "FLUID MILK PRODUCTS", "value_minor": 199, "consent": ("personalization",),
    }  # fmt: skip
