"""`opportune explain` as typed, over real gRPC: the answer made again, TreeSHAP, and what cannot be explained."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from behavior.event import HOUR_US, MINUTE_US
from behavior.served import SERVED_ENTRY
from opportune.command import run
from opportune.served_log import served_entries
from scoring.client import Client
from scoring.v1 import scoring_pb2 as wire
from scoring.v1.scoring_pb2_grpc import ScoringStub
from tests.scoring.online import Online, serving
from tests.scoring.small import CATEGORIES, START, make_bundle, make_current, pseudonym, purchase, settings_in
from tests.scoring.test_explaining import archived

RAW = "household 7"


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str) -> Iterator[Online]:
    """A deployment with a bundle and a user who has bought tea."""
    bundles = tmp_path / "bundles"
    make_current(bundles, make_bundle(bundles))
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles))
    made.append([purchase(pseudonym(made.settings, RAW), "TEA", START - HOUR_US, "m1", value=350, item="i-1")])
    made.advance(START + MINUTE_US)
    made.fold()
    yield made
    made.client.close()


def answered(address: str) -> wire.ScoreResponse:
    """An answer of the server, as soon as it serves."""
    candidates = [wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=each) for each in CATEGORIES]
    request = wire.ScoreRequest(user_id=RAW, placement="home", candidates=candidates)
    with grpc.insecure_channel(address) as channel:
        for _ in range(200):
            with suppress(grpc.RpcError):  # there is no snapshot yet
                found: wire.ScoreResponse = ScoringStub(channel).Score(request, timeout=5)
                return found
            time.sleep(0.05)
    raise AssertionError("the server does not answer")


def attach(monkeypatch: pytest.MonkeyPatch, online: Online, address: str) -> None:
    """Let commands ask the server there."""
    for name, value in online.settings.replaced(port=int(address.partition(":")[2])).child_environment().items():
        if name.startswith("OPPORTUNE_"):
            monkeypatch.setenv(name, value)


def wait_for_entry(online: Online) -> None:
    """Wait until an entry is in the log."""
    deadline = time.monotonic() + 10
    while not online.entries(SERVED_ENTRY):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_answer_is_explained_as_typed(
    online: Online, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to the last bit, with SHAP that adds up to the margin and the events behind it; unknown ids are refused."""
    with serving(online.settings) as address:
        attach(monkeypatch, online, address)
        answer = answered(address)
        wait_for_entry(online)
        assert run(["explain", answer.request_id, "--shap", "--events", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["equal"] is True
        assert [each["ranked"]["candidate"]["id"] for each in said["shown"]] == [
            each.candidate.id for each in answer.ranked
        ]
        for each, ranked in zip(said["shown"], answer.ranked, strict=True):
            assert each["ranked"]["score"] == ranked.score
            assert sum(each["shap"].values()) == pytest.approx(each["margin"], abs=1e-5)
        assert [each["message_id"] for each in said["events"]] == ["m1"]
        assert run(["explain", answer.request_id, "--shap", "--events"]) == 0
        told = capsys.readouterr().out
        assert "equal to the last bit" in told
        assert "user_category:purchase_count_30d" in told
        assert "order drawn" not in told
        assert run(["explain", answer.request_id[:16] + 16 * "0"]) == 2
        assert "there is no entry of" in capsys.readouterr().err
        _alter(online)
        assert run(["explain", answer.request_id]) == 1
        assert "has been changed since it was written" in capsys.readouterr().err
        with Client(address) as client, pytest.raises(Exception, match="32 hexadecimal digits"):
            client.explain("r-1")


def test_how_an_order_was_drawn_is_told(
    online: Online, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy in a line, the chances in a column, and one check more."""
    file = tmp_path / "placements.toml"
    file.write_text("[placements.home]\nexploration = { policy = 'epsilon-greedy', epsilon = 0.5 }\n")
    with serving(online.settings.replaced(placements=file)) as address:
        attach(monkeypatch, online, address)
        answer = answered(address)
        wait_for_entry(online)
        assert run(["explain", answer.request_id]) == 0
    told = capsys.readouterr().out
    assert "order drawn by epsilon-greedy 0.5" in told
    assert re.search(r"chance.*score", told)
    assert re.search(r"exploration\W+yes", told)


def _alter(online: Online) -> None:
    for number in range(online.keys.partitions):
        stream = online.keys.stream(number)
        for entry_id, fields in online.client.xrange(stream):  # type: ignore[union-attr]
            if fields[b"t"] == SERVED_ENTRY:
                online.client.delete(stream)
                online.client.xadd(stream, fields | {b"b": fields[b"b"].replace(b"home", b"hole")}, id=entry_id)


def test_each_served_entry_is_read_once_from_archive_and_log(online: Online) -> None:
    """What is archived, what is in the log, and what is in both; in the order of the log."""
    with serving(online.settings) as address:
        first = [answered(address).request_id for _ in range(3)]
    archived(online)
    with serving(online.settings) as address:
        first += [answered(address).request_id for _ in range(2)]
    found = [each.request_id for each in served_entries(online.client, online.keys, online.settings.archive)]
    assert found == first
