"""`opportune parity` as typed: what a real server has served, held against the events."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.served import Served, Shown
from behavior.state import decode, encode
from deployment.archive import Archive
from deployment.settings import Settings
from opportune import parity_check
from opportune.command import run
from opportune.readiness import Place, serves_grpc
from opportune.served_sample import newest_served
from scoring.archiver import archiver_of
from scoring.client import Client
from scoring.log_writer import offer_served
from tests.scoring.online import Online, serving
from tests.scoring.small import PLAN, START, make_bundle, make_current, pseudonym, purchase, settings_in

RAW, OTHER = "household 7", "another"
COUNT = "user_activity:purchase_count_7d"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


@pytest.fixture
def online(
    tmp_path: Path, redis_url: str, prefix: str, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Online]:
    """A deployment that has folded purchases of two users, nothing archived; the command has its settings."""
    made = Online(settings_in(tmp_path, redis_url, prefix, bundles=bundles))
    user, other = pseudonym(made.settings, RAW), pseudonym(made.settings, OTHER)
    made.append(
        [
            purchase(user, "TEA", START - DAY_US, "m1", value=350),
            purchase(user, "RICE", START - HOUR_US, "m2"),
            purchase(other, "TEA", START - 3 * HOUR_US, "m3"),
            purchase(other, "BREAD", START - 40 * HOUR_US, "m4"),
        ]
    )
    made.advance(START + MINUTE_US)
    made.fold()
    for name, value in made.settings.child_environment().items():
        if name.startswith("OPPORTUNE_"):
            monkeypatch.setenv(name, value)
    yield made
    made.client.close()


def score(online: Online, *users: str) -> None:
    """Let the server rank four categories for each; its journal is in the log when this returns."""
    with serving(online.settings) as address, Client(address) as client:
        until(lambda: serves_grpc(Place("127.0.0.1", int(address.rpartition(":")[2]), 0)))
        for user in users:
            client.score(user, candidates=("TEA", "RICE", "BREAD", "COFFEE"))


def told(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> dict[str, Any]:
    """What the command says to machines, with this exit status."""
    assert run(["parity", *arguments, "--json"]) == status
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def count_of(said: dict[str, Any], what: str) -> dict[str, int]:
    """How many of each feature, without those that have none."""
    return {name: tally[what] for name, tally in said["features"].items() if tally[what]}


def archive(online: Online) -> None:
    """Archive what the log holds."""
    settings = online.settings
    archiver = archiver_of(settings, online.client, Archive(settings.archive, settings.partitions), "test")
    archiver.step()
    archiver.flush()
    archiver._leases.release()


def falsify(online: Online) -> None:
    """Let the stored count of the user's purchases in seven days be one higher."""
    user = pseudonym(online.settings, RAW)
    view = PLAN.view("user_activity")
    place = next(raw.place for raw in view.raws if raw.name == "purchase_count_7d")
    key = online.keys.user(online.keys.partition_of(user), 1, user)
    state = decode(view, online.client.hget(key, view.letter))
    state.values[place][1] += 1
    online.client.hset(key, view.letter, encode(view, state))


