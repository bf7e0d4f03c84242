"""The server over real gRPC and a real Redis: what it answers, what it refuses, how it starts, reloads and drains."""

import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US, MINUTE_US
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import count
from deployment.archive import Archive
from deployment.bundles import bundles_at
from deployment.redis_server import redis_server
from deployment.settings import Settings
from opportune.command import run
from scoring.calls import status_of
from scoring.circuit import FAILURES
from scoring.client import Client
from scoring.rebuild import Rebuild
from scoring.server import Server, bind
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.online import Online, serving
from tests.scoring.small import (
    CATEGORIES,
    PARTITIONS,
    PLAN,
    START,
    make_bundle,
    make_current,
    pseudonym,
    purchase,
    settings_in,
)

USER = "household 1"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str, bundles: Path) -> Settings:
    return settings_in(tmp_path, redis_url, prefix, bundles=bundles)


@pytest.fixture
def online(settings: Settings) -> Online:
    """A deployment in which USER has bought tea, folded."""
    made = Online(settings)
    made.append([purchase(pseudonym(settings, USER), "TEA", START - HOUR_US, "m1")])
    made.advance(START + MINUTE_US)
    made.fold()
    return made


@pytest.fixture
def address(online: Online) -> Iterator[str]:
    """The address of a server that serves."""
    with serving(online.settings) as address:
        eventually(lambda: health(address) == SERVING)
        yield address


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait until it holds; fail if it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def health(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)


def raw_call(address: str, method: str, data: bytes, timeout: float = 5) -> grpc.RpcError | bytes:
    """The answer to bytes as they are, or the error."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/scoring.v1.Scoring/{method}")
        try:
            return bytes(call(data, timeout=timeout))
        except grpc.RpcError as error:
            return error


def bought(message_id: str, category: str, t: int, user: str = USER) -> dict[str, Any]:
    return {
        "message_id": message_id, "kind": "purchase", "user_id": user, "category": category, "event_time": t,
        "consent": ["personalization"],
    }  # fmt: skip


def test_the_loop_from_track_to_score(online: Online, address: str) -> None:
    """A tracked purchase is in the user's own features as soon as the fold has taken it."""
    with Client(address) as client:
        before = client.score(USER, candidates=CATEGORIES, explain=True)
        results = client.track([bought("m2", "RICE", START), bought("m2", "RICE", START)])
        assert [wire.Result.Status.Name(each.status) for each in results] == ["STATUS_ACCEPTED", "STATUS_DUPLICATE"]
        online.fold()
        after = client.score(USER, candidates=CATEGORIES, explain=True)

    def of_rice(answer: wire.ScoreResponse) -> wire.Feature:
        rice = next(each for each in answer.ranked if each.candidate.id == "RICE")
        return next(each for each in rice.features if each.name == "user_category:purchase_count_30d")

    assert of_rice(before).WhichOneof("value") is None
    assert of_rice(after).integer == 1
    assert after.as_of.ToMicroseconds() == results[0].admitted_at.ToMicroseconds() + 1
    assert not after.degraded


def test_track_works_before_there_is_anything_to_score_with(
    tmp_path: Path, redis_url: str, prefix: str, online: Online
) -> None:
    """Without bundle and snapshot events are taken, Score says what to run, and health is NOT_SERVING until both."""
    settings = settings_in(tmp_path / "own", redis_url, f"{prefix}-own")
    made = Online(settings)
    with serving(settings) as address, Client(address) as client:
        assert health(address) == health(address, "scoring.v1.Scoring") == NOT_SERVING
        assert client.track([bought("m1", "TEA", START)])[0].status == wire.Result.STATUS_ACCEPTED
        error = raw_call(address, "Score", wire.ScoreRequest(user_id=USER).SerializeToString())
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "opportune train" in error.details()
        make_current(settings.bundles, make_bundle(settings.bundles))
        made.advance(START + MINUTE_US)
        made.fold()
        eventually(lambda: health(address) == health(address, "scoring.v1.Scoring") == SERVING)
        assert [each.candidate.id for each in client.score(USER).ranked] == ["TEA"]


