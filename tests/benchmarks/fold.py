"""How fast events become states, how soon they are seen, and how many bytes a user takes.

    uniform    a random user for each event: nothing is amortised but the round trips
    in order   Complete Journey's own order: the lines of a basket come together
    visible    from the log's answer to an event until the scorer's own read of the user has it, a fold process running
    echo       from one XADD until a blocked XREAD has it: the floor of any log on this Redis

One fold, on the states of the year up to December, folds what waits in the log; rounds interleave all four.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from behavior.event import Admitted, Event, encode
from deployment.archive import EVENTS, Archive, to_events
from deployment.clock import AsyncClock, Clock, advance
from deployment.connections import connect_serving
from deployment.database import connected
from deployment.generations import Plans
from deployment.keys import Keys
from deployment.settings import Settings
from scoring.fold import Fold, Grant
from scoring.log import Log
from scoring.log_writer import LogWriter, offer_event
from scoring.publishing import Publisher
from scoring.states import States
from tests.benchmarks.year import POLICY, online, prepared

SUMMARY = "how fast events become states, how soon they are seen, and how many bytes a user takes"
DECEMBER = 1_512_104_400_000_000  # 2017-12-01T05:00:00Z, midnight in New York
AT_ONCE = 20_000
SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Rate:
    """Events a second over the rounds, and the fold's own CPU time."""

    median_events_per_s: float
    least_events_per_s: float
    greatest_events_per_s: float
    median_cpu_us_per_event: float


@dataclass(frozen=True, slots=True)
class Delay:
    """Medians over the rounds of each round's percentiles."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Bytes:
    """Field and value bytes in Redis per user."""

    median: int
    p99: int


@dataclass(frozen=True, slots=True)
class FoldBench:
    """What was measured; see the module."""

    rounds: int
    events_per_round: int
    redis_policy: str
    features: int
    uniform: Rate
    in_order: Rate
    publish_s_per_round: float
    visible: Delay
    echo: Delay
    visible_p50_per_echo_p50: float
    visible_p99_per_echo_p99: float
    users: int
    user_view_bytes: Bytes
    user_hash_bytes: Bytes
    median_redis_memory_usage_of_a_user_bytes: int


def measure(home: Path, rounds: int) -> FoldBench:
    """Restore the year up to December, and fold what would come then."""
    settings = prepared(home)
    coming = _december(settings)
    draw = np.random.default_rng(7)
    with online(settings, DECEMBER) as (reached, client, keys):
        plan = Plans(keys).of(client, 1)
        sizes = _sizes(client, keys, plan.view("user_activity").letter)  # of real life, before it is hurried
        feed = _Feed(client, keys, DECEMBER)
        rates: dict[str, list[tuple[float, float]]] = {"uniform": [], "in_order": []}
        publishing, delays = [], []
        for number in range(rounds):
            stretch = coming[number * AT_ONCE % (len(coming) - AT_ONCE) :][:AT_ONCE]
            rates["in_order"].append(_folded(client, keys, feed.in_order(stretch)))
            picked = _of_random_users(coming, draw)
            rates["uniform"].append(_folded(client, keys, feed.uniform(picked)))
            began = time.perf_counter()
            Publisher(client, keys, plan, 1).step()
            publishing.append(time.perf_counter() - began)
            with _fold_process(reached):
                delays.append(asyncio.run(_delays(reached, keys, picked[:SAMPLES], feed.now)))
            feed.now = Clock(client, keys.clock()).now() + 1_000_000
    visible, echo = ([each[place] for each in delays] for place in (0, 1))
    seen, floor = _delay(visible), _delay(echo)
    return FoldBench(
        rounds=rounds, events_per_round=AT_ONCE, redis_policy=POLICY, features=len(plan.features),
        uniform=_rate(rates["uniform"]), in_order=_rate(rates["in_order"]),
        publish_s_per_round=round(statistics.median(publishing), 2), visible=seen, echo=floor,
        visible_p50_per_echo_p50=round(seen.p50_ms / floor.p50_ms, 2),
        visible_p99_per_echo_p99=round(seen.p99_ms / floor.p99_ms, 2), **sizes,
    )  # fmt: skip


def render(found: FoldBench) -> Table:
    """The figures as a table for people."""
    table = Table("", "median", "least to greatest, or p99", title="fold", title_justify="left")
    for name, rate in (("uniform users", found.uniform), ("in order", found.in_order)):
        spread = f"{rate.least_events_per_s:,.0f} to {rate.greatest_events_per_s:,.0f}"
        table.add_row(
            name, f"{rate.median_events_per_s:,.0f} events/s, {rate.median_cpu_us_per_event:.0f} µs CPU", spread
        )
    table.add_row("event visible", f"{found.visible.p50_ms:.2f} ms", f"{found.visible.p99_ms:.2f} ms")
    table.add_row("echo", f"{found.echo.p50_ms:.2f} ms", f"{found.echo.p99_ms:.2f} ms")
    table.add_row(
        "visible / echo", f"{found.visible_p50_per_echo_p50:.1f} times", f"{found.visible_p99_per_echo_p99:.1f} times"
    )
    table.add_row("user view", f"{found.user_view_bytes.median:,} bytes", f"{found.user_view_bytes.p99:,} bytes")
    table.add_row("whole hash", f"{found.user_hash_bytes.median:,} bytes", f"{found.user_hash_bytes.p99:,} bytes")
    table.caption = f"{found.rounds} rounds of {found.events_per_round:,} events; Redis with {found.redis_policy}"
    return table


class _Feed:
    """Puts events into the log as if they were admitted from `now` on."""

    def __init__(self, client: Any, keys: Keys, now: int) -> None:
        self._client = client
        self._keys = keys
        self.now = now

    def in_order(self, events: Sequence[Admitted]) -> int:
        """The events as far apart as they were."""
        return self._append([(self.now + each.e - events[0].e, each.event) for each in events])

    def uniform(self, events: Sequence[Admitted]) -> int:
        """The events a tenth of a second apart."""
        return self._append([(self.now + 100_000 * place, each.event) for place, each in enumerate(events)])

    def _append(self, timed: Sequence[tuple[int, Event]]) -> int:
        last: dict[int, int] = {}
        with self._client.pipeline(transaction=False) as together:
            for instant, event in timed:
                number = self._keys.partition_of(event.user_id)
                k = last[number] = max(instant, last.get(number, 0) + 1)
                body = encode(msgspec.structs.replace(event, client_time=instant))
                together.xadd(self._keys.stream(number), {"t": b"e", "b": body}, id=f"{k}-0")
                if len(together) >= 1_000:
                    together.execute()
            for number, k in last.items():
                together.hset(self._keys.meta(number), "last_k", k)
            together.execute()
        self.now = max(last.values()) + 1_000_000
        advance(self._client, self._keys, self.now)
        return len(timed)


def _folded(client: Any, keys: Keys, waiting: int) -> tuple[float, float]:
    """Events a second, and CPU µs per event, of one fold that takes all partitions over and folds what waits."""
    fold = Fold(client, keys, Log(client, keys), Clock(client, keys.clock()), Plans(keys))
    epochs = {number: int(client.hincrby(keys.place(number, 1), "epoch", 1)) for number in range(keys.partitions)}
    fold.own({number: Grant(1, epoch) for number, epoch in epochs.items()})
    done, began, cpu = 0, time.perf_counter(), time.process_time()
    while done < waiting:
        done += fold.step()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    while fold.step():  # closes what time has passed
        pass
    return done / seconds, cpu / done * 1e6


@contextmanager
def _fold_process(settings: Settings) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "opportune", "fold"], env=settings.child_environment(), stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


async def _delays(
    settings: Settings, keys: Keys, events: Sequence[Admitted], now: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each event until it is visible, and of an echo beside it."""
    client, reader = connect_serving(settings), connect_serving(settings)
    writer, states = LogWriter(client, keys, 48), States(client, keys, Plans(keys))
    clock = AsyncClock(client, keys.clock())
    visible, echo = [], []
    try:
        for place, each in enumerate(events):
            event = msgspec.structs.replace(each.event, message_id=f"bench-{now}-{place}", client_time=now)
            (fate,) = await writer.append(keys.partition_of(event.user_id), [offer_event(event)], await clock.now())
            began = time.perf_counter()
            while (await states.read(event.user_id)).offset < fate.k:
                pass
            if place >= 20:  # until then the fold may be starting
                visible.append((time.perf_counter() - began) * 1000)
                echo.append(await _echo(client, reader, f"bench:{now}:{place}"))
    finally:
        await client.aclose()
        await reader.aclose()
    return visible, echo


