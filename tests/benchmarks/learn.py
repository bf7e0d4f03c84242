"""How soon what somebody did changes what scorers hold of the learner, and how many labelled events it learns.

    changed    from sending an XADD of a purchase to the log until a scorer's feed has applied what the learner made of
               it: a learner process, and a feed as in the server, at 1,000 purchases a second
    echo       from sending an XADD until a blocked XREAD has it, on connections of its own, in the very same seconds
    labelled   purchases of what was shown, waiting in the log: how many a second one learner joins, learns and commits
    lookup     the residuals of 100 candidates

Every purchase is of something else, so that each one changes numbers of its own. Redis with `appendfsync always`: an
echo waits for one write to disk, a change for two.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import uvloop
from rich.table import Table

from behavior import event as events
from behavior import served as served_entries
from behavior.errors import OpportuneError
from behavior.partition import partition_of
from behavior.served import EVENT_ENTRY, SERVED_ENTRY
from deployment.clock import system_now
from deployment.connections import ask_each, connect, converse
from deployment.generations import agree
from deployment.keys import Keys, ShardKeys
from deployment.redis_server import redis_server
from deployment.settings import Settings
from scoring.cross_keys import Context
from scoring.feed import Feed
from scoring.learn import learning_of
from scoring.learning import begin
from scoring.residuals import Residuals
from tests.benchmarks.year import POLICY
from tests.scoring.server_processes import learner_process
from tests.scoring.shown import served
from tests.scoring.small import PLAN, purchase, settings_in

RATE = 1_000
SECONDS = 5.0
ECHO_EVERY_S = 0.02
WAITING = 20_000
SHOWN_AT_ONCE = 10
CANDIDATES = 100
PERSONA = "loyal"


@dataclass(frozen=True, slots=True)
class Delay:
    """Medians over the rounds of each round's percentiles."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class LearnBench:
    """What was measured; see the module."""

    rounds: int
    events_per_s: int
    seconds_per_round: float
    redis_policy: str
    changed: Delay
    echo: Delay
    changed_p50_per_echo_p50: float
    changed_p99_per_echo_p99: float
    least_p99_ratio: float
    greatest_p99_ratio: float
    median_labelled_events_per_s: float
    least_labelled_events_per_s: float
    median_learner_cpu_us_per_event: float
    median_lookup_us: float


def measure(home: Path, rounds: int) -> LearnBench:
    """Measure on a Redis of its own; nothing in the home is needed."""
    changed, echo, rates, lookups = [], [], [], []
    with TemporaryDirectory(prefix="opportune-bench-") as directory, redis_server(Path(directory) / "redis") as server:
        for number in range(rounds):
            settings = _settings(Path(directory) / f"{number}", server.url, f"bench-{number}")
            rates.append(_labelled(settings.replaced(redis_prefix=f"bench-labelled-{number}")))
            with learner_process(settings):
                delays = uvloop.run(_delays(settings, number))
            changed.append(np.percentile(delays[0], (50, 99)))
            echo.append(np.percentile(delays[1], (50, 99)))
            lookups.append(_lookup_us(delays[2], delays[3]))
    seen, floor = _delay(changed), _delay(echo)
    ratios = [float(one[1] / other[1]) for one, other in zip(changed, echo, strict=True)]
    return LearnBench(
        rounds=rounds, events_per_s=RATE, seconds_per_round=SECONDS, redis_policy=POLICY, changed=seen, echo=floor,
        changed_p50_per_echo_p50=round(seen.p50_ms / floor.p50_ms, 2),
        changed_p99_per_echo_p99=round(seen.p99_ms / floor.p99_ms, 2),
        least_p99_ratio=round(min(ratios), 2), greatest_p99_ratio=round(max(ratios), 2),
        median_labelled_events_per_s=round(statistics.median(rate for rate, _ in rates)),
        least_labelled_events_per_s=round(min(rate for rate, _ in rates)),
        median_learner_cpu_us_per_event=round(statistics.median(cpu for _, cpu in rates), 1),
        median_lookup_us=round(statistics.median(lookups), 1),
    )  # fmt: skip


