"""The whole loop as a user runs it: commands, a real Redis, real gRPC, from a path with a space in it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from behavior.event import SECOND_US
from deployment.plan_file import load_plan
from deployment.ports import ReservedPort
from deployment.pseudonym import Pseudonyms
from deployment.settings import Settings, load
from opportune.command import run
from opportune.household import instant_of
from opportune.processes import children
from opportune.replay import instant, replay_clock
from opportune.restore import restore
from opportune.supervise import Running, running
from opportune.warehouse import archive_of, events_of, local_midnight
from scoring.client import Client
from tests.shop import (
    CATEGORIES,
    TODAY,
    ZONE,
    enter,
    habits,
    prepare,
)
from training.dataset import vectors
from training.sampling import Recipe, training_rows
from training.store import open_store
from training.targets import target_named


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a space in its path."""
    return tmp_path_factory.mktemp("a home with spaces")


@pytest.fixture(scope="module")
def settings(home: Path) -> Iterator[Settings]:
    """Import, apply, backfill, train: each command as typed, each with exit status 0."""
    prepare(home, ["train", "--until", TODAY])
    with pytest.MonkeyPatch.context() as patch:
        enter(home, patch)
        yield load()


@pytest.fixture(autouse=True)
def as_typed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in tests run in the same directory and environment as those before them."""
    enter(home, monkeypatch)


@pytest.fixture(scope="module")
def deployment(settings: Settings) -> Iterator[Running]:
    """Everything started on a replay of the day after training, with states restored from the archive."""
    today = instant(TODAY, settings)

    def prepare(reached: Settings) -> None:
        with replay_clock(reached) as clock:
            clock.advance(today)
        restore(reached, archive_of(reached), lambda *_: None, until=today)

    # What it tracks goes to an archive of its own, as in every replay.
    live = settings.replaced(archive=settings.home / "live")
    with running(
        live, children(live), prepare=lambda reached: prepare(reached.replaced(archive=settings.archive))
    ) as up:
        yield up


@pytest.fixture(scope="module")
def client(deployment: Running) -> Iterator[Client]:
    """A client of the running server."""
    with Client(_address(deployment), deadline_s=10.0) as made:
        yield made


def test_a_tracked_event_shows_in_the_next_score(
    deployment: Running, client: Client, record_property: Callable[[str, object], None]
) -> None:
    """After Track answers, a Score within one second has the event in the user's own features and ranks by it."""
    before = client.score("customer-1", explain=True)
    assert not before.degraded
    bought = before.ranked[-1].candidate.id
    with replay_clock(deployment.settings) as clock:
        event = _purchase("m1", "customer-1", bought, clock.now())
    (result,) = client.track([event])
    answered = time.monotonic()
    while True:
        after = client.score("customer-1", explain=True)
        waited = time.monotonic() - answered
        if instant_of(after.as_of) > instant_of(result.admitted_at):
            break
        assert waited < 1.0, "the event did not show within one second"
    record_property("staleness_ms", round(waited * 1000, 1))
    was, now = _features(before, bought), _features(after, bought)
    assert now["user_category:purchase_count"] == (was["user_category:purchase_count"] or 0) + 1
    assert now["user_activity:purchase_count_1h"] == was["user_activity:purchase_count_1h"] + 1
    assert now["user_activity:purchase_category_last"] == bought
    assert _place(after, bought).score != _place(before, bought).score


def test_the_factors_add_up_to_the_score(client: Client) -> None:
    """Every score is the ordered float64 sum of its factors' contributions, to the last bit, best first."""
    answer = client.score("customer-2")
    assert len(answer.ranked) == len(CATEGORIES)
    for each in answer.ranked:
        total = 0.0
        for factor in each.factors:
            assert factor.contribution == factor.weight * factor.value
            total += factor.contribution
        assert total == each.score
        assert each.propensities[0].calibrated
    assert [each.score for each in answer.ranked] == sorted((each.score for each in answer.ranked), reverse=True)


def test_habits_rank_what_a_customer_buys_above_what_it_never_buys(client: Client) -> None:
    """The trained model really ranks: a customer's own categories come before the others, for almost everybody."""
    right = 0
    for number in range(20):
        ranked = [each.candidate.id for each in client.score(f"customer-{number}").ranked]
        right += ranked[0] in habits(number)
    assert right >= 17


