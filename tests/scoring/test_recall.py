"""What an answer knows of its user when Redis is late, away or back again: over a line that can be broken."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from behavior.errors import Unavailable
from behavior.event import HOUR_US, MINUTE_US
from deployment.clock import AsyncClock, Clock, advance
from deployment.connections import converse, open_blocking
from deployment.generations import Plans
from deployment.keys import Keys
from deployment.settings import Settings
from scoring import recall as recalls
from scoring.budget import Budget
from scoring.circuit import FAILURES, PROBE_S, Circuits
from scoring.recall import FAIR_S, KEPT_S, Known, Recall, Recent
from scoring.states import States
from tests.chaos.line import Line
from tests.scoring.online import Online
from tests.scoring.small import PARTITIONS, START, purchase, settings_in

ADA, BOB, EVE = (f"k1-{number:032x}" for number in range(3))
NOW = START + MINUTE_US


@pytest.fixture
def line(redis_url: str) -> Iterator[Line]:
    """A whole line to the Redis of the session."""
    with Line(int(redis_url.rpartition(":")[2].partition("/")[0])) as line:
        yield line


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str, line: Line) -> Settings:
    """Of a deployment in which Ada has bought tea and Bob rice, folded; its Redis is at the end of the line."""
    direct = settings_in(tmp_path, redis_url, prefix)
    made = Online(direct)
    made.append([purchase(ADA, "TEA", START - HOUR_US, "m1"), purchase(BOB, "RICE", START - HOUR_US, "m2")])
    made.advance(NOW)
    made.fold()
    made.client.close()
    return direct.replaced(redis_url=line.url)


class Asking:
    """Asks for what is known as a server does."""

    def __init__(self, settings: Settings, client: Any) -> None:
        self.keys = Keys(settings.redis_prefix, settings.partitions)
        self.client = client
        self.plans = Plans(self.keys)
        self.states = States(client, self.keys, self.plans)
        self.clock = AsyncClock(client, self.keys.clock())
        self.recall = Recall()

    async def know(self, user_id: str, wait_s: float = 10.0) -> Known:
        """What is known of a user if the state may be waited for so long."""
        plan = self.plans._known.get(1) or await self.plans.of_async(self.client, 1)
        until = time.monotonic() + wait_s
        return await self.recall.know(user_id, Budget(until, until), plan, self.states, self.clock)

    async def again(self, user_id: str) -> Known:
        """What is known once Redis answers again; fails if that does not come about."""
        for _ in range(100):
            known = await self.know(user_id, 1.0)
            if not known.missed:
                return known
            await asyncio.sleep(PROBE_S / 2)
        raise AssertionError(f"states are not read again: {known.missed}")


def asked(settings: Settings, ask: Callable[[Asking], Awaitable[Any]]) -> Any:
    """What `ask` makes of it on an event loop; afterwards no read goes on."""

    async def run() -> Any:
        async with converse(settings) as client:
            asking = Asking(settings, client)
            made = await ask(asking)
            while asking.states.given_up:
                await asyncio.sleep(0.01)
            return made

    return asyncio.run(run())


BREAK: dict[str, Callable[[Line], None]] = {
    "frozen": Line.freeze,
    "cut": Line.cut,
    "slow": lambda line: line.slow(latency_s=0.3, bytes_per_s=50_000),
}


@pytest.mark.parametrize("fault", BREAK)
def test_what_was_read_before_stands_in_and_others_are_unknown(settings: Settings, line: Line, fault: str) -> None:
    """Ada was read before the fault, Bob was not: hers is the very state, his has no fields; then both are read."""

    async def ask(asking: Asking) -> None:
        before = await asking.know(ADA)
        assert (before.missed, before.age_s, before.now, before.clock_read) == ("", 0.0, NOW, True)
        BREAK[fault](line)
        for _ in range(FAILURES + 2):  # some before the circuit opens, some after
            ada, bob = await asyncio.gather(asking.know(ADA, 0.05), asking.know(BOB, 0.05))
            assert ada.missed.startswith(("Redis did not answer", "Redis does not answer"))
            assert ada.age_s is not None and ada.age_s > 0  # noqa: PT018 - one claim, and mypy reads it
            assert (ada.state, ada.offset) == (before.state, before.offset)
            assert bob.missed
            assert (bob.age_s, bob.offset, dict(bob.state.fields)) == (None, 0, {})
            assert ada.now == bob.now == NOW, "the replay's clock as it was read last"
            assert not ada.clock_read
        line.heal()
        for user in (ADA, BOB):
            after = await asking.again(user)
            assert after.state.fields
            assert after.clock_read
        assert (await asking.again(ADA)).state == before.state

    asked(settings, ask)


def test_the_persona_outlives_the_state(settings: Settings, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room for states the persona is remembered all the same, and only of a user whose state was read."""
    monkeypatch.setattr(recalls, "FIELDS", 0)

    async def ask(asking: Asking) -> None:
        for user in (ADA, EVE):  # nothing is known of Eve
            asking.recall.tell(user, await asking.know(user), "Champions")
        line.freeze()
        known = {user: await asking.know(user, 0.05) for user in (ADA, BOB, EVE)}
        assert {user: each.persona for user, each in known.items()} == {ADA: "Champions", BOB: "", EVE: ""}
        assert {each.age_s for each in known.values()} == {None}
        asking.recall.tell(BOB, known[BOB], "Lost")
        assert (await asking.know(BOB, 0.05)).persona == "", "it was not his state that said so"
        line.heal()

    asked(settings, ask)