def render(found: LearnBench) -> Table:
    """The figures as a table for people."""
    table = Table("", "p50", "p99", title="learn", title_justify="left")
    for name, delay in (("event to changed weight", found.changed), ("echo", found.echo)):
        table.add_row(name, f"{delay.p50_ms:.2f} ms", f"{delay.p99_ms:.2f} ms")
    table.add_row(
        "changed / echo", f"{found.changed_p50_per_echo_p50:.1f} times", f"{found.changed_p99_per_echo_p99:.1f} times"
    )
    rate = f"{found.median_labelled_events_per_s:,.0f} a second"
    table.add_row("labelled events", rate, f"{found.median_learner_cpu_us_per_event:.0f} µs CPU each")
    table.add_row(f"{CANDIDATES} candidates", f"{found.median_lookup_us:.1f} µs", "")
    table.caption = f"{found.rounds} rounds at {found.events_per_s:,} events a second; Redis with {found.redis_policy}"
    return table


class _Shop:
    """Entries of the log: things that are shown, and their purchases; no thing twice."""

    def __init__(self, keys: Keys, name: str) -> None:
        self._keys = keys
        self._name = name
        self._last: dict[int, int] = {}

    def shown(self, things: int) -> Iterator[tuple[Any, ...]]:
        """Commands that append answers which showed so many things."""
        for number in range(0, things, SHOWN_AT_ONCE):
            margins = {self.thing(number + place): -2.0 for place in range(SHOWN_AT_ONCE)}
            user = self._user(number)
            entry = served(f"{self._name}-{number}", user, system_now(), margins, PERSONA)
            yield self._append(user, SERVED_ENTRY, served_entries.encode(entry))

    def bought(self, number: int) -> tuple[Any, ...]:
        """The command that appends the purchase of one thing."""
        user = self._user(number - number % SHOWN_AT_ONCE)
        said = purchase(user, self.thing(number), system_now(), f"{self._name}-m{number}")
        return self._append(user, EVENT_ENTRY, events.encode(said))

    def thing(self, number: int) -> str:
        """The name of a thing."""
        return f"{self._name} {number}"

    def _user(self, number: int) -> str:
        return f"k1-{number:032x}"

    def _append(self, user: str, kind: bytes, payload: bytes) -> tuple[Any, ...]:
        partition = partition_of(user, self._keys.partitions)
        k = self._last[partition] = max(system_now(), self._last.get(partition, 0) + 1)
        return ("XADD", self._keys.stream(partition), f"{k}-0", "t", kind, "b", payload)


# ------------------------------------------------------------------------------------------------ how soon


async def _delays(settings: Settings, number: int) -> tuple[list[float], list[float], Residuals, Sequence[str]]:
    """Milliseconds of each purchase until a weight has changed, and of echoes beside it; and what was learned."""
    keys, things = Keys(settings.redis_prefix, settings.partitions), round(RATE * SECONDS)
    shop, sent, seen = _Shop(keys, f"thing-{number}"), dict[str, float](), dict[str, float]()
    async with converse(settings) as writing, converse(settings) as asking, converse(settings) as following:
        await _in_batches(writing, shop.shown(things))
        feed = Feed(asking, keys, 1.0, following)
        await _until_read(asking, keys)
        await feed.refresh()
        _observe(feed.residuals, seen)
        running = asyncio.create_task(feed.run())
        echoing = asyncio.create_task(_echoes(settings))
        writes, began = [], time.perf_counter()
        for place in range(things):
            await asyncio.sleep(max(began + place / RATE - time.perf_counter(), 0.0))
            sent[shop.thing(place)] = time.perf_counter()
            writes.append(asyncio.create_task(ask_each(writing, [shop.bought(place)])))
        deadline = time.perf_counter() + 20
        while len(seen) < things and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.gather(*writes)
        echo = await echoing
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    if len(seen) < things:
        raise OpportuneError(f"only {len(seen)} of {things} purchases have changed anything within 20 s")
    return [(seen[thing] - sent[thing]) * 1000 for thing in sent], echo, feed.residuals, list(sent)


def _observe(residuals: Residuals, seen: dict[str, float]) -> None:
    """Note when each thing's numbers have first been changed."""
    apply = residuals.apply

    def observed(version: int, changed: Mapping[str, tuple[float, ...] | None]) -> None:
        apply(version, changed)
        now = time.perf_counter()
        for key in changed:
            seen.setdefault(key.rpartition("|")[2], now)

    residuals.apply = observed  # type: ignore[method-assign]