def test_an_unknown_user_is_answered_and_marked(client: Client) -> None:
    """Somebody never seen gets a ranking by what is known of all, and the answer says so."""
    answer = client.score("nobody-ever")
    assert [each.reason for each in answer.degraded] == ["unknown_user"]
    assert len(answer.ranked) == len(CATEGORIES)


def test_a_repeated_event_is_taken_once(deployment: Running, client: Client) -> None:
    """A message id is taken once; one without consent is dropped, one that breaks a rule is refused with its reason."""
    with replay_clock(deployment.settings) as clock:
        now = clock.now()
    good, silent = _purchase("m2", "customer-3", "TEA", now), _purchase("m3", "customer-3", "TEA", now)
    silent["consent"] = ()
    late = _purchase("m4", "customer-3", "TEA", now - 49 * 3600 * SECOND_US)
    results = client.track([good, good, silent, late])
    assert [each.status for each in results] == [1, 2, 4, 3]
    assert results[3].reason == "too_late"


def test_sdk_feature_server_and_scorer_show_equal_values(deployment: Running, client: Client) -> None:
    """Feast's SDK, one HTTP call to Feast's feature server and Score give the same bits for the same clock."""
    settings, customer = deployment.settings, "customer-7"
    user = Pseudonyms.load(settings.key_file).user(customer)
    refs = [ref for ref in _features(client.score(customer, explain=True), "TEA") if ":" in ref]
    refs = [ref for ref in refs if ref.partition(":")[0] not in ("moment", "candidate")]
    assert {ref.partition(":")[0] for ref in refs} == {"user_activity", "user_category", "category_activity"}
    with _feature_server(settings) as url:
        # The snapshot and the replay's clock stand still, so all three are asked at one instant.
        answer = client.score(customer, candidates=CATEGORIES, explain=True)
        rows = [{"user_id": user, "category": category} for category in CATEGORIES]
        sdk = open_store(settings).get_online_features(refs, rows, full_feature_names=True).to_dict()
        asked = {"features": refs, "full_feature_names": True}
        asked["entities"] = {"user_id": [user] * len(rows), "category": list(CATEGORIES)}
        http = _posted(f"{url}/get-online-features", asked)
    names = http["metadata"]["feature_names"]
    for ref in refs:
        name = ref.replace(":", "__")
        over_http = http["results"][names.index(name)]["values"]
        for place, category in enumerate(CATEGORIES):
            scored = _features(answer, category)[ref]
            for said in (sdk[name][place], over_http[place]):
                assert _same(said, scored), (ref, category, said, scored)


def test_the_learner_learns_from_an_outcome(deployment: Running, client: Client) -> None:
    """A purchase of what was shown becomes a positive for its category, and the next score has the learner's share."""
    shown = client.score("customer-5")
    bought = shown.ranked[0].candidate.id
    event = _purchase("m5", "customer-5", bought, instant_of(shown.as_of)) | {"request_id": shown.request_id}
    client.track([event])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = client.score("customer-5")
        learned = _place(answer, bought).factors[1]
        if answer.learner_version > shown.learner_version and learned.contribution > 0:
            return
        time.sleep(0.05)
    pytest.fail("the learner's share did not become positive")


