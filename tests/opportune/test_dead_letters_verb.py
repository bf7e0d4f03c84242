"""`opportune key` and `opportune deadletters` as typed, against a real Redis and a real gRPC server that tracks."""

import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from opportune.command import run
from scoring.v1 import scoring_pb2 as wire
from scoring.v1.scoring_pb2_grpc import ScoringServicer, add_ScoringServicer_to_server
from tests.scoring.entrance import RAW_USER, START, Entrance, reported


class Tracking(ScoringServicer):
    """Tracks as the server does, with the settings that the entrance has at the time."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance

    def Track(self, request: wire.TrackRequest, context: object) -> wire.TrackResponse:  # noqa: N802 - as gRPC has it
        """Take events into the log."""
        fates = [outcome.fate for outcome in self._entrance.track(request.events)]
        return wire.TrackResponse(results=[wire.Result(status=f"STATUS_{fate.status.upper()}") for fate in fates])


@pytest.fixture
def entrance(tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entrance]:
    """A deployment with four rejected events, whose settings the command has and whose server answers."""
    made = Entrance(tmp_path, redis_url, prefix)
    made.track([reported(f"m{i}", currency="EUR") for i in range(3)] + [reported("late", event_time=5)])
    server = grpc.server(ThreadPoolExecutor(1))
    add_ScoringServicer_to_server(Tracking(made), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for name, value in made.settings.replaced(port=port).child_environment().items():
        if name.startswith("OPPORTUNE_"):
            monkeypatch.setenv(name, value)
    yield made
    server.stop(None).wait()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints."""
    assert run(["deadletters", *arguments]) == 0
    shown = capsys.readouterr().out
    assert RAW_USER not in shown
    return shown


def test_letters_are_listed_and_nothing_in_them_is_shown(
    entrance: Entrance, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table for people, the same as JSON for machines, or a sentence when there is none; the key is not needed."""
    entrance.settings.sealing_key_file.unlink()
    table = printed(capsys)
    assert table == printed(capsys, "list")
    assert "wrong_currency" in table
    assert "2017-10-15T04:00:00" in table
    expected = [
        {"reason": "too_late", "letters": 1, "oldest": START + 3, "newest": START + 3},
        {"reason": "wrong_currency", "letters": 3, "oldest": START, "newest": START + 2},
    ]
    assert json.loads(printed(capsys, "list", "--json")) == {"reasons": expected}
    assert json.loads(printed(capsys, "list", "--json", "--reason", "too_late")) == {"reasons": expected[:1]}
    assert printed(capsys, "list", "--reason", "no_user") == "no rejected event is kept\n"


def test_letters_are_sent_again(entrance: Entrance, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run sends nothing; then what is taken now goes, and what is rejected again stays once."""
    assert printed(capsys, "redrive", "--dry-run") == "4 letters would be sent\n"
    entrance.settings = entrance.settings.replaced(currency="EUR")
    assert printed(capsys, "redrive", "--reason", "wrong_currency") == "3 letters sent: 3 accepted\n"
    assert len(entrance.stored()) == 3
    done = json.loads(printed(capsys, "redrive", "--json"))
    assert done == {"letters": 1, "unopened": 0, "fates": {"rejected": 1}}
    assert [letter.reason for letter in entrance.letters.kept(0)] == ["too_late"]


def test_another_key_opens_nothing_and_loses_nothing(entrance: Entrance, capsys: pytest.CaptureFixture[str]) -> None:
    """With a key that has replaced the one they were sealed with, letters stay, and the sentence says why."""
    entrance.settings.sealing_key_file.write_text("s2:" + "ab" * 32)
    told = printed(capsys, "redrive")
    assert told == "0 letters sent; 4 stay: sealed with another key, or damaged\n"
    assert len(list(entrance.letters.kept(0))) == 4


def test_what_is_missing_is_one_sentence(
    entrance: Entrance, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key, or without a server, nothing is sent and the sentence says what to do."""
    monkeypatch.setenv("OPPORTUNE_PORT", "1")
    assert run(["deadletters", "redrive"]) == 1
    assert "the server at 127.0.0.1:1 is unavailable" in capsys.readouterr().err
    entrance.settings.sealing_key_file.unlink()
    assert run(["deadletters", "redrive"]) == 2
    assert "make one with `opportune key`" in capsys.readouterr().err
    assert len(list(entrance.letters.kept(0))) == 4


def test_keys_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`opportune key` makes both keys, later only the one that is missing, and never replaces one."""
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path))
    assert run(["key"]) == 0
    pseudonyms, sealing = tmp_path / "pseudonym.key", tmp_path / "sealing.key"
    assert [stat.S_IMODE(file.stat().st_mode) for file in (pseudonyms, sealing)] == [0o600, 0o600]
    first = pseudonyms.read_bytes()
    assert run(["key"]) == 2
    assert "exist already" in capsys.readouterr().err
    sealing.unlink()
    assert run(["key"]) == 0
    assert capsys.readouterr().out == f"made {sealing}; keep a copy in a safe place\n"
    assert pseudonyms.read_bytes() == first
