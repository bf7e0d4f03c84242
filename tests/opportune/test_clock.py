"""The verb `clock`: what time it is for the deployment, on a real Redis."""

import pytest

from behavior.errors import BadInput
from deployment.settings import load
from opportune.command import run
from opportune.replay import instant, span_us


@pytest.fixture(autouse=True)
def _replay(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_REDIS_URL", redis_url)
    monkeypatch.setenv("OPPORTUNE_REDIS_PREFIX", prefix)
    monkeypatch.setenv("OPPORTUNE_REPLAY", "true")
    monkeypatch.setenv("OPPORTUNE_ZONE", "America/New_York")


def test_a_replay_is_started_and_advanced(capsys: pytest.CaptureFixture[str]) -> None:
    """It starts at an instant, moves by a span, and says where it stands in the settings' zone."""
    assert run(["clock", "advance", "--to", "2017-10-15T00:00"]) == 0
    assert run(["clock", "advance", "--by", "2h"]) == 0
    assert run(["clock"]) == 0
    assert capsys.readouterr().out.split() == [
        "2017-10-15T00:00:00-04:00",
        "2017-10-15T02:00:00-04:00",
        "2017-10-15T02:00:00-04:00",
    ]


def test_it_is_never_set_back(capsys: pytest.CaptureFixture[str]) -> None:
    """An earlier instant is refused with status 2, and the clock stays where it was."""
    assert run(["clock", "advance", "--to", "2017-10-15T12:00"]) == 0
    assert run(["clock", "advance", "--to", "2017-10-15T11:59"]) == 2
    assert "never set back" in capsys.readouterr().err
    assert run(["clock", "show"]) == 0
    assert capsys.readouterr().out == "2017-10-15T12:00:00-04:00\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["--to", "2017-10-15", "--by", "2h"], ["--to", "tomorrow"], ["--by", "2 fortnights"], ["--by", "2h"]],
)
def test_what_cannot_be_understood_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither or both options, words, unknown units, and a span before the first instant: one line, status 2."""
    assert run(["clock", "advance", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_system_clock_cannot_be_advanced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside a replay the time is the system's."""
    monkeypatch.setenv("OPPORTUNE_REPLAY", "false")
    assert run(["clock", "advance", "--by", "2h"]) == 2
    assert "OPPORTUNE_REPLAY" in capsys.readouterr().err


def test_without_a_deployment_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No Redis in the settings is wrong input (2); one that does not answer is a failure (1)."""
    monkeypatch.delenv("OPPORTUNE_REDIS_URL")
    assert run(["clock"]) == 2
    assert "opportune up" in capsys.readouterr().err
    monkeypatch.setenv("OPPORTUNE_REDIS_URL", "redis://user:secret@127.0.0.1:1/0")
    assert run(["clock"]) == 1
    assert "secret" not in capsys.readouterr().err


def test_instants_and_spans_are_exact() -> None:
    """Whole microseconds, with and without an offset, on both sides of a change of clocks."""
    settings = load()
    assert instant("1970-01-01T00:00:00.000001+00:00", settings) == 1
    assert instant("2017-10-15T00:00", settings) == instant("2017-10-15T04:00Z", settings)
    assert instant("2017-12-10T00:00", settings) == instant("2017-12-10T05:00Z", settings)
    assert [span_us(text) for text in ("1s", "5min", "2h", "7 d")] == [10**6, 3 * 10**8, 72 * 10**8, 6048 * 10**8]
    with pytest.raises(BadInput):
        span_us("-1h")