def test_any_reflection_client_can_list_and_call_the_service(deployment: Running) -> None:
    """Reflection names the services and describes Score well enough to call it without our generated code."""
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    with grpc.insecure_channel(_address(deployment), options=[("grpc.enable_http_proxy", 0)]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"scoring.v1.Scoring", "grpc.health.v1.Health"} <= set(database.get_services())
        method = DescriptorPool(database).FindServiceByName("scoring.v1.Scoring").FindMethodByName("Score")
        call = channel.unary_unary(
            "/scoring.v1.Scoring/Score",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(GetMessageClass(method.input_type)(user_id="customer-1"), timeout=10)
        assert len(answer.ranked) == len(CATEGORIES)


def test_the_score_command_prints_a_table_and_json(
    deployment: Running, capfd: pytest.CaptureFixture[str], settings: Settings
) -> None:
    """`opportune score` finds the running server by itself and prints for people and for machines."""
    assert run(["score", "customer-1", "--top", "3"]) == 0
    said = capfd.readouterr().out
    assert "propensity" in said
    assert "learner" in said
    assert run(["score", "customer-1", "--top", "3", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert len(answer["ranked"]) == 3


def test_evaluate_measures_the_bundle_beside_the_baselines(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """`opportune evaluate --json` ends with one JSON object that has every score with its intervals."""
    assert run(["evaluate", "--first", TODAY, "--last", TODAY, "--replicates", "20", "--json"]) == 0
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert set(found["scores"]) == {"purchase_7d", "relevance", "frequency", "popularity"}
    assert found["scores"]["purchase_7d"]["auc"]["value"] > found["scores"]["popularity"]["auc"]["value"]


def test_compare_measures_two_bundles_on_the_same_rows(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """`opportune compare --json` of a bundle beside itself: real figures on all rows, and no difference."""
    assert (
        run(["compare", "current", "current", "--first", TODAY, "--last", TODAY, "--replicates", "20", "--json"]) == 0
    )
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert found["first"] == found["second"]
    head = found["slices"][0]
    assert head["name"] == "all"
    assert head["first"] == head["second"]
    assert head["first"]["auc"]["value"] > 0.5
    assert head["differences"]["auc"] == {"value": 0, "low": 0, "high": 0}


def test_hour_and_weekday_vary_in_the_training_rows(settings: Settings) -> None:
    """Training instants are request-like: every weekday and most hours of the users' local day are among them."""
    recipe = Recipe(max_rows=20_000)
    with events_of(settings) as events:
        until = local_midnight(TODAY, settings)
        rows = training_rows(events, target_named("purchase_7d"), until=until, zone=ZONE, recipe=recipe)
    store, plan = open_store(settings), load_plan(settings.plan)
    hour, weekday = vectors(store, plan, ["moment:hour", "moment:weekday"], rows, {}, ZONE).x.T
    assert set(weekday) == set(range(7))
    assert len(set(hour)) >= 20
    assert len(set(zip(hour, weekday, strict=True))) > 100


def test_a_bundle_is_not_evaluated_on_what_it_learned_from(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cut-off before the end of training is refused with exit status 2 and one sentence."""
    assert run(["evaluate", "--first", "2024-05-19", "--last", TODAY]) == 2
    assert "later one" in capfd.readouterr().err


def _purchase(message_id: str, customer: str, category: str, t: int) -> dict[str, object]:
    return {
        "message_id": message_id, "kind": "purchase", "user_id": customer, "category": category, "event_time": t,
        "value_minor": 250, "currency": "USD", "consent": ("personalization",),
    }  # fmt: skip


def _place(answer: object, category: str) -> object:
    return next(each for each in answer.ranked if each.candidate.id == category)  # type: ignore[attr-defined]


def _features(answer: object, category: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for feature in _place(answer, category).features:  # type: ignore[attr-defined]
        kind = feature.WhichOneof("value")
        found[feature.name] = getattr(feature, kind) if kind else None
    return found


@contextmanager
def _feature_server(settings: Settings) -> Iterator[str]:
    """Feast's own feature server over our plug-ins, on a free port of the loopback."""
    with ReservedPort("127.0.0.1") as reserved:
        command = [sys.executable, "-c", "from feast.cli.cli import cli; cli()", "-c", str(settings.feature_repo)]
        serve = ["serve", "--host", "127.0.0.1", "--port", str(reserved.port), "--no-access-log", "--workers", "1"]
        with (settings.run / "feature_server.log").open("wb") as log:
            process = subprocess.Popen([*command, *serve], env=settings.child_environment(), stdout=log, stderr=log)
        url, deadline = f"http://127.0.0.1:{reserved.port}", time.monotonic() + 90
        try:
            while not _answers(f"{url}/health"):
                assert process.poll() is None, (settings.run / "feature_server.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the feature server did not start"
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def _posted(url: str, body: dict[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answered:
        return dict(json.loads(answered.read()))


def _same(said: object, scored: object) -> bool:
    """Whether a value said by Feast is the scored one: texts and integers as they are, floats as float32."""
    if said is None or scored is None or isinstance(scored, str):
        return said == scored
    if isinstance(scored, float):
        return np.float32(said) == np.float32(scored)
    return int(said) == scored  # type: ignore[call-overload]


def _address(deployment: Running) -> str:
    return f"{deployment.settings.host}:{deployment.settings.port}"
