"""kill -9 at random instants: the states, the snapshot and the archive are those of a run without any kill.

The processes are the real commands on a real Redis, with events coming in while they are killed.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from behavior.event import MINUTE_US
from deployment.archive import Archive
from deployment.clock import advance
from deployment.settings import load
from tests.scoring.test_fold import PARTITIONS, PLAN, START, Deployment, events_of

EVENTS = 60


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=[pytest.mark.prove, pytest.mark.timeout(900)])])
def test_fold_and_archive_survive_kill_9(kills: int, redis_url: str, prefix: str, tmp_path: Path) -> None:
    """Bit for bit the states of an uninterrupted fold, and every acknowledged event is archived once."""
    draw = random.Random(kills)
    killed, quiet = Deployment(redis_url, prefix), Deployment(redis_url, f"{prefix}-quiet")
    through = quiet.fold()
    for number in range(kills):
        events, later = events_of(EVENTS, seed=number), START + number * MINUTE_US * draw.choice((0, 1, 7))
        with _commands(killed, tmp_path, ("fold", "archive")) as running:
            for part in range(0, EVENTS, 20):
                killed.append(events[part : part + 20])
                time.sleep(draw.uniform(0, 0.15))
            draw.choice(running).kill()
            draw.choice(running).kill()
        quiet.append(events)
        for each in (killed, quiet):
            advance(each.client, each.keys, max(later, each.clock.now()))
        quiet.drain(through)
    with _commands(killed, tmp_path, ("fold", "archive")):
        _wait_until_done(killed, tmp_path)
    assert {each.k for each in killed.admitted} == {each.k for each in quiet.admitted}
    assert killed.stored() == {key.replace(b"-quiet", b""): value for key, value in quiet.stored().items()}
    archive = Archive(tmp_path / "archive", PARTITIONS)
    archived = [row for p in range(PARTITIONS) for row in archive.read(p, columns=["k", "message_id"]).to_pylist()]
    assert sorted((row["k"], row["message_id"]) for row in archived) == sorted(
        (each.k, each.event.message_id) for each in killed.admitted
    )


@contextmanager
def _commands(deployment: Deployment, home: Path, names: Sequence[str]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    (home / "plan.json").write_bytes(PLAN.encode())
    settings = load(
        home=home, redis_url=deployment.url, redis_prefix=deployment.keys.prefix, partitions=PARTITIONS, replay=True
    )
    with (home / "log").open("ab") as log:
        started = [
            subprocess.Popen([sys.executable, "-m", "opportune", name], env=settings.child_environment(), stderr=log)
            for name in names
        ]
    _wait_for_epoch(deployment, started)
    try:
        yield started
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait(20)


def _wait_for_epoch(deployment: Deployment, started: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Until the fold owns the last partition."""
    meta = deployment.keys.meta(PARTITIONS - 1)
    before = deployment.client.hget(meta, "epoch")
    deadline = time.monotonic() + 30
    while deployment.client.hget(meta, "epoch") == before:
        assert time.monotonic() < deadline, "the fold did not start"
        assert started[0].poll() is None, "the fold ended by itself"
        time.sleep(0.01)


def _wait_until_done(deployment: Deployment, home: Path) -> None:
    """Until the last event is folded, the due snapshot is out, and everything is archived."""
    s = deployment.clock.now() // MINUTE_US * MINUTE_US
    archive = Archive(home / "archive", PARTITIONS)
    logged = _logged(deployment)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        offsets = {p: int(deployment.client.hget(deployment.keys.meta(p), "offset") or 0) for p in logged}
        spans = {p: (archive.logged_span(p) or (0, 0))[1] for p in logged}
        published = int(deployment.client.get(deployment.keys.snapshot_version()) or 0)
        if offsets == logged and spans == logged and published >= s:
            return
        time.sleep(0.1)
    pytest.fail("the fold and the archive were not done after 60 s")


def _logged(deployment: Deployment) -> dict[int, int]:
    """The last entry of each partition's log."""
    found = {}
    for partition in range(PARTITIONS):
        entries = deployment.client.xrevrange(deployment.keys.stream(partition), count=1)
        if entries:
            found[partition] = int(entries[0][0].partition(b"-")[0])
    return found