def test_no_time_is_no_question(settings: Settings) -> None:
    """After its deadline an answer goes by what is remembered at once, and Redis is not blamed."""

    async def ask(asking: Asking) -> None:
        await asking.know(ADA)
        for _ in range(2 * FAILURES):
            assert (await asking.know(ADA, 0.0)).missed == "no time was left to read the state"
        assert (await asking.know(ADA)).missed == ""

    asked(settings, ask)


def test_a_caller_in_a_hurry_does_not_open_the_circuit(settings: Settings, line: Line) -> None:
    """Reads that are given less than FAIR_S fail for themselves only: the next patient one is asked, and answered."""

    async def ask(asking: Asking) -> None:
        await asking.know(ADA)
        line.slow(latency_s=0.03, bytes_per_s=1e9)
        for _ in range(2 * FAILURES):
            assert (await asking.know(ADA, FAIR_S / 10)).missed
        assert (await asking.know(ADA)).missed == ""

    asked(settings, ask)


def test_a_late_read_keeps_its_connection_and_renews_what_is_remembered(settings: Settings, line: Line) -> None:
    """After a pause nothing is connected anew, and what came too late for its own answer serves the next one."""

    async def ask(asking: Asking) -> None:
        await asyncio.gather(*(asking.know(ADA) for _ in range(4)))
        connected = line.connections
        line.freeze()
        assert (await asking.know(BOB, 0.02)).age_s is None
        line.heal()
        while asking.states.given_up:
            await asyncio.sleep(0.01)
        line.freeze()
        remembered = await asking.know(BOB, 0.02)
        assert remembered.missed
        assert remembered.state.fields
        line.heal()
        while asking.states.given_up:
            await asyncio.sleep(0.01)
        assert (await asking.again(ADA)).state.fields
        assert line.connections == connected

    asked(settings, ask)


def test_while_redis_is_away_few_questions_are_asked(settings: Settings, line: Line) -> None:
    """Of a hundred answers in a row only those before the circuit opens, and a probe now and then, wait at all."""

    async def ask(asking: Asking) -> None:
        await asking.know(ADA)
        line.freeze()
        waited = 0
        began = time.monotonic()
        for _ in range(100):
            waited += (await asking.know(ADA, 2 * FAIR_S)).missed != "Redis does not answer at the moment"
        probes = (time.monotonic() - began) / PROBE_S
        assert FAILURES <= waited <= FAILURES + probes + 1
        line.heal()

    asked(settings, ask)


