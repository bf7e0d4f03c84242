"""What goes wrong in a real deployment reaches a webhook within 30 seconds, and is said to be over when it is.

`make test-ops`; needs a Prometheus and an Alertmanager on this machine.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deployment.ports import ReservedPort
from deployment.redis_server import RedisServer, redis_server
from deployment.settings import Settings
from tests.ops.monitoring import HOST, Webhook, monitored, wait_until_answers
from tests.scoring.server_processes import ServerProcess, learner_process, ready_to_serve
from tests.scoring.small import settings_in

pytestmark = [pytest.mark.ops, pytest.mark.timeout(300)]
# From what goes wrong until somebody is told; and until they are told that it is over, which Alertmanager does not say
# sooner than its group interval of 30 s allows.
TOLD_S, OVER_S = 30.0, 75.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment that is watched."""

    settings: Settings
    redis: RedisServer
    server: ServerProcess
    webhook: Webhook


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A scorer and a learner on a Redis of their own, scraped."""
    home = tmp_path_factory.mktemp("ops")
    with redis_server(home / "redis") as redis, ReservedPort(HOST) as of_serve, ReservedPort(HOST) as of_learn:
        settings = ready_to_serve(settings_in(home, redis.url, "ops"))
        targets = {"serve": f"{HOST}:{of_serve.port}", "learn": f"{HOST}:{of_learn.port}"}
        with (
            learner_process(settings.replaced(metrics_port=of_learn.port)),
            ServerProcess(settings, metrics_port=of_serve.port) as server,
        ):
            for target in targets.values():
                wait_until_answers(f"http://{target}/metrics")
            with monitored(home, targets) as webhook:
                time.sleep(5)  # some scrapes of how it is when all is well
                yield Watched(settings, redis, server, webhook)


def test_a_frozen_learner(watched: Watched) -> None:
    """The operator's switch is an alert as long as it is on."""

    def switch(to: str) -> float:
        argv = [sys.executable, "-m", "opportune", "learner", to]
        subprocess.run(argv, env=watched.settings.child_environment(), check=True, stdout=subprocess.DEVNULL)
        return time.monotonic()

    _told("LearnerFrozen", watched, switch("freeze"))
    _over("LearnerFrozen", watched, switch("thaw"))


def test_a_frozen_redis(watched: Watched) -> None:
    """A Redis that takes connections and says nothing."""
    os.kill(watched.redis.pid, signal.SIGSTOP)
    try:
        _told("RedisUnreachable", watched, time.monotonic())
    finally:
        os.kill(watched.redis.pid, signal.SIGCONT)
    _over("RedisUnreachable", watched, time.monotonic())


def test_a_dead_scorer(watched: Watched) -> None:
    """kill -9, and a start anew."""
    watched.server.kill()
    _told("ScorerDown", watched, time.monotonic())
    watched.server.start_again()
    _over("ScorerDown", watched, time.monotonic())


def _told(alert: str, watched: Watched, since: float) -> None:
    print(f"{alert}: told after {watched.webhook.wait_for(alert, 'firing', since, TOLD_S):.1f} s")


def _over(alert: str, watched: Watched, since: float) -> None:
    print(f"{alert}: over after {watched.webhook.wait_for(alert, 'resolved', since, OVER_S):.1f} s")
