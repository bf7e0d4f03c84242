"""The command: its help, its exit statuses, and that it stays light."""

import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from behavior.errors import BadInput, OpportuneError, Unavailable
from deployment.database import connected
from opportune import command
from opportune.command import VERBS, build, run

SOURCE = Path(__file__).parents[2] / "src"


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """`opportune --help`, and `opportune` alone, show each verb with its line and exit 0."""
    for arguments in (["--help"], []):
        assert run(arguments) == 0
        shown = capsys.readouterr().out
        assert all(verb.name in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_each_verb_has_help(verb: command.Verb, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb resolves, and describes itself and every parameter of its own."""
    assert run([verb.name, "--help"]) == 0
    assert verb.name in capsys.readouterr().out
    module, _, attribute = verb.path.partition(":")
    assert getattr(import_module(module), attribute) is not None
    assert verb.help.endswith(".")


@pytest.mark.parametrize("arguments", [["no-such-verb"], ["up", "--no-such-option"], ["clock", "advance", "--by"]])
def test_a_wrong_command_line_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed wrong is said in one line on stderr; stdout stays empty for pipes."""
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("opportune: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(BadInput("x"), 2), (OpportuneError("x"), 1), (Unavailable("x"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_become_exit_statuses(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error tree meets the shell in one place: wrong input 2, failure 1, interrupted 130, never a traceback."""

    def fail() -> None:
        raise error

    app = build()
    app.command(fail)
    monkeypatch.setattr(command, "build", lambda chosen: app)
    assert run(["fail"]) == status
    assert capsys.readouterr().err == ("" if status == 130 else "opportune: x\n")


@pytest.mark.parametrize("how", ["ctrl-c", "interrupt"])
def test_an_interrupted_query_is_130(
    how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C inside DuckDB, which makes another error of it, is an interruption like any other."""

    def count() -> None:
        with connected() as connection:
            stop = connection.interrupt if how == "interrupt" else lambda: os.kill(os.getpid(), signal.SIGINT)
            timer = threading.Timer(0.3, stop)
            timer.start()
            try:
                connection.execute("SELECT sum(hash(range)) FROM range(1_000_000_000_000)").fetchall()
            finally:
                timer.join()

    app = build()
    app.command(count)
    monkeypatch.setattr(command, "build", lambda chosen: app)
    assert run(["count"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error outside the tree is a defect and is not dressed up as anything else."""

    def fail() -> None:
        raise ZeroDivisionError

    app = build()
    app.command(fail)
    monkeypatch.setattr(command, "build", lambda chosen: app)
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


def test_a_misspelt_verb_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names the verb that was probably meant."""
    assert run(["clok"]) == 2
    assert capsys.readouterr().err == 'opportune: there is no "clok"; did you mean clock?\n'


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("nothing-like-it", 2)])
def test_the_edge_imports_nothing_heavy(argument: str, status: int) -> None:
    """Help and a mistyped verb import none of the libraries that the verbs need."""
    script = (
        "import sys\nfrom opportune.command import run\nassert run([sys.argv[1]]) == int(sys.argv[2])\n"
        "heavy = {'feast', 'lightgbm', 'river', 'onnxruntime', 'grpc', 'pandas', 'pyarrow', 'redis', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    command_line = [sys.executable, "-c", script, argument, str(status)]
    done = subprocess.run(command_line, cwd=SOURCE, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    """`python -m opportune` behaves like the console script, exit status included."""
    done = subprocess.run([sys.executable, "-m", "opportune", "nothing"], cwd=SOURCE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
