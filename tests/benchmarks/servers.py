"""Servers to compare with: a module that prints its port, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from behavior.errors import OpportuneError
from deployment.leash import leashed

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Served:
    """A server under load: where it is, how many candidates each of its answers must rank, and its Redis if any."""

    address: str
    pid: int
    ranked: int
    redis_pid: int | None = None


@contextmanager
def served(
    module: str, arguments: Sequence[str], *, ranked: int, log: Path, redis_pid: int | None = None
) -> Iterator[Served]:
    """Run `python -m module` until the block ends, its stderr into the log. Raises OpportuneError if it ends early."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            leashed([sys.executable, "-m", module, *arguments]),
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise OpportuneError(f"{module} did not start: {line!r}; {log.read_text(errors='replace')[-2_000:]}")
        yield Served(f"127.0.0.1:{int(line)}", process.pid, ranked, redis_pid)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