@pytest.mark.parametrize("method", ["Score", "Track"])
def test_bytes_that_are_no_message_are_an_invalid_argument(address: str, method: str) -> None:
    """Malformed protobuf is the caller's fault and is answered so, not as UNKNOWN."""
    error = raw_call(address, method, b"\xff\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{method}Request" in error.details()


def test_what_cannot_be_answered_is_refused_with_a_sentence(address: str) -> None:
    """Mixed kinds, too many candidates and too many events are INVALID_ARGUMENT."""
    kinds = (wire.CANDIDATE_KIND_ITEM, wire.CANDIDATE_KIND_CATEGORY)
    mixed = [wire.Candidate(kind=kind, id=str(kind)) for kind in kinds]
    error = raw_call(address, "Score", wire.ScoreRequest(user_id=USER, candidates=mixed).SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "send items and categories in two requests" in error.details()
    with Client(address) as client:
        with pytest.raises(BadInput, match="1000"):
            client.score(USER, candidates=[str(i) for i in range(1001)])
        with pytest.raises(BadInput, match="1000"):
            client.track([bought(str(i), "TEA", START) for i in range(1001)])
        assert len(client.score(USER, candidates=[str(i) for i in range(1000)]).ranked) == 1000


def test_a_message_beyond_the_limit_is_refused(address: str) -> None:
    """Five megabytes are not even parsed."""
    error = raw_call(address, "Track", b"\x00" * 5_000_000)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_reflection_lists_and_describes_the_service(address: str) -> None:
    """grpcurl and its like find the service, its methods and health."""
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="scoring.v1.Scoring"),
        ]
        listed, described = stub.ServerReflectionInfo(iter(requests))
    names = {each.name for each in listed.list_services_response.service}
    assert {"scoring.v1.Scoring", "grpc.health.v1.Health"} <= names
    file = FileDescriptorProto.FromString(described.file_descriptor_response.file_descriptor_proto[0])
    assert [method.name for method in file.service[0].method] == ["Score", "Track", "Explain"]


def test_a_bundle_is_taken_over_while_serving(tmp_path: Path, redis_url: str, prefix: str, online: Online) -> None:
    """When the pointer moves the new bundle answers, without a failed call; a damaged one does not."""
    own = settings_in(tmp_path, redis_url, prefix)
    first, second, third = (make_bundle(own.bundles, seed=seed) for seed in range(3))
    make_current(own.bundles, first)
    with serving(own) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        make_current(own.bundles, second)
        eventually(lambda: client.score(USER, candidates=CATEGORIES).bundle_id == second)
        (own.bundles / "purchase_7d" / third / "golden.npz").write_bytes(b"damaged")
        bundles_at(own.bundles).store.promote("purchase_7d", third)
        time.sleep(0.6)  # three polls: nothing must change
        assert client.score(USER, candidates=CATEGORIES).bundle_id == second
        assert health(address) == SERVING


