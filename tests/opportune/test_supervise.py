"""The supervisor, with small real child processes and a real Redis."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import redis

from behavior.errors import BadInput
from deployment.settings import Settings, load
from opportune.addresses import address_file, attached, read_addresses
from opportune.readiness import answers_metrics, serves_grpc
from opportune.supervise import Child, ChildEnded, running

SOURCE = Path(__file__).parents[2] / "src"

# Like the real ones: told where to listen by the environment, /metrics, a line on SIGTERM, an end when told so.
WORKER = """
import os, signal, sys, time
import prometheus_client, redis

def stop(*_):
    with open(os.environ["OPPORTUNE_HOME"] + "/order", "a") as order:
        order.write(sys.argv[1] + "\\n")
    redis.Redis.from_url(os.environ["OPPORTUNE_REDIS_URL"]).incr("stopped while redis still ran")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print("worker", sys.argv[1], "starts", flush=True)
if "fail" in sys.argv:
    sys.exit("no such plan")
prometheus_client.start_http_server(int(os.environ["OPPORTUNE_METRICS_PORT"]), addr=os.environ["OPPORTUNE_HOST"])
while True:
    time.sleep(60)
"""

SERVER = """
import os, signal, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_health.v1 import health, health_pb2_grpc

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
server = grpc.server(ThreadPoolExecutor(2))
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
assert server.add_insecure_port(f"{os.environ['OPPORTUNE_HOST']}:{os.environ['OPPORTUNE_PORT']}")
server.start()
stop.wait()
server.stop(0).wait()
with open(os.environ["OPPORTUNE_HOME"] + "/order", "a") as order:
    order.write("serve\\n")
"""


def worker(name: str, *options: str) -> Child:
    return Child(name, (sys.executable, "-c", WORKER, name, *options), ready=answers_metrics)


def server() -> Child:
    return Child("serve", (sys.executable, "-c", SERVER), ready=serves_grpc, serves=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(home=tmp_path / "a home")


def test_everything_is_ready_findable_and_stopped_in_order(settings: Settings) -> None:
    """In the block all answer and up.json says where; after it, server first and Redis last, nothing is left."""
    with running(settings, [server(), worker("fold"), worker("learn")]) as up:
        place = up["serve"].place
        assert serves_grpc(place)
        assert answers_metrics(up["fold"].place)
        assert up.redis is not None
        assert up.settings.port == place.port
        found = read_addresses(settings.run)
        assert found == up.addresses
        assert address_file(settings.run).stat().st_mode & 0o077 == 0
        client = attached(settings)
        assert (client.redis_url, client.host, client.port) == (up.redis.url, "127.0.0.1", place.port)
        pids = list(up.addresses.pids.values())
    assert (settings.home / "order").read_text().split() == ["serve", "fold", "learn"]
    assert read_addresses(settings.run) is None
    assert not any(_alive(pid) for pid in pids)
    with running(settings, []) as again:
        assert redis.Redis.from_url(again.settings.redis_url or "").get("stopped while redis still ran") == b"2"


def test_a_child_that_ends_is_named_with_its_log(settings: Settings) -> None:
    """A child that dies while everything runs ends the watch: its name, how it died, the end of its log."""
    with (
        pytest.raises(ChildEnded, match=r"(?s)fold was killed by SIGKILL; the end of .*fold\.log:.*worker fold starts"),
        running(settings, [worker("fold"), worker("learn")]) as up,
    ):
        survivor = up["learn"].popen.pid
        os.kill(up["fold"].popen.pid, signal.SIGKILL)
        up.watch(threading.Event())
    assert not _alive(survivor)
    assert not address_file(settings.run).exists()


def test_a_child_that_does_not_start_stops_the_rest(settings: Settings) -> None:
    """A child that ends before it is ready is reported with its exit code, and those that run are stopped."""
    before = _children()
    with (
        pytest.raises(ChildEnded, match=r"(?s)learn ended with exit code 1; .*no such plan"),
        running(settings, [worker("fold"), worker("learn", "fail")]),
    ):
        pytest.fail("the block must not begin")
    assert _children() == before


def test_the_end_of_our_redis_is_noticed(settings: Settings) -> None:
    """Without Redis nothing works, so its end is everybody's."""
    with pytest.raises(ChildEnded, match="redis ended"), running(settings, []) as up:
        assert up.redis is not None
        os.kill(up.redis.pid, signal.SIGKILL)
        up.watch(threading.Event())


