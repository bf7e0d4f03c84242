"""Events that flow through a deployment, on threads of their own, while a test does something to it."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from behavior.event import HOUR_US
from deployment.archive import Archive
from deployment.bundles import bundles_at
from deployment.connections import open_async
from deployment.generations import Plans
from scoring.archiver import archiver_of
from scoring.feed import Feed
from scoring.memory import Memory
from scoring.states import States
from tests.scoring.deployments import INTERVAL, USERS, Deployment, drain, events_of


class Flow:
    """Threads that let events flow through a deployment, fold and archive them, and read it all the time.

    seen    the generations' plans under which states were read, by the number of views
    """

    def __init__(self, deployment: Deployment, home: Path) -> None:
        self.deployment = deployment
        self.archive = Archive(deployment.settings(home).archive, deployment.keys.partitions)
        self.reads = 0
        self.seen: set[int] = set()
        self._home = home
        self._stopping = threading.Event()
        self._appended = threading.Event()  # the last event: what archives goes on until then
        self._failures: list[BaseException] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let everything flow until the block ends; then everything is archived."""
        self.deployment.folding()
        works = (self._append, self._fold, self._archive, lambda own: asyncio.run(self._read(own)))
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(30)
        assert not self._failures, self._failures

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Wait until something has come about."""
        deadline = time.monotonic() + 30
        while not reached():
            assert not self._failures, self._failures
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _guarded(self, work: Callable[[Deployment], None]) -> None:
        own = self.deployment.again()
        try:
            work(own)
        except BaseException as error:
            self._failures.append(error)
        finally:
            own.client.close()

    def _append(self, own: Deployment) -> None:
        draw, number = random.Random(9), 0
        own.admitted = self.deployment.admitted
        while not self._stopping.is_set():
            now = own.clock.now()
            own.append(events_of(3, 10_000 + number, now))
            own.advance(now + draw.choice((0, 1, INTERVAL // 5, INTERVAL, HOUR_US)))
            number += 1
            time.sleep(0.005)
        self._appended.set()

    def _fold(self, own: Deployment) -> None:
        folding = own.folding("flow", ttl_ms=300)
        while not self._stopping.is_set():
            folding.step(10)
        drain(folding)
        folding.release()

    def _archive(self, own: Deployment) -> None:
        archiver = archiver_of(own.settings(self._home, lease_s=1), own.client, self.archive, "flow")
        while not self._appended.is_set() and not self._failures:
            archiver.step(20)
            archiver.flush()
        while archiver.step():
            pass
        archiver.flush()

    async def _read(self, own: Deployment) -> None:
        client, plans = open_async(own.url, cluster=own.cluster), Plans(own.keys)
        states = States(client, own.keys, plans)
        memory = Memory(client, own.keys, plans, bundles_at(self._home / "none"), Feed(client, own.keys, 1.0))
        offsets, s = dict.fromkeys(USERS, 0), 0
        while not self._stopping.is_set():
            for user in USERS:
                read = await states.read(user)
                assert read.offset >= offsets[user]
                offsets[user] = read.offset
                self.seen.add(len(read.state.plan.views))
                self.reads += 1
            await memory.refresh()
            snapshot = memory._parts.snapshot
            assert (snapshot.s if snapshot else 0) >= s
            s = snapshot.s if snapshot else 0
            await asyncio.sleep(0.001)
        await client.aclose()