def test_a_rollback_serves_the_previous_bundle_within_a_second(
    tmp_path: Path, redis_url: str, prefix: str, online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`opportune rollback` beside a running server: within a second it answers with the bundle before, and back."""
    own = settings_in(tmp_path, redis_url, prefix)
    first, second = (make_bundle(own.bundles, seed=seed) for seed in range(2))
    make_current(own.bundles, first)
    make_current(own.bundles, second)
    monkeypatch.setenv("OPPORTUNE_BUNDLES", str(own.bundles))
    with serving(own) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        assert client.score(USER, candidates=CATEGORIES).bundle_id == second
        for expected in (first, second):
            assert run(["rollback"]) == 0
            given = time.monotonic()
            while time.monotonic() < given + 1.0:  # the promise itself, not a measurement
                answered = client.score(USER, candidates=CATEGORIES).bundle_id
                if answered == expected:
                    break
                time.sleep(0.02)
            assert answered == expected


def test_a_damaged_pointer_leaves_the_old_bundle_serving(
    tmp_path: Path, redis_url: str, prefix: str, online: Online
) -> None:
    """A pointer in which one bit flipped names nothing; the server goes on with what it has, healthy."""
    own = settings_in(tmp_path, redis_url, prefix)
    first = make_bundle(own.bundles)
    make_current(own.bundles, first)
    pointer = own.bundles / "purchase_7d" / "current"
    with serving(own) as address, Client(address) as client:
        eventually(lambda: health(address) == SERVING)
        data = bytearray(pointer.read_bytes())
        data[-8] ^= 1
        pointer.write_bytes(data)
        time.sleep(0.6)  # three polls: nothing must change
        assert client.score(USER, candidates=CATEGORIES).bundle_id == first
        assert health(address) == SERVING
        second = make_bundle(own.bundles, seed=1)
        make_current(own.bundles, second)
        eventually(lambda: client.score(USER, candidates=CATEGORIES).bundle_id == second)


def test_without_redis_events_are_unavailable_and_answers_degraded_and_both_come_back(
    tmp_path: Path, bundles: Path
) -> None:
    """When Redis goes away no event is acknowledged, and answers say what they lack; when it is back, so is all."""
    home = tmp_path / "home"
    with redis_server(tmp_path / "redis") as server:
        port = server.port
        settings = settings_in(home, server.url, "x", bundles=bundles)
        online = Online(settings)
        online.advance(START + MINUTE_US)
        online.fold()
        with serving(settings) as address:
            eventually(lambda: health(address) == SERVING)
            track = wire.TrackRequest(events=[wire.Event(message_id="m", user_id=USER, consent=[1])])
            tea = wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id="TEA")
            asked = wire.ScoreRequest(user_id=USER, candidates=[tea])
            assert isinstance(raw_call(address, "Score", asked.SerializeToString()), bytes)
            server.stop()
            for _ in range(2 * FAILURES):
                error = raw_call(address, "Track", track.SerializeToString())
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error
                answer = wire.ScoreResponse.FromString(raw_call(address, "Score", asked.SerializeToString()))
                assert [each.candidate.id for each in answer.ranked] == ["TEA"]
                assert reasons(answer) == ["state_unavailable", "clock_unavailable"]
            with redis_server(tmp_path / "redis2", port=port) as again:
                own = Online(settings_in(home, again.url, "x", bundles=bundles))
                own.advance(START + MINUTE_US)
                eventually(lambda: isinstance(raw_call(address, "Track", track.SerializeToString()), bytes))
                with Client(address) as client:
                    eventually(lambda: reasons(client.score(USER, candidates=["TEA"])) == ["unknown_user"])


def test_a_frozen_redis_costs_an_answer_its_share_and_no_more(tmp_path: Path, bundles: Path) -> None:
    """SIGSTOP to Redis: who was answered before is answered by what is remembered, within a page's deadline."""
    with redis_server(tmp_path / "redis") as server:
        settings = settings_in(tmp_path / "home", server.url, "x", bundles=bundles)
        online = Online(settings)
        online.append([purchase(pseudonym(settings, USER), "TEA", START - HOUR_US, "m1")])
        online.advance(START + MINUTE_US)
        online.fold()
        with serving(settings) as address, Client(address) as client:
            eventually(lambda: health(address) == SERVING)
            before = client.score(USER, candidates=CATEGORIES)
            assert reasons(before) == []
            server.process.send_signal(signal.SIGSTOP)
            try:
                for _ in range(2 * FAILURES):
                    # Half of a deadline is for the state; the client retries nothing that came in time.
                    frozen = client.score(USER, candidates=CATEGORIES, deadline_s=1.0)
                    assert reasons(frozen) == ["state_cached", "clock_unavailable"]
                    assert frozen.ranked == before.ranked
                    other = client.score("somebody else", candidates=CATEGORIES, deadline_s=1.0)
                    assert reasons(other) == ["state_unavailable", "clock_unavailable"]
            finally:
                server.process.send_signal(signal.SIGCONT)
            eventually(lambda: reasons(client.score(USER, candidates=CATEGORIES)) == [])


def reasons(answer: wire.ScoreResponse) -> list[str]:
    """Why it is degraded."""
    return [each.reason for each in answer.degraded]


def test_a_stopping_server_finishes_what_it_began(tmp_path: Path, online: Online) -> None:
    """SIGTERM to the real process: NOT_SERVING at once, calls are answered during the notice, exit status 0."""
    environment = online.settings.child_environment() | {"OPPORTUNE_PORT": str(free_port())}
    address = f"127.0.0.1:{environment['OPPORTUNE_PORT']}"
    code = "from deployment.settings import load; from scoring.server import serve; serve(load())"
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = str(root / "src")
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE) as process:
        failures: list[Exception] = []
        stop = threading.Event()

        def is_serving() -> bool:
            assert process.poll() is None
            try:
                return health(address) == SERVING
            except grpc.RpcError:
                return False

        eventually(is_serving, within_s=60)

        def load() -> None:
            with Client(address) as client:
                while not stop.is_set():
                    try:
                        client.score(USER, candidates=CATEGORIES)
                    except Exception as error:
                        failures.append(error)

        caller = threading.Thread(target=load)
        caller.start()
        with grpc.insecure_channel(address) as channel:
            # Watched, not polled: the notice lasts a second, and a busy machine could sleep through it.
            watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert next(watched).status == SERVING
            process.send_signal(signal.SIGTERM)
            assert next(watched).status == NOT_SERVING
            stop.set()  # as a caller that watches health would
        caller.join()
        assert process.wait(20) == 0
        assert failures == []