def test_a_second_one_in_the_same_home_is_refused(settings: Settings, tmp_path: Path) -> None:
    """One supervisor per home; another home on the same machine gets other ports and another Redis."""
    with running(settings, [worker("fold")]) as first:
        with pytest.raises(BadInput, match="already runs in"), running(settings, []):
            pass
        with running(load(home=tmp_path / "other"), [worker("fold")]) as second:
            assert first["fold"].place != second["fold"].place
            assert first.settings.redis_url != second.settings.redis_url


def test_a_given_redis_and_ports_are_used(settings: Settings, redis_url: str, prefix: str) -> None:
    """What somebody chose is not chosen again: no Redis of our own, metrics from the given port upward."""
    with running(settings, []) as spare:
        assert spare.redis is not None
        free = spare.redis.port  # free again after the block, and nobody else's for the moment
    given = settings.replaced(redis_url=redis_url, redis_prefix=prefix, metrics_port=free)
    with running(given, [worker("fold")]) as up:
        assert up.redis is None
        assert up["fold"].place.metrics_port == free


def test_preparation_comes_after_redis_and_before_the_children(settings: Settings) -> None:
    """The hook meets a Redis that answers and no child, so that it can rebuild what they start from."""
    seen: list[object] = []

    def prepare(reached: Settings) -> None:
        seen.append(redis.Redis.from_url(reached.redis_url or "").ping())
        seen.append((settings.run / "fold.log").exists())

    with running(settings, [worker("fold")], prepare=prepare):
        assert seen == [True, False]


def test_a_stop_while_starting_interrupts(settings: Settings) -> None:
    """Ctrl-C while a child is not ready yet ends the waiting."""
    stop = threading.Event()
    stop.set()
    never = Child("fold", (sys.executable, "-c", "import time; time.sleep(60)"), ready=lambda place: False)
    with pytest.raises(KeyboardInterrupt), running(settings, [never], stop=stop):
        pass


def test_addresses_never_hold_a_password(settings: Settings, redis_url: str) -> None:
    """A Redis whose URL holds credentials is not written down; its user's settings know it."""
    secret = redis_url.replace("redis://", "redis://default:@")
    with running(settings.replaced(redis_url=secret), []) as up:
        assert up.addresses.redis_url is None
        assert "default" not in address_file(settings.run).read_text()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own that runs `opportune up` with workers in place of the real children."""
    script = (
        "import sys\nfrom opportune.supervise import Child\nfrom opportune.readiness import answers_metrics\n"
        "from opportune.verbs import up\nfrom opportune.command import run\n"
        f"WORKER = {WORKER!r}\n"
        "both = [Child(n, (sys.executable, '-c', WORKER, n), answers_metrics) for n in ('a', 'b')]\n"
        "up.children = lambda settings: both\n"
        "sys.exit(run(['up']))\n"
    )
    environment = load(home=tmp_path / "home").child_environment()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=SOURCE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_cleanly_when_asked(supervisor: "subprocess.Popen[str]", sent: signal.Signals) -> None:
    """Ctrl-C and SIGTERM are how `up` ends: all children are stopped and the status is 0."""
    pids = _wait_until_up(supervisor)
    supervisor.send_signal(sent)
    out, err = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, err) == (0, "")
    assert "stopped" in out
    assert not any(_alive(pid) for pid in pids)


def test_up_fails_when_a_child_dies(supervisor: "subprocess.Popen[str]") -> None:
    """The death of a child is a failure, said on stderr, status 1."""
    pids = _wait_until_up(supervisor)
    os.kill(pids[0], signal.SIGKILL)
    _, err = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 1
    assert err.startswith("opportune: a was killed by SIGKILL")
    assert not any(_alive(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's prctl")
def test_children_die_with_a_killed_supervisor(supervisor: "subprocess.Popen[str]") -> None:
    """A supervisor killed with -9 leaves no child and no Redis behind."""
    pids = _wait_until_up(supervisor)
    supervisor.kill()
    supervisor.wait()
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_readiness_says_no_to_silence(settings: Settings) -> None:
    """Nobody there, and somebody who speaks another protocol, are both not ready."""
    with running(settings, [server(), worker("fold")]) as up:
        assert not serves_grpc(up["fold"].place)
        assert not answers_metrics(up["serve"].place)
        place = up["serve"].place
    assert not serves_grpc(place)
    assert grpc.__version__  # the real client was asked, not a double


def _wait_until_up(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready; logs are in "):
            run = Path(line.strip().removeprefix("ready; logs are in "))
            return list(json.loads(address_file(run).read_text())["pids"].values())
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def _children() -> set[int]:
    """The processes that this one has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked
        if state != "Z" and int(parent) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