async def _echo(writer: Any, reader: Any, stream: str) -> float:
    heard = asyncio.create_task(reader.xread({stream: "0"}, block=500))
    await asyncio.sleep(0.002)  # let the reader block first
    began = time.perf_counter()
    await writer.xadd(stream, {"b": b"x" * 200})
    await heard
    elapsed = (time.perf_counter() - began) * 1000
    await writer.delete(stream)
    return elapsed


def _of_random_users(events: Sequence[Admitted], draw: np.random.Generator) -> list[Admitted]:
    """Events of users that are drawn with equal chances, however much each buys."""
    by_user: dict[str, list[Admitted]] = {}
    for each in events:
        by_user.setdefault(each.event.user_id, []).append(each)
    users = sorted(by_user)
    drawn = (by_user[users[place]] for place in draw.integers(0, len(users), AT_ONCE))
    return [mine[int(draw.integers(0, len(mine)))] for mine in drawn]


def _december(settings: Settings) -> list[Admitted]:
    """What was bought in December, in its order."""
    with connected(memory_limit="1GB") as connection:
        Archive(settings.archive, settings.partitions).create_view(connection)
        columns = ", ".join(EVENTS.names)
        found = connection.execute(f"SELECT {columns} FROM events WHERE k >= {DECEMBER} ORDER BY k, message_id")
        return list(to_events(found.to_arrow_table()))


def _sizes(client: Any, keys: Keys, letter: bytes) -> dict[str, Any]:
    views, hashes, usages = [], [], []
    for number in range(keys.partitions):
        for key in client.scan_iter(keys.user(number, 1, "*"), count=1_000):
            fields = client.hgetall(key)
            hashes.append(sum(len(name) + len(value) for name, value in fields.items()))
            views.append(len(letter) + len(fields.get(letter, b"")))
            usages.append(client.memory_usage(key))
    return {
        "users": len(hashes), "user_view_bytes": _bytes(views), "user_hash_bytes": _bytes(hashes),
        "median_redis_memory_usage_of_a_user_bytes": int(np.median(usages)),
    }  # fmt: skip


def _bytes(sizes: Sequence[int]) -> Bytes:
    return Bytes(int(np.median(sizes)), int(np.percentile(sizes, 99)))


def _rate(rounds: Sequence[tuple[float, float]]) -> Rate:
    speeds = [speed for speed, _ in rounds]
    cpu = statistics.median(cpu for _, cpu in rounds)
    return Rate(*(round(each, 1) for each in (statistics.median(speeds), min(speeds), max(speeds), cpu)))


def _delay(rounds: Sequence[Sequence[float]]) -> Delay:
    halves = [float(np.percentile(each, 50)) for each in rounds]
    tails = [float(np.percentile(each, 99)) for each in rounds]
    return Delay(round(statistics.median(halves), 3), round(statistics.median(tails), 3))
