"""Workers on one port: real processes that die, are refused, and are counted."""

import http.client
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from behavior.errors import BadInput
from deployment.ports import ReservedPort
from deployment.settings import Settings
from opportune import workers
from opportune.worker_metrics import labelled
from opportune.workers import Workers, supervise
from scoring.client import Client
from tests.scoring.server_processes import USER, Callers, ServerProcess, ready_to_serve
from tests.scoring.small import CATEGORIES, make_bundle, make_current, settings_in


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str) -> Settings:
    """A deployment in which USER has bought tea, folded, with a current bundle."""
    return ready_to_serve(settings_in(tmp_path, redis_url, prefix))


def pids(server: ServerProcess) -> list[int]:
    """The workers that were started, in their order."""
    return [int(pid) for pid in re.findall(r"worker \d+ starts, pid (\d+)", server.told())]


def page(server: ServerProcess) -> dict[tuple[str, str], float]:
    """The server's metrics, by name and worker; labels of their own left away, their values added up."""
    port = int(re.findall(r"metrics on http://127\.0\.0\.1:(\d+)/", server.told())[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("worker", ""))
            found[key] = found.get(key, 0.0) + sample.value
    return found


def both_serve(server: ServerProcess) -> bool:
    """Whether both workers say that they serve."""
    told = page(server)
    return all(told.get(("opportune_serving", worker)) == 1.0 for worker in "01")


def requests(told: dict[tuple[str, str], float]) -> float:
    """The calls that all workers together have answered."""
    return sum(value for (name, _), value in told.items() if name == "opportune_requests_total")


def test_a_worker_that_dies_is_started_again_and_nobody_notices(settings: Settings) -> None:
    """kill -9 of a worker under load fails no call; metrics tell each worker's own, and that one was started again."""
    with ServerProcess(settings, workers=2) as server:
        server.wait_until(lambda: len(pids(server)) == 2)
        first, second = pids(server)
        server.wait_until(lambda: both_serve(server))
        with Callers(server.address, threads=4) as callers:
            for victim in (first, second):
                started = len(pids(server))
                os.kill(victim, signal.SIGKILL)
                server.wait_until(lambda started=started: len(pids(server)) == started + 1)
                server.wait_until(lambda: both_serve(server))
                callers.wait_for_more(100)
        assert callers.failures == []
        told = page(server)
        assert told["opportune_worker_restarts_total", ""] == 2.0
        assert told["opportune_workers", ""] == 2.0
        before = requests(told)
        with Client(server.address) as client:
            for _ in range(10):
                client.score(USER, candidates=CATEGORIES)
        assert requests(page(server)) == before + 10
        assert server.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids(server))


def test_a_new_worker_that_does_not_serve_leaves_the_old_ones(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the current bundle is damaged, new processes never listen beside the old ones, and are given up."""
    monkeypatch.setattr(workers, "READY_TIMEOUT_S", 8.0)
    stopping = threading.Event()
    with ReservedPort(settings.host) as reserved:
        shared = settings.replaced(port=reserved.port, workers=2)
        pool = Workers(shared, CollectorRegistry())
        try:
            pool.start(stopping)
            with Client(f"{settings.host}:{reserved.port}", deadline_s=10.0) as client:
                while not all("opportune_serving 1.0" in each for each in pool.pages().values()):
                    stopping.wait(0.1)
                served = client.score(USER, candidates=CATEGORIES).bundle_id
                damaged = make_bundle(settings.bundles, seed=1)
                make_current(settings.bundles, damaged)
                (settings.bundles / "purchase_7d" / damaged / "golden.npz").write_bytes(b"damaged")
                before = pool.pages().keys()
                pool.replace(stopping)
                assert pool.pages().keys() == before
                assert "the old ones stay" in caplog.text
                assert client.score(USER, candidates=CATEGORIES).bundle_id in (served, damaged)
        finally:
            pool.stop()


def test_a_port_where_somebody_else_listens_is_refused(settings: Settings) -> None:
    """Before any worker is started, whoever it is."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(BadInput, match="another process listens"),
    ):
        supervise(settings.replaced(port=other.getsockname()[1], workers=2))


def test_what_is_wrong_at_the_start_is_said_once(settings: Settings) -> None:
    """Without a key the first worker says so, no second one is started, and the exit status is 1."""
    settings.key_file.unlink()
    with pytest.raises(AssertionError, match="ended with exit code 2"), ServerProcess(settings, workers=2):
        pass
    told = (next(settings.home.glob("serve-*.log"))).read_text()
    assert told.count("opportune key") == 1
    assert told.count("starts, pid") == 1


def test_pages_of_workers_are_one_page() -> None:
    """Families are told once, with the samples of all; labels of their own, histograms and counters stay."""
    page = (
        '# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{code="OK"} 3.0\n'
        "# HELP s Seconds.\n# TYPE s histogram\n"
        's_bucket{le="1.0"} 1.0\ns_bucket{le="+Inf"} 2.0\ns_count 2.0\ns_sum 4.0\n'
    )
    families = {each.name: each for each in labelled({"0": page, "1": page})}
    assert sorted(families) == ["calls", "s"]
    assert [each.labels for each in families["calls"].samples] == [
        {"code": "OK", "worker": "0"}, {"code": "OK", "worker": "1"}
    ]  # fmt: skip
    assert families["s"].type == "histogram"
    assert len(families["s"].samples) == 8
