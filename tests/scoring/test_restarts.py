"""Servers come, go and change what they serve while callers ask: no call fails, no answer is mixed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from behavior.calibration import Calibration
from deployment.settings import Settings
from scoring.client import Client
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.server_processes import USER, Callers, ServerProcess, distinct, ready_to_serve
from tests.scoring.small import CATEGORIES, make_bundle, make_current, settings_in

TIMES = [2, pytest.param(10, marks=pytest.mark.prove)]


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str) -> Settings:
    """A deployment in which USER has bought tea, folded, with a current bundle."""
    return ready_to_serve(settings_in(tmp_path, redis_url, prefix))


def failures_while_in_turn(
    settings: Settings, times: int, end: Callable[[ServerProcess], object], calls: int = 20
) -> list[Exception]:
    """What failed of the calls to two servers of which one is ended and started anew, then the other, and so on.

    calls    so many more are answered before the next thing happens
    """
    with (
        ServerProcess(settings) as first,
        ServerProcess(settings) as second,
        Callers(first.address, second.address) as callers,
    ):
        for number in range(times):
            server = (first, second)[number % 2]
            end(server)
            callers.wait_for_more(calls)
            server.start_again()
            callers.wait_for_more(calls)
    return callers.failures


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.prove)])
def test_workers_on_one_port_are_replaced_without_a_failed_call(times: int, settings: Settings) -> None:
    """SIGHUP puts new processes in the place of all workers; callers of the one address notice nothing."""
    with ServerProcess(settings, workers=2) as server, Callers(server.address) as callers:
        for _ in range(times):
            server.replace_workers()
            callers.wait_for_more()
    assert callers.failures == []
    assert len(distinct(callers.answers)) == 1
    assert server.popen.returncode == 0


@pytest.mark.parametrize("times", TIMES)
def test_servers_are_restarted_in_turn_without_a_failed_call(times: int, settings: Settings) -> None:
    """SIGTERM to one of two servers and a start anew, then to the other: callers of both addresses notice nothing."""

    def stop(server: ServerProcess) -> None:
        assert server.stop() == 0

    assert failures_while_in_turn(settings, times, stop) == []


@pytest.mark.parametrize("times", TIMES)
def test_kill_9_of_one_of_two_servers_fails_no_call(times: int, settings: Settings) -> None:
    """Calls in flight to the killed server are repeated at the other, which answers alone until it is back."""
    assert failures_while_in_turn(settings, times, ServerProcess.kill, calls=100) == []


@pytest.mark.parametrize("times", TIMES)
def test_ten_reloads_fail_no_call_and_mix_no_answer(times: int, settings: Settings) -> None:
    """Each answer under reloads is, to the last bit, the one that its bundle gives alone.

    The two bundles are one model whose margins are calibrated one apart, so that a mixture would be seen.
    """
    bundles = [make_bundle(settings.bundles, calibration=Calibration(1.0, shift)) for shift in (0.0, 1.0)]
    alone: dict[str, wire.ScoreResponse] = {}
    with ServerProcess(settings) as server, Client(server.address) as client:

        def answers_with(bundle_id: str) -> bool:
            answer = client.score(USER, candidates=CATEGORIES)
            if answer.bundle_id == bundle_id:
                alone[bundle_id] = distinct([answer])[0]
            return answer.bundle_id == bundle_id

        for bundle_id in bundles:
            make_current(settings.bundles, bundle_id)
            server.wait_until(lambda bundle_id=bundle_id: answers_with(bundle_id))
        with Callers(server.address) as callers:
            for number in range(times):
                make_current(settings.bundles, bundles[number % 2])
                server.wait_until(lambda number=number: answers_with(bundles[number % 2]))
                callers.wait_for_more()
    assert callers.failures == []
    assert mixed(callers.answers, alone) == []
    assert {each.bundle_id for each in callers.answers} == set(bundles)
    assert_a_mixture_would_be_seen(*(alone[bundle_id] for bundle_id in bundles))


def mixed(answers: list[wire.ScoreResponse], alone: dict[str, wire.ScoreResponse]) -> list[wire.ScoreResponse]:
    """The answers that are not what their bundle gives alone."""
    return [each for each in distinct(answers) if each != alone[each.bundle_id]]


def assert_a_mixture_would_be_seen(first: wire.ScoreResponse, second: wire.ScoreResponse) -> None:
    """The control: margins are one apart, and one answer's numbers under the other's name are found."""
    for one, other in zip(first.ranked, second.ranked, strict=True):
        assert one.candidate.id == other.candidate.id
        assert other.factors[0].value == pytest.approx(one.factors[0].value + 1.0)
        assert other.propensities[0].value > one.propensities[0].value
    alone = {each.bundle_id: each for each in (first, second)}
    for field in ("bundle_id", "ranked"):
        mixture = wire.ScoreResponse()
        mixture.CopyFrom(first)
        mixture.ClearField(field)
        mixture.MergeFrom(second if field == "ranked" else wire.ScoreResponse(bundle_id=second.bundle_id))
        if field == "ranked":
            mixture.bundle_id = first.bundle_id
        assert mixed([mixture], alone) == [mixture]