def test_what_is_served_is_what_the_events_say(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """Every feature of every candidate, known and unknown users, from the log, the archive and both."""
    score(online, RAW, OTHER, "nobody")
    archive(online)
    online.append([purchase(pseudonym(online.settings, RAW), "TEA", START + MINUTE_US, "m5")])
    online.advance(START + 3 * MINUTE_US)
    online.fold()
    score(online, RAW)
    said = told(capsys, 0)
    assert (said["entries"], said["candidates"], said["waiting"], said["left_out"]) == (4, 16, 0, {})
    assert said["first"] is None
    assert set(said["features"]) == {
        "user_activity:purchase_count_7d", "user_activity:purchase_age_s", "user_activity:purchase_category_last",
        "user_category:purchase_count_30d", "user_category:purchase_age_s", "category_activity:purchase_count_30d",
        "all_activity:purchase_count_7d",
    }  # fmt: skip
    assert all(tally["checked"] == tally["staleness_checked"] == 16 for tally in said["features"].values())
    assert count_of(said, "mismatched") == {}
    assert run(["parity"]) == 0
    assert "112 values of 16 candidates in 4 answers: all are equal to the last bit" in capsys.readouterr().out


def test_a_false_state_is_found_and_told_with_both_derivations(
    online: Online, capsys: pytest.CaptureFixture[str]
) -> None:
    """A count that was served one too high: which, to whom, what it should be, from which events."""
    score(online, OTHER)
    falsify(online)
    score(online, RAW)
    said = told(capsys, 1)
    assert count_of(said, "mismatched") == {COUNT: 4}
    first = said["first"]
    user = pseudonym(online.settings, RAW)
    assert (first["feature"], first["user_id"], first["entity"]) == (COUNT, user, [user])
    assert (first["served"], first["served_bits"]) == (3.0, "0x40400000")
    assert (first["derived"], first["derived_bits"]) == (2.0, "0x40000000")
    assert (first["offline"], first["offline_raw"]) == (2, {"purchase_count_7d": 2})
    assert (first["folded"], first["folded_raw"]) == (2, {"purchase_count_7d": 2})
    assert first["events"] == 2
    assert [(each["message_id"], each["category"]) for each in first["latest"]] == [("m2", "RICE"), ("m1", "TEA")]
    assert run(["parity"]) == 1
    shown = capsys.readouterr().out
    for line in (
        f"the first difference: {COUNT}", "served   3 (0x40400000)",
        "events   2 (0x40000000): 2 from purchase_count_7d = 2",
        "state    2, folded anew from the same events (purchase_count_7d = 2)", "behind it are 2 events, the latest:",
    ):  # fmt: skip
        assert line in shown
    assert RAW not in shown


def test_a_late_event_is_staleness_and_no_mismatch(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """What had happened when it was served, and came in afterwards, changes what was ideal, not what was right."""
    score(online, RAW)
    assert count_of(told(capsys, 0), "stale") == {}
    online.advance(START + 2 * MINUTE_US)
    online.append([purchase(pseudonym(online.settings, RAW), "COFFEE", START - 2 * HOUR_US, "late")])
    online.fold()
    said = told(capsys, 0)
    assert count_of(said, "mismatched") == {}
    assert count_of(said, "stale") == {
        COUNT: 4, "user_category:purchase_count_30d": 1, "user_category:purchase_age_s": 1,
        "category_activity:purchase_count_30d": 1, "all_activity:purchase_count_7d": 4,
    }  # fmt: skip


def test_a_snapshot_that_lags_is_staleness_and_no_mismatch(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """An event that was admitted but not folded is not in what was served, and need not be."""
    online.append([purchase(pseudonym(online.settings, OTHER), "TEA", START + MINUTE_US, "m5")])
    online.advance(START + 5 * MINUTE_US)
    score(online, RAW)
    said = told(capsys, 0)
    assert count_of(said, "stale") == {"category_activity:purchase_count_30d": 1, "all_activity:purchase_count_7d": 4}


def test_snapshot_views_are_checked_at_few_instants(
    online: Online, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each instant costs a look at everybody's events: the newest are checked, what belongs to users always is."""
    monkeypatch.setattr(parity_check, "MOST_INSTANTS", 1)
    score(online, RAW, OTHER)
    online.advance(START + 3 * MINUTE_US)
    online.fold()
    score(online, RAW)
    said = told(capsys, 0)
    checked = count_of(said, "checked")
    assert checked[COUNT] == checked["user_category:purchase_age_s"] == 12
    assert checked["all_activity:purchase_count_7d"] == checked["category_activity:purchase_count_30d"] == 4
    assert said["first"] is None


def test_what_nobody_has_any_more_waits(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """Events that were trimmed and are not in this archive: the entry is not compared with half of them."""
    score(online, RAW)
    number = online.keys.partition_of(pseudonym(online.settings, RAW))
    last_k = int(online.client.hget(online.keys.place(number, 1), "offset") or 0)
    online.client.hset(online.keys.meta(number), mapping={"trimmed": last_k, "archived_event": last_k})
    said = told(capsys, 0)
    assert (said["entries"], said["waiting"], said["features"]) == (0, 1, {})


def test_an_unknown_bundle_is_left_out_and_said(
    online: Online, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the bundle nobody knows the order of the vector's columns."""
    score(online, RAW)
    monkeypatch.setenv("OPPORTUNE_BUNDLES", str(tmp_path / "none"))
    said = told(capsys, 0)
    assert list(said["left_out"].values()) == [1]
    assert run(["parity"]) == 0
    assert "1 entries were not checked: the bundle" in " ".join(capsys.readouterr().out.split())


def test_nothing_served_is_said(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """No served entry at all, or none since then."""
    assert run(["parity"]) == 0
    assert capsys.readouterr().out == "there is no served entry to check\n"
    score(online, RAW)
    assert told(capsys, 0, "--since", "2017-10-16T00:00")["entries"] == 0
    assert told(capsys, 0, "--since", "2017-10-15T00:00")["entries"] == 1


def test_the_newest_entries_are_sampled(online: Online) -> None:
    """As many as are asked for, whichever partition has them, however many events lie between them."""
    for nth in range(30):
        user = pseudonym(online.settings, f"user {nth % 5}")
        online.append([purchase(user, "TEA", START, f"x{nth}-{each}") for each in range(nth % 4 * 9)])
        online.advance(START + (nth + 2) * MINUTE_US)
        shown = Shown("category", "TEA", 0.0, 0.0, 0.0, b"")
        online.offer(user, [offer_served(Served(f"r{nth:02}", user, START, 0, START, "b", 0, (shown,)))])
    nothing = dict.fromkeys(range(online.keys.partitions), -1)
    for most in (1, 7, 30, 100):
        sample = newest_served(online.client, online.keys, most, nothing)
        assert [served.request_id for _, served in sample.entries] == [f"r{nth:02}" for nth in range(30)][-most:]
    assert newest_served(online.client, online.keys, 100, sample.seen).entries == ()


def test_the_sampler_counts_for_prometheus(online: Online) -> None:
    """It goes on until it is told to stop, and counts each entry once, mismatches by feature."""
    falsify(online)
    score(online, RAW)
    with sampler(online.settings) as (process, port):
        wanted = {
            f'opportune_parity_checked_total{{feature="{COUNT}"}}': 8.0,
            f'opportune_parity_mismatch_total{{feature="{COUNT}"}}': 4.0,
            f'opportune_staleness_checked_total{{feature="{COUNT}"}}': 8.0,
            f'opportune_staleness_differed_total{{feature="{COUNT}"}}': 4.0,
        }
        until(lambda: len(scraped(port)) > 0)
        score(online, OTHER)
        until(lambda: {name: scraped(port).get(name) for name in wanted} == wanted)
        time.sleep(2.5)
        assert {name: scraped(port).get(name) for name in wanted} == wanted
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        log = process.stderr.read() if process.stderr else ""
    assert f"the first difference: {COUNT}" in log


class sampler:  # noqa: N801 - reads as a block
    """A sampling process, with the port of its metrics."""

    def __init__(self, settings: Settings) -> None:
        self._environment = settings.child_environment()

    def __enter__(self) -> tuple["subprocess.Popen[str]", int]:
        command = [sys.executable, "-m", "opportune", "parity", "--every", "1s"]
        self._process = subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            found = re.search(r"metrics on http://[^:]+:(\d+)", line)
            if found:
                return self._process, int(found[1])
        raise AssertionError("the sampler ended before it served metrics")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def scraped(port: int) -> dict[str, float]:
    """The metrics of parity and staleness."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if re.match(r"opportune_(parity|staleness)_\w+_total{", line))
    return {name: float(value) for name, _, value in found}


def until(holds: Any) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
