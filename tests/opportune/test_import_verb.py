"""`opportune import` as typed: everything is checked first, every reject is listed, and a signal leaves nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from opportune.command import run
from training.catalogue import FILE_NAME

EVENTS = "user_id,item_id,category,event,timestamp,value\nu-17,sku-4,shoes,view,2024-05-01T09:30:00+02:00,\n"
ITEMS = "product_id,product_category\nsku-4,shoes\n,hats\nsku-5,bags\n"
BOTH = ["events.csv", "--mapping", "click_log", "--items", "items.csv", "--items-mapping", "complete_journey_items"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with event and catalogue files, and a home in it that has a key."""
    (tmp_path / "events.csv").write_text(EVENTS, encoding="utf-8")
    (tmp_path / "items.csv").write_text(ITEMS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path / "var"))
    assert run(["key"]) == 0
    return tmp_path / "var"


def imported(home: Path) -> list[Path]:
    """Every Parquet file under the home."""
    return sorted(home.rglob("*.parquet"))


def test_rejects_of_a_catalogue_are_listed(home: Path) -> None:
    """A catalogue alone lists what it rejected in the file that `--rejects` names."""
    wanted = ["import", *BOTH[3:], "--rejects", "out.jsonl"]
    assert run(wanted) == 0
    listed = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(each["reason"], each["line"]) for each in listed] == [("no_item", 3)]
    assert pq.read_table(home / "tables" / FILE_NAME).num_rows == 2


@pytest.mark.parametrize(
    ("option", "events", "items"),
    [
        ([], "var/rejects.parquet", "var/rejects-items.parquet"),
        (["--rejects", "out.jsonl"], "out.jsonl", "out-items.jsonl"),
    ],
)
def test_rejects_of_both_have_a_file_each(
    home: Path, option: list[str], events: str, items: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Events and catalogue together: neither list overwrites the other, and the report names both."""
    Path("events.csv").write_text(EVENTS + "u-18,sku-4,shoes,view,never,\n", encoding="utf-8")
    assert run(["import", *BOTH, *option, "--json"]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (report["events"]["rejected"], report["items"]["rejected"]) == ({"bad_value": 1}, {"no_item": 1})
    assert [Path(report[part]["rejects_file"]).name for part in ("events", "items")] == [
        Path(events).name,
        Path(items).name,
    ]
    for path, reason in ((events, "bad_value"), (items, "no_item")):
        text = str(pq.read_table(path).to_pylist()) if path.endswith("parquet") else Path(path).read_text()
        assert text.count(reason) == 1, path
    assert home.is_dir()


def test_the_catalogue_is_held_to_the_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue is imported within the memory and threads that the settings allow, as events are."""
    from training import catalogue

    given = []
    monkeypatch.setattr(
        catalogue, "connect", lambda *arguments: (given.append(arguments[-2:]), pytest.fail("far enough"))[1]
    )
    monkeypatch.setenv("OPPORTUNE_MEMORY_LIMIT", "123MB")
    monkeypatch.setenv("OPPORTUNE_THREADS", "1")
    with pytest.raises(pytest.fail.Exception, match="far enough"):
        run(["import", *BOTH[3:]])
    assert given == [("123MB", 1)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([*BOTH[:-1], "no_such_mapping"], "no_such_mapping"),
        ([*BOTH[:4], "absent.csv", *BOTH[5:]], "there is no file absent.csv"),
        ([*BOTH[:4], "items.xyz", *BOTH[5:]], "format"),
        ([*BOTH[:4], "empty.csv", *BOTH[5:]], "empty.csv is empty"),
        ([*BOTH[:4], "events.csv", *BOTH[5:]], "no column 'product_id'"),
        (["events.csv", "absent.csv", *BOTH[1:]], "there is no file absent.csv"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_imported(
    home: Path, wrong: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 means that nothing was written, though the events were good and only the catalogue was not."""
    Path("items.xyz").write_text(ITEMS, encoding="utf-8")
    Path("empty.csv").touch()
    assert run(["import", *wrong]) == 2
    assert said in capfd.readouterr().err
    assert imported(home) == []
    assert not (home / "archive").exists()


SIGNALLED = """
import os, signal, sys
import pyarrow.parquet as pq
from opportune.command import main
opened = pq.ParquetWriter
def signalling(*arguments, **options):
    made = opened(*arguments, **options)
    os.kill(os.getpid(), signal.NAME)
    return made
pq.ParquetWriter = signalling
main()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_leaves_nothing_on_disk(home: Path, name: str) -> None:
    """Stopped half-way through writing, the import removes its spill and its staging and exits with 130."""
    script = ["import", *BOTH[:3]]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED.replace("NAME", name), *script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in (home / "archive").iterdir()} <= {".import.lock", "archive.json"}
    assert run(["import", *BOTH[:3]]) == 0


def test_sigterm_is_as_before_after_an_import(home: Path) -> None:
    """The handler is the import's own: it is gone when the import is."""
    before = signal.getsignal(signal.SIGTERM)
    assert run(["import", *BOTH[:3]]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert home.is_dir()