def test_answers_are_never_mixed_up(settings: Settings, line: Line) -> None:
    """While the line breaks and heals and callers give up at any moment, who is answered is with their own state."""

    async def ask(asking: Asking) -> None:
        own = {user: (await asking.know(user)).state for user in (ADA, BOB)}
        assert own[ADA] != own[BOB]
        over = asyncio.Event()

        async def caller(number: int) -> None:
            turn = number
            while not over.is_set():
                turn += 1
                user = (ADA, BOB)[turn % 2]
                waiting = asyncio.ensure_future(asking.know(user, 0.001 * (turn * 7 % 60)))
                if turn % 5 == 0:  # the caller has gone
                    await asyncio.sleep(0.001)
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                else:
                    assert (await waiting).state == own[user]
                await asyncio.sleep(0.005)

        callers = [asyncio.create_task(caller(number)) for number in range(20)]
        for fault in (*BREAK.values(), Line.cut, lambda line: line.flap(0.03)):
            fault(line)
            await asyncio.sleep(0.1)
            line.heal()
            for user in (ADA, BOB):  # the line stays whole until both are answered
                assert (await asking.again(user)).state == own[user]
        over.set()
        await asyncio.gather(*callers)

    asked(settings, ask)


def test_what_is_forgotten_in_redis_is_forgotten_here(settings: Settings, line: Line) -> None:
    """A state that is not there any more is not remembered either."""

    async def ask(asking: Asking) -> None:
        await asking.know(ADA)
        with open_blocking(line.url, cluster=False) as client:
            client.delete(asking.keys.user(asking.keys.partition_of(ADA), 1, ADA))
        assert not (await asking.know(ADA)).state.fields
        line.freeze()
        assert (await asking.know(ADA, 0.02)).age_s is None
        line.heal()

    asked(settings, ask)


def test_the_clock_of_a_replay_is_the_last_known_one(settings: Settings, line: Line) -> None:
    """Without having been read it is unavailable; in production it is the system's, whatever becomes of Redis."""

    async def ask(asking: Asking) -> None:
        with pytest.raises(Unavailable, match="replay's clock"):
            asking.clock.latest()
        assert await asking.clock.now() == asking.clock.latest() == NOW
        with open_blocking(line.url, cluster=False) as client:
            advance(client, asking.keys, NOW + 1)
            assert Clock(client, asking.keys.clock()).now() == NOW + 1
        assert asking.clock.latest() == NOW
        assert await asking.clock.now() == asking.clock.latest() == NOW + 1
        assert AsyncClock(asking.client, None).latest() > NOW

    asked(settings, ask)


def test_what_is_remembered_is_bounded_and_not_for_ever() -> None:
    """The oldest go first, what is too heavy at once; an older never replaces a newer; after a while none is left."""
    recent: Recent[str] = Recent(most=5)
    recent.put("ada", "A", now=1.0, weight=2)
    recent.put("bob", "B", now=2.0, weight=2)
    recent.put("ada", "older", now=0.5, weight=1)
    assert recent.get("ada", now=2.0) == ("A", 1.0)
    recent.put("ada", "A2", now=3.0, weight=3)
    assert (recent.weight, recent.get("bob", now=3.0)) == (5, ("B", 1.0))
    recent.put("eve", "E", now=4.0, weight=1)
    assert (recent.weight, recent.get("bob", now=4.0)) == (4, None)
    recent.put("max", "M", now=5.0, weight=6)
    assert (recent.weight, recent.get("max", now=5.0), recent.get("ada", now=5.0)) == (0, None, None)
    recent.put("ada", "A", now=6.0)
    assert recent.get("ada", now=6.0 + KEPT_S) is not None
    assert recent.get("ada", now=6.1 + KEPT_S) is None


def test_on_a_cluster_each_partition_has_a_circuit_of_its_own() -> None:
    """What one node does not answer holds nothing back from the others."""
    circuits = Circuits.of(PARTITIONS, cluster=True)
    for _ in range(FAILURES):
        circuits.of_partition(0).failed(0.0)
    assert [circuits.of_partition(number).allows(0.0) for number in range(PARTITIONS)] == [False, True, True, True]
    one = Circuits.of(PARTITIONS, cluster=False)
    assert {id(one.of_partition(number)) for number in range(PARTITIONS)} == {id(one.of_user(ADA))}