def test_a_port_where_somebody_listens_is_refused(settings: Settings) -> None:
    """Two servers never share a port by accident; a port that is only reserved can be used."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BadInput, match="another process listens"):
        bind(None, "127.0.0.1", other.getsockname()[1])


def test_starting_without_redis_or_plan_is_one_clear_error(settings: Settings) -> None:
    """What is missing is named before anything is served."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        Server(settings.replaced(redis_url="redis://:secret@127.0.0.1:1/0"))
    settings.plan.unlink()
    with pytest.raises(BadInput, match="opportune apply"):
        Server(settings)


def test_a_server_with_another_plan_is_refused(settings: Settings, online: Online) -> None:
    """States of one plan are never read under another, nor with another number of partitions."""
    Server(settings)
    with pytest.raises(BadInput, match="partitions"):
        Server(settings.replaced(partitions=PARTITIONS * 2))


def test_what_is_ours_to_mend_tells_callers_nothing() -> None:
    """An unexpected error is INTERNAL and its text stays in the log."""
    code, detail = status_of(ZeroDivisionError("secret"))
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in detail


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def test_while_features_are_added_and_rebuilt_the_running_bundle_serves(online: Online, address: str) -> None:
    """Not one request fails or is answered by another bundle, and afterwards the new generation answers."""
    added = ViewDefinition("more", "user", ("purchase",), (FeatureDefinition("n", count("purchase")),))
    grown = Plan([*(view.definition for view in PLAN.views), added])
    stopping = threading.Event()
    answered: list[str] = []
    failures: list[Exception] = []

    def asking() -> None:
        with Client(address) as client:
            while not stopping.is_set():
                try:
                    answered.append(client.score(USER, candidates=CATEGORIES).bundle_id)
                except Exception as error:
                    failures.append(error)

    thread = threading.Thread(target=asking)
    thread.start()
    archive = Archive(online.settings.archive, PARTITIONS)
    made = Rebuild(online.client, online.keys, archive, grown, online.clock).run()
    online.append([purchase(pseudonym(online.settings, USER), "RICE", START, "m2")])
    online.fold()
    with Client(address) as client:
        eventually(lambda: counted(client.score(USER, candidates=["RICE"], explain=True)) == 1)
    stopping.set()
    thread.join(10)
    assert made.generation == 2
    assert failures == []
    assert len(answered) > 10
    assert len(set(answered)) == 1


def counted(answer: wire.ScoreResponse) -> int:
    """How often the user has bought the first category."""
    features = {each.name: each for each in answer.ranked[0].features}
    return int(features["user_category:purchase_count_30d"].integer)


def grpcurl_commands() -> list[tuple[str, str]]:
    """The method and the JSON of each grpcurl command that docs/clients.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    words = [shlex.split(line) for line in page.splitlines() if line.startswith("grpcurl -")]
    return [(each[-1], each[each.index("-d") + 1]) for each in words]


def described(address: str, symbol: str) -> DescriptorPool:
    """All that reflection tells of a symbol and of what it needs."""
    pool = DescriptorPool()
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
        (answer,) = stub.ServerReflectionInfo(iter([asked]))
    files = [FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto]
    for file in sorted(files, key=lambda each: len(each.dependency)):  # what others need comes first
        pool.Add(file)
    return pool


def test_the_grpcurl_commands_of_the_documentation_work(online: Online, address: str) -> None:
    """Their JSON, made into messages by nothing but reflection, is answered OK and means what it says."""
    commands = dict(grpcurl_commands())
    assert sorted(commands) == ["scoring.v1.Scoring/Score", "scoring.v1.Scoring/Track"]
    answers = {}
    for path, text in commands.items():
        service, _, name = path.partition("/")
        method = described(address, service).FindServiceByName(service).methods_by_name[name]
        message = json_format.Parse(text, GetMessageClass(method.input_type)())
        data = raw_call(address, name, message.SerializeToString())
        assert isinstance(data, bytes), data
        answers[name] = GetMessageClass(method.output_type).FromString(data)
    assert len(answers["Score"].ranked) == 1
    assert answers["Score"].ranked[0].candidate.id in ("TEA", "RICE")
    assert [each.status for each in answers["Track"].results] == [wire.Result.STATUS_ACCEPTED]
