"""Whether one noisy caller spoils another's answers: a server pinned to one core, h2load, a caller with a deadline.

The well-behaved caller asks RATE times a second at Poisson instants, on a connection of its own, for the top 10 of 100
categories, and gives each call 100 ms. Rounds interleave four scenes:

    quiet                nobody else calls
    one_connection       h2load keeps 1,000 calls going on one connection: the server takes some of them at a time
    many_connections     h2load keeps 16 connections of 100 calls each going
    many_but_limited     the same, where the access file lets the noisy caller make 50 calls a second

The server has one core for itself; h2load, Redis, the consumers and the caller share the others. h2load does not look
at gRPC's status: what the noisy caller got is read from the server's metrics.
"""

import os
import random
import shutil
import statistics
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from rich.table import Table

from behavior.errors import BadInput, OpportuneError
from opportune.demonstration import HOUSEHOLD, clear, replay_settings, start
from opportune.processes import children
from opportune.supervise import Process, running
from scoring.v1 import scoring_pb2 as wire

METHOD = "/scoring.v1.Scoring/Score"
RATE, SECONDS, DEADLINE_S, SEED = 20, 10, 0.1, 7
# Until h2load's connections stand and the server works at its limit.
SETTLE_S = 1.5
TOKENS = {"polite": "the polite caller", "noisy": "the noisy caller"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Connections and calls on each of the noise, and how many a second the access file allows (0: all)."""

    connections: int
    calls_each: int
    calls_per_s: int = 0


SCENES = {
    "quiet": Scene(0, 0),
    "one_connection": Scene(1, 1000),
    "many_connections": Scene(16, 100),
    "many_but_limited": Scene(16, 100, calls_per_s=50),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What the well-behaved caller got, over all rounds; latencies are of its OK answers, medians over rounds."""

    calls: int
    share_inside_deadline: float
    least_share_of_a_round: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    noise_answers_per_s: float
    noise_statuses: dict[str, int]


@dataclass(frozen=True, slots=True)
class OverloadBench:
    """What was measured; see the module."""

    rounds: int
    deadline_ms: float
    calls_per_s: float
    server_core: int
    resident_mb_before: float
    resident_mb_after: float
    scenes: dict[str, Kept]


@dataclass(frozen=True, slots=True)
class _Round:
    statuses: Counter[str]
    latencies_ms: list[float]
    noise: Counter[str]
    seconds: float


def measure(home: Path, rounds: int) -> OverloadBench:
    """Start everything on a replay of the demo's year, and measure every scene in every round."""
    if shutil.which("h2load") is None:
        raise BadInput("h2load is not on PATH; install nghttp2-client")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BadInput("the server needs a core for itself, and there is one only")
    settings, live = replay_settings(home)
    clear(live)
    with TemporaryDirectory() as temporary, _on(cores[1:]):
        access = Path(temporary) / "access.toml"
        _let_in(access, 0)
        live = live.replaced(access_file=access)
        up = running(live, children(live), prepare=lambda reached: start(settings, reached, lambda *_: None))
        with up as deployment:
            server = deployment["serve"]
            _pin(server.popen.pid, {cores[0]})
            address = f"{server.place.host}:{server.place.port}"
            body = _body(address, Path(temporary))
            before = _resident_mb(server.popen.pid)
            seen: dict[str, list[_Round]] = {name: [] for name in SCENES}
            for number in range(rounds):
                for name, scene in SCENES.items():
                    _let_in(access, scene.calls_per_s)
                    time.sleep(1.0)  # the server looks at the file five times a second
                    with _noise(address, body, scene):
                        seen[name].append(_ask(server, address, body.read_bytes()[5:], SEED + number))
            after = _resident_mb(server.popen.pid)
    scenes = {name: _kept(each) for name, each in seen.items()}
    return OverloadBench(rounds, DEADLINE_S * 1000, RATE, cores[0], before, after, scenes)


def render(found: OverloadBench) -> Table:
    """The figures as a table for people."""
    table = Table(
        "",
        "inside 100 ms",
        "worst round",
        "p50 ms",
        "p99 ms",
        "noise, answers/s",
        title="overload",
        title_justify="left",
    )
    for name, kept in found.scenes.items():
        table.add_row(
            name, f"{kept.share_inside_deadline:.2%}", f"{kept.least_share_of_a_round:.2%}", f"{kept.p50_ms:.1f}",
            f"{kept.p99_ms:.1f}", f"{kept.noise_answers_per_s:.0f}",
        )  # fmt: skip
    table.caption = f"{found.rounds} rounds of {SECONDS} s at {found.calls_per_s:g} calls a second"
    return table


def _let_in(access: Path, noisy_per_s: int) -> None:
    limit = {"polite": "", "noisy": f"calls_per_s = {noisy_per_s}\n" if noisy_per_s else ""}
    staging = access.with_suffix(".part")
    staging.write_text(
        "".join(
            f'[callers.{name}]\ntoken_sha256 = ["{sha256(token.encode()).hexdigest()}"]\nmay = ["score"]\n{limit[name]}'
            for name, token in TOKENS.items()
        )
    )
    staging.replace(access)


def _body(address: str, directory: Path) -> Path:
    """A request as one message of gRPC's wire: no compression, its length, its bytes."""
    shown = (("authorization", f"Bearer {TOKENS['polite']}"),)
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        asked = wire.ScoreRequest(user_id=HOUSEHOLD).SerializeToString()
        answer = wire.ScoreResponse.FromString(channel.unary_unary(METHOD)(asked, timeout=10, metadata=shown))
    request = wire.ScoreRequest(
        user_id=HOUSEHOLD, candidates=[each.candidate for each in answer.ranked], top_k=10
    ).SerializeToString()
    file = directory / "request.bin"
    file.write_bytes(b"\x00" + len(request).to_bytes(4, "big") + request)
    return file


@contextmanager
def _noise(address: str, body: Path, scene: Scene) -> Iterator[None]:
    if not scene.connections:
        yield
        return
    command = ["h2load", f"http://{address}{METHOD}", "-c", str(scene.connections), "-m", str(scene.calls_each)]
    command += ["-D", str(SECONDS + 60), "-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    command += ["-H", f"authorization: Bearer {TOKENS['noisy']}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(SETTLE_S)
            yield
            if process.poll() is not None:
                raise OpportuneError(f"h2load ended with {process.returncode} before the round did")
        finally:
            process.kill()


def _ask(server: Process, address: str, request: bytes, seed: int) -> _Round:
    """One round of the well-behaved caller: what became of each call that was due, and how long the good ones took."""
    drawn, due, instants = random.Random(seed), 0.0, []
    while (due := due + drawn.expovariate(RATE)) < SECONDS:
        instants.append(due)
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    shown = (("authorization", f"Bearer {TOKENS['polite']}"),)
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel, ThreadPoolExecutor(16) as pool:
        call = channel.unary_unary(METHOD)
        grpc.channel_ready_future(channel).result(timeout=10)

        def asked() -> None:
            began = time.perf_counter()
            try:
                call(request, timeout=DEADLINE_S, metadata=shown)
            except grpc.RpcError as error:
                statuses[error.code().name] += 1
            else:
                statuses["OK"] += 1
                latencies.append((time.perf_counter() - began) * 1000)

        counted, began = _statuses(server), time.monotonic()
        for instant in instants:
            time.sleep(max(0.0, began + instant - time.monotonic()))
            pool.submit(asked)
        pool.shutdown()
        seconds = time.monotonic() - began
        noise = _statuses(server) - counted
    noise.subtract(statuses)
    return _Round(statuses, latencies, +noise, seconds)


def _statuses(server: Process) -> Counter[str]:
    """How many Score calls the server has answered, by status."""
    found: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://{server.place.host}:{server.place.metrics_port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith('opportune_requests_total{code="') and 'method="Score"' in line:
                found[line.split('"')[1]] += int(float(line.rpartition(" ")[2]))
    return found


def _kept(rounds: list[_Round]) -> Kept:
    statuses, noise = Counter[str](), Counter[str]()
    for each in rounds:
        statuses += each.statuses
        noise += each.noise
    shares = [each.statuses["OK"] / each.statuses.total() for each in rounds]
    return Kept(
        statuses.total(), statuses["OK"] / statuses.total(), min(shares),
        _median(rounds, 0.5), _median(rounds, 0.99), dict(statuses),
        noise.total() / sum(each.seconds for each in rounds), dict(noise),
    )  # fmt: skip


def _median(rounds: list[_Round], quantile: float) -> float:
    each = [sorted(round_.latencies_ms) for round_ in rounds if round_.latencies_ms]
    return statistics.median(found[int(len(found) * quantile)] for found in each) if each else float("nan")


@contextmanager
def _on(cores: list[int]) -> Iterator[None]:
    """This process and what it starts stay on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pin(pid: int, cores: set[int]) -> None:
    """Every thread of a process on these cores; threads that it starts later inherit it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
