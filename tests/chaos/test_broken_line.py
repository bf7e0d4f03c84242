"""A real server process whose Redis is frozen, cut off, slow or flapping, asked all the while.

Every call is answered, and says what it had to do without; afterwards everything is as before. How fast that goes is
measured by `opportune bench faults`, with the very same server, line and caller.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from behavior.event import HOUR_US, MINUTE_US
from deployment.redis_server import RedisServer, redis_server
from opportune.processes import children
from opportune.supervise import running
from scoring.v1 import scoring_pb2 as wire
from tests.benchmarks.faults import FAULTS, Break, heal
from tests.chaos.asking import Asker, Heard, told
from tests.chaos.line import Line
from tests.scoring.online import Online
from tests.scoring.small import CATEGORIES, START, make_bundle, make_current, pseudonym, purchase, settings_in

USERS = tuple(f"household {number}" for number in range(6))
FAULT_S = 1.5


@dataclass(frozen=True, slots=True)
class Scene:
    """A server that serves, its Redis and the line between the two, and somebody who asks for USERS."""

    line: Line
    redis: RedisServer
    asker: Asker
    metrics_port: int


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home: Path = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(home / "redis"))
        line = stack.enter_context(Line(redis.port))
        settings = settings_in(home, redis.url, "x")
        make_current(settings.bundles, make_bundle(settings.bundles))
        online = Online(settings)
        for number, user in enumerate(USERS):
            category = CATEGORIES[number % len(CATEGORIES)]
            online.append([purchase(pseudonym(settings, user), category, START - HOUR_US, f"m{number}")])
        online.advance(START + MINUTE_US)
        online.fold()
        online.client.close()
        behind = settings.replaced(redis_url=line.url)
        serve = [child for child in children(behind) if child.serves]
        place = stack.enter_context(running(behind, serve))["serve"].place
        asker = stack.enter_context(Asker(f"{place.host}:{place.port}", [question(user) for user in USERS]))
        yield Scene(line, redis, asker, place.metrics_port)


def question(user: str) -> wire.ScoreRequest:
    """All categories, for a user."""
    kind = wire.CANDIDATE_KIND_CATEGORY
    return wire.ScoreRequest(user_id=user, candidates=[wire.Candidate(kind=kind, id=each) for each in CATEGORIES])


def recovered(scene: Scene) -> bool:
    """Whether nothing is degraded any more."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if all(each.reasons == () for each in scene.asker.each_once()):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("name", "break_it"), FAULTS.items())
def test_whatever_is_broken_every_call_is_answered_and_says_so(scene: Scene, name: str, break_it: Break) -> None:
    """All calls are OK; degraded are those, and only those, that Redis did not answer; the server counts the same."""
    assert recovered(scene)
    before = told(scene.metrics_port)
    asking = scene.asker.open_loop(rate=40, seconds=FAULT_S + 1, seed=1)
    time.sleep(0.5)
    break_it(scene.line, scene.redis)
    time.sleep(FAULT_S)
    heal(scene.line, scene.redis)
    heard: list[Heard] = asking.result()
    counted = told(scene.metrics_port).since(before)
    assert len(heard) > 50
    assert {each.status for each in heard} == {"OK"}
    degraded = [each.reasons for each in heard if each.reasons]
    assert set(degraded) <= {("state_cached", "clock_unavailable")}, "everybody was read before"
    assert counted.statuses["OK"] == max(counted.lateness.values()) == len(heard)
    assert counted.reasons.get("state_cached", 0) == len(degraded)
    if name != "none":
        assert degraded
    assert recovered(scene)


def test_what_is_not_broken_is_not_degraded(scene: Scene) -> None:
    """The control: without a fault the same caller hears of nothing, else the test above could not fail."""
    assert recovered(scene)
    assert {each.reasons for each in scene.asker.open_loop(rate=40, seconds=1, seed=2).result()} == {()}
