"""`opportune ope` as typed, on an archive with an explored journal: values, gate, exit status, what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from behavior.event import DAY_US, PERSONALIZATION, SECOND_US, Admitted, Event
from behavior.exploration import THOMPSON
from behavior.served import Served, encode
from deployment.archive import Archive
from deployment.journal_archive import JournalArchive
from opportune.command import run
from tests.training.ope.entries import FACTORS, POLICY, POOL, VALUES, T, altered, entry
from training.ope.candidate import Candidate

USERS, EACH = 150, 4
# What users click on, whatever stands before it: the propensity is wrong about them, and those who follow it lose.
WANTED = {"TEA": 0.05, "MILK": 0.1, "BREAD": 0.3, "EGGS": 0.5}
BETTER = "[weights]\npropensity = 0.3\n"


def served() -> list[Served]:
    """Answers of two positions, drawn by the journal's own policy."""
    generator, scores = np.random.default_rng(1), Candidate().scores(FACTORS, VALUES)
    found = []
    for number in range(USERS * EACH):
        order = np.argsort(-(scores / POLICY.strength + generator.gumbel(size=len(POOL))))[:2]
        shown = [POOL[each] for each in order]
        found.append(entry(f"r{number}", user=f"u{number % USERS}", shown=shown, as_of=T + number * SECOND_US))
    return found


def clicks(entries: Sequence[Served]) -> list[Admitted]:
    """What users clicked on within the minute, and a purchase long after all."""
    generator, found = np.random.default_rng(4), []
    for answer in entries:
        for each in answer.shown:
            if generator.random() < WANTED[each.id]:
                e = answer.as_of + 10
                click = Event(
                    f"{answer.request_id}-{each.id}", "click", answer.user_id, e, category=each.id,
                    request_id=answer.request_id, purposes=PERSONALIZATION,
                )  # fmt: skip
                found.append(Admitted(click, e, e))
    late = T + 30 * DAY_US
    return [*found, Admitted(Event("last", "purchase", "u0", late, purposes=PERSONALIZATION), late, late)]


def written(home: Path, entries: Sequence[Served]) -> None:
    """The archive of one partition."""
    Archive(home / "archive", 1).append_log(0, 1, clicks(entries))
    JournalArchive(home / "archive", 1).append(0, 1, [(each.as_of + 1, encode(each)) for each in entries])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key, value in (("HOME", str(tmp_path / "home")), ("CONFIG", ""), ("PARTITIONS", "1")):
        monkeypatch.setenv(f"OPPORTUNE_{key}", value)
    return tmp_path / "home"


def asked(home: Path, candidate: str, *more: str) -> int:
    """The exit status of the verb for a candidate's file."""
    home.mkdir(exist_ok=True)
    file = home / "weights.toml"
    file.write_text(candidate)
    return run(["ope", "--candidate", str(file), "--reward", "click=1", "--window", "1d", *more])


def test_a_better_candidate_is_told_and_passes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its values lie around what it would have earned, which the shop's constants give; the gate's status is 0."""
    written(home, served())
    assert asked(home, BETTER, "--gate", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accounting"]["used"] == found["answers"] == USERS * EACH
    assert found["users"] == USERS
    truth = worth(Candidate({"propensity": 0.3}))
    assert worth(Candidate()) < truth - 0.01
    for each in found["values"]:
        assert each["value"]["low"] <= truth <= each["value"]["high"]
    assert found["gate"]["promote"] is True


def worth(candidate: Candidate) -> float:
    """The mean number of clicks of an answer, by enumeration."""
    scores = candidate.scores(FACTORS, VALUES)
    first = POLICY.chances(scores, np.array([0]))[0]
    clicked = np.array([WANTED[each] for each in POOL])
    second = [POLICY.chances(scores, np.array([place, (place + 1) % 4]))[1] @ clicked for place in range(4)]
    return float(first @ (clicked + np.array(second)))


def test_a_worse_one_is_refused_with_its_own_status(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """5, which no error has; and 0 without the gate. The tables, the caveat and the reason are printed."""
    written(home, served())
    worse = 'policy = "plackett-luce"\nstrength = 0.4\n'
    assert asked(home, worse, "--gate") == 5
    said = " ".join(capsys.readouterr().out.split())
    for word in ("refused", "SNIPS", "of equal weight", "outside of the pools", "of 600 served entries 600 are"):
        assert word.lower() in said.lower()
    assert asked(home, worse) == 0


def test_a_picture_is_drawn(home: Path) -> None:
    """The same evaluation makes the same bytes."""
    written(home, served())
    files = [home / "first.svg", home / "second.svg"]
    for file in files:
        assert asked(home, BETTER, "--positions", "1", "--clip", "5", "--plot", str(file)) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"answers of equal weight" in files[0].read_bytes()


def test_a_journal_without_exact_chances_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thompson's chances are estimates: exit status 2 and one sentence with the count, gate or not."""
    written(home, [altered(each, policy=THOMPSON, is_exact=False) for each in served()[:10]])
    assert asked(home, BETTER, "--gate") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("opportune: the journal has nothing to evaluate by: of 10 served entries 0 are used")
    assert "10 estimated chances" in said


@pytest.mark.parametrize(
    ("candidate", "options", "said"),
    [
        ("", (), "says nothing that differs"),
        ("[weight]\nrecency = 1\n", (), "weight"),
        ('policy = "thompson"\n', (), "only estimates"),
        ('policy = "plackett"\n', (), "'plackett' is no policy"),
        ('policy = "greedy"\nstrength = 1.0\n', (), "strength belongs to"),
        ('policy = "plackett-luce"\nstrength = 0.0\n', (), "a temperature above 0"),
        ('policy = "epsilon-greedy"\n', (), "epsilon, 0 to 1"),
        (BETTER, ("--reward", "click"), "--reward click"),
        (BETTER, ("--clip", "0.5"), "--clip 0.5"),
        (BETTER, ("--positions", "0"), "--positions 0"),
        (BETTER, ("--margin", "-1"), "--margin -1"),
        (BETTER, ("--plot", "a.pdf"), ".svg"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], candidate: str, options: Sequence[str], said: str
) -> None:
    """Before anything is read: exit status 2."""
    assert asked(home, candidate, *options) == 2
    assert said in capsys.readouterr().err
