"""A real Prometheus and Alertmanager as deployed, scraping every second, and a webhook that hears what they say."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from deployment.leash import leashed
from deployment.ports import ReservedPort

DEPLOY = Path(__file__).parents[2] / "deploy"
HOST = "127.0.0.1"
BINARIES = ("prometheus", "prometheus-alertmanager")


class Webhook:
    """What Alertmanager has said: per alert, when it was first told to be firing and last to be resolved."""

    def __init__(self) -> None:
        self._said: list[tuple[float, str, str]] = []
        said = self._said

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said.extend((time.monotonic(), each["labels"]["alertname"], each["status"]) for each in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, alert: str, status: str, since: float, within_s: float) -> float:
        """Seconds from an instant (`time.monotonic`) until the alert was said to be `firing` or `resolved`."""
        while time.monotonic() < since + within_s:
            heard = [at for at, name, its in list(self._said) if (name, its) == (alert, status) and at > since]
            if heard:
                return heard[0] - since
            time.sleep(0.05)
        told = sorted({(name, its) for at, name, its in self._said if at > since})
        pytest.fail(f"{alert} was not said to be {status} within {within_s:g} s; heard: {told}")


@contextmanager
def monitored(home: Path, targets: Mapping[str, str]) -> Iterator[Webhook]:
    """Prometheus and Alertmanager with what is in `deploy`, but for addresses and how often Prometheus looks.

    targets    host:port of each process's metrics
    """
    missing = [name for name in BINARIES if shutil.which(name) is None]
    if missing:
        pytest.fail(f"{' and '.join(missing)} missing; install them, on Debian: apt-get install {' '.join(BINARIES)}")
    with closing(Webhook()) as webhook, ReservedPort(HOST) as ours, ReservedPort(HOST) as theirs:
        alerting = _written(home / "alertmanager.yml", _of_alertmanager(webhook.url))
        scraping = _written(home / "prometheus.yml", _of_prometheus(targets, f"{HOST}:{theirs.port}"))
        alertmanager = ["prometheus-alertmanager", f"--config.file={alerting}", f"--storage.path={home / 'alerts'}",
                        f"--web.listen-address={HOST}:{theirs.port}", "--cluster.listen-address="]  # fmt: skip
        prometheus = ["prometheus", f"--config.file={scraping}", f"--storage.tsdb.path={home / 'metrics'}",
                      f"--web.listen-address={HOST}:{ours.port}"]  # fmt: skip
        with _running(alertmanager, theirs.port, home), _running(prometheus, ours.port, home):
            yield webhook


def wait_until_answers(url: str, within_s: float = 60.0) -> None:
    """Until a page is there."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)


def _of_prometheus(targets: Mapping[str, str], alertmanager: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    found["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    found["rule_files"] = [str(DEPLOY / "alerts" / "*.yml")]
    found["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    jobs = found["scrape_configs"][0]["static_configs"]
    jobs[:] = [{**job, "targets": [targets[name]]} for job in jobs if (name := job["labels"]["process"]) in targets]
    return found


def _of_alertmanager(webhook: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())
    found["receivers"][0]["webhook_configs"][0]["url"] = webhook
    return found


def _written(path: Path, what: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(what)))
    return path


@contextmanager
def _running(argv: list[str], port: int, home: Path) -> Iterator[None]:
    with (home / f"{argv[0]}.log").open("ab") as log:
        process = subprocess.Popen(leashed(argv), stdout=log, stderr=log)
    try:
        wait_until_answers(f"http://{HOST}:{port}/-/ready")
        yield
    finally:
        process.terminate()
        process.wait(20)
