"""A real Redis Cluster of three primaries on this machine, for tests: started, disturbed, and stopped by pid.

    with running_cluster(directory) as cluster:
        client = open_blocking(cluster.url, cluster=True)
        owner = cluster.owner(slot)
        cluster.migrate_slot(slot, cluster.other(owner))  # while clients work
        cluster.kill(owner)                               # -9; its slots are served by nobody
        cluster.restart(owner)                            # from its files

Every write is on disk before it is answered, as where the log lives. The cluster is formed by commands alone, and is up
as soon as Redis allows: a node that starts refuses for 2 s, whatever is done.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from deployment.leash import leashed
from deployment.redis_server import redis_program

HOST = "127.0.0.1"
SLOTS = 16_384
# The bus listens that far above the port. Both lie below what the kernel gives to those who ask for any port.
_BUS_ABOVE = 10_000
_PORTS = range(16_000, 22_000)
# Long enough for a busy machine, so that no living node is declared dead.
NODE_TIMEOUT_MS = 1_500
_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.01
_KEYS_AT_ONCE = 50


@dataclass(slots=True)
class Node:
    """One primary of the cluster; `id` is what the cluster calls it."""

    port: int
    directory: Path
    process: "subprocess.Popen[bytes]"
    client: "redis.Redis"
    id: str = ""

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.directory / "redis.log").read_text(errors="replace")


@dataclass(slots=True)
class Cluster:
    """A running cluster."""

    nodes: list[Node] = field(default_factory=list)
    # Nodes end with the thread that has started them (deployment.leash); a test may restart one from another thread.
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @property
    def url(self) -> str:
        """Where its first node answers, as `redis://host:port/0`."""
        return f"redis://{HOST}:{self.nodes[0].port}/0"

    def owner(self, slot: int) -> Node:
        """The node that serves the slot, as the living nodes see it."""
        living = next(node for node in self.nodes if node.process.poll() is None)
        for first, last, (_, port, *_), *_ in living.client.execute_command("CLUSTER SLOTS"):
            if int(first) <= slot <= int(last):
                return next(node for node in self.nodes if node.port == int(port))
        raise AssertionError(f"slot {slot} is served by nobody")

    def other(self, node: Node) -> Node:
        """Any node but this one."""
        return next(each for each in self.nodes if each is not node)

    @contextmanager
    def migrating(self, slot: int, to: Node) -> Iterator[Callable[[Sequence[bytes]], None]]:
        """Move a slot: inside the block it is between two nodes; the rest of it is moved when the block ends.

        Gives a function that moves some of its keys at once.
        """
        source = self.owner(slot)
        assert source is not to

        def move(keys: Sequence[bytes]) -> None:
            source.client.execute_command("MIGRATE", HOST, to.port, "", 0, 5_000, "KEYS", *keys)

        to.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", to.id)
        yield move
        while keys := keys_of(source, slot, _KEYS_AT_ONCE):
            move(keys)
        for node in (to, source, *(node for node in self.nodes if node not in (to, source))):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", to.id)

    def migrate_slot(self, slot: int, to: Node) -> None:
        """Move a slot with its keys to another node, while clients go on working."""
        with self.migrating(slot, to):
            pass

    def kill(self, node: Node) -> None:
        """kill -9; there is no replica, so its slots are served by nobody until it is back."""
        os.kill(node.process.pid, signal.SIGKILL)
        node.process.wait()

    def restart(self, node: Node) -> None:
        """Start a killed node from its files, and wait until the cluster is whole again."""
        node.process = self.start(node.directory, node.port)
        _wait_for(f"node {node.port}", lambda: _answers(node))
        self.wait_until_whole()

    def start(self, home: Path, port: int) -> "subprocess.Popen[bytes]":
        """Start the process of a node whose files live in `home`."""
        return self._starter.submit(_spawned, home, port).result()

    def wait_until_whole(self) -> None:
        """Wait until every node says that all slots are served and knows the same owners."""
        _wait_for("the cluster", lambda: all(map(_is_whole, self.nodes)) and len(set(map(_owners, self.nodes))) == 1)

    def stop(self) -> None:
        """End every node by its pid: politely, then not."""
        for node in self.nodes:
            node.client.close()
            if node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            try:
                node.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
        self._starter.shutdown()


def slot_of(key: bytes) -> int:
    """The slot of a key, by its hash tag if it has one."""
    return int(key_slot(key))


def keys_of(node: Node, slot: int, count: int = 1_000) -> list[bytes]:
    """Keys of a slot that the node holds."""
    found: Any = node.client.execute_command("CLUSTER GETKEYSINSLOT", slot, count)
    return [key if isinstance(key, bytes) else key.encode() for key in found]


@contextmanager
def running_cluster(directory: Path, nodes: int = 3) -> Iterator[Cluster]:
    """Run a cluster whose files live in `directory` until the block ends; the slots are split evenly."""
    cluster = Cluster()
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        for number in range(nodes):
            port = stack.enter_context(_ports())
            home = directory / f"node {number}"
            home.mkdir(parents=True)
            # Without retries: what a node says is what is asked about.
            client = redis.Redis(host=HOST, port=port, socket_timeout=5, retry=Retry(NoBackoff(), 0), protocol=2)
            cluster.nodes.append(Node(port, home, cluster.start(home, port), client))
        _join(cluster)
        yield cluster


def _join(cluster: Cluster) -> None:
    for number, node in enumerate(cluster.nodes):
        _wait_for(f"node {node.port}", lambda node=node: _answers(node))  # type: ignore[misc]
        node.id = node.client.execute_command("CLUSTER MYID").decode()
        first, end = (SLOTS * place // len(cluster.nodes) for place in (number, number + 1))
        node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        # Different from the start: equal ones are told apart by an election of minutes.
        node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
    for place, node in enumerate(cluster.nodes):
        for later in cluster.nodes[place + 1 :]:
            node.client.execute_command("CLUSTER MEET", HOST, later.port)
    cluster.wait_until_whole()


def _spawned(home: Path, port: int) -> "subprocess.Popen[bytes]":
    options = {
        "--port": str(port),
        "--bind": HOST,
        "--dir": ".",
        "--save": "",
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--cluster-enabled": "yes",
        "--cluster-config-file": "nodes.conf",
        "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "--daemonize": "no",
    }
    argv = [str(_executable(home)), *(part for option in options.items() for part in option)]
    with (home / "redis.log").open("ab") as log:
        return subprocess.Popen(
            leashed(argv), cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _executable(home: Path) -> Path:
    """The program itself, or an executable copy: unpacking a wheel can lose the permission to run it."""
    program = redis_program()
    if os.access(program, os.X_OK):
        return program
    copy = home / program.name
    if not copy.exists():
        shutil.copyfile(program, copy)
        copy.chmod(0o700)
    return copy


@contextmanager
def _ports() -> Iterator[int]:
    """A port that is free together with its bus port; both stay ours, bound but not listening, until the block ends."""
    while True:
        port = random.choice(_PORTS)
        with ExitStack() as held:
            try:
                for number in (port, port + _BUS_ABOVE):
                    held.enter_context(_held(number))
            except OSError:
                continue
            yield port
            return


@contextmanager
def _held(port: int) -> Iterator[None]:
    with socket.socket() as bound:
        bound.bind((HOST, port))
        if sys.platform == "linux":
            # Set only now, as in deployment.ports: a server may listen beside a holder that does not.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            bound.close()
        yield


def _wait_for(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(redis.RedisError):
            if ready():
                return
        time.sleep(_POLL_S)
    raise AssertionError(f"{what} was not ready within {_READY_TIMEOUT_S:g} s")


def _answers(node: Node) -> bool:
    if node.process.poll() is not None:
        raise AssertionError(f"node {node.port} ended: {node.log[-500:]}")
    # Its own pid: another server may have taken the port.
    return bool(node.client.info("server")["process_id"] == node.process.pid)


def _is_whole(node: Node) -> bool:
    told: Any = node.client.execute_command("CLUSTER INFO")
    return bool(told["cluster_state"] == "ok" and told["cluster_slots_ok"] == str(SLOTS))


def _owners(node: Node) -> tuple[tuple[int, int, int], ...]:
    slots: Any = node.client.execute_command("CLUSTER SLOTS")
    return tuple(sorted((int(first), int(last), int(primary[1])) for first, last, primary, *_ in slots))