async def _echoes(settings: Settings) -> list[float]:
    """Milliseconds of echoes, sent at fixed instants for as long as events come, whether or not one is outstanding.

    So that a machine that stands still for a moment is seen as often here as there.
    """
    stream, number = f"{settings.redis_prefix}:echo", round(SECONDS / ECHO_EVERY_S)
    sent, heard, last = list[float](), list[float](), b"0-0"
    async with converse(settings) as writing, converse(settings) as reading:

        async def write() -> None:
            began = time.perf_counter()
            for place in range(number):
                await asyncio.sleep(max(began + place * ECHO_EVERY_S - time.perf_counter(), 0.0))
                sent.append(time.perf_counter())
                writes.append(asyncio.create_task(ask_each(writing, [("XADD", stream, "*", "b", b"x" * 200)])))

        writes: list[asyncio.Task[list[Any]]] = []
        all_written = asyncio.create_task(write())
        while len(heard) < number:
            (found,) = await ask_each(reading, [("XREAD", "BLOCK", 500, "STREAMS", stream, last)])
            for name, _ in dict(found or ()).get(stream.encode(), ()):
                heard.append(time.perf_counter())
                last = name
        await asyncio.gather(all_written, *writes)
    return [(end - start) * 1000 for start, end in zip(sent, heard, strict=True)]


async def _in_batches(writing: Any, commands: Iterator[tuple[Any, ...]]) -> None:
    while batch := list(itertools.islice(commands, 500)):
        await ask_each(writing, batch)


async def _until_read(asking: Any, keys: Keys) -> None:
    """Wait until the learner waits with every answer that was appended."""
    pending, streams = ShardKeys(keys.prefix, 1).pending(0), [keys.stream(each) for each in range(keys.partitions)]
    lengths = sum(await ask_each(asking, [("XLEN", stream) for stream in streams]))
    deadline = time.perf_counter() + 60
    while (await ask_each(asking, [("HLEN", pending)]))[0] < lengths:
        if time.perf_counter() > deadline:
            raise OpportuneError("the learner has not read the log within 60 s")
        await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------------------ how many, how long


def _labelled(settings: Settings) -> tuple[float, float]:
    """Purchases a second that wait in the log, learned and committed; and the learner's CPU µs for each."""
    with connect(settings) as client:
        keys = Keys(settings.redis_prefix, settings.partitions)
        agree(client, keys, lambda: PLAN)
        begin(client, keys, settings.learner_shards)
        shop, its = _Shop(keys, "waiting"), learning_of(settings, client, "bench")
        _append(client, shop.shown(WAITING))
        while its.step() or any(join.place.offset == 0 for own in its.own.values() for join in own.joins):
            pass
        _append(client, (shop.bought(place) for place in range(WAITING)))
        done, began, cpu = 0, time.perf_counter(), time.process_time()
        while done < WAITING:
            done += sum(example.label is True for example in its.step())
        found = done / (time.perf_counter() - began), (time.process_time() - cpu) / done * 1e6
        its.release()
        return found


def _append(client: Any, commands: Iterator[tuple[Any, ...]]) -> None:
    while batch := list(itertools.islice(commands, 1_000)):
        with client.pipeline(transaction=False) as together:
            for command in batch:
                together.execute_command(*command)
            together.execute()


def _lookup_us(residuals: Residuals, things: Sequence[str]) -> float:
    """Microseconds of one lookup of some that were learned, the median of several hundred."""
    wanted, took = things[:CANDIDATES], []
    context = Context("evening", "mon", "phone", "/", "home")
    for _ in range(500):
        began = time.perf_counter()
        residuals.lookup(PERSONA, context, "category", wanted, wanted)
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took)


def _settings(home: Path, url: str, prefix: str) -> Settings:
    settings = settings_in(home, url, prefix, replay=False).replaced(partitions=64)
    with connect(settings) as client:
        agree(client, Keys(prefix, settings.partitions), lambda: PLAN)
    return settings


def _delay(rounds: Sequence[Any]) -> Delay:
    p50, p99 = (statistics.median(float(each[place]) for each in rounds) for place in (0, 1))
    return Delay(round(p50, 3), round(p99, 3))
