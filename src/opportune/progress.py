"""Telling a person how far something is: bars on a terminal, plain lines without one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Tell = Callable[[str, int, int], None]
# Without a terminal, one line when a step begins and then at most one per so many seconds.
QUIET_S = 10.0


@contextmanager
def progress(console: Console | None = None) -> Iterator[Tell]:
    """A function `tell(step, done, all)` that shows how far each step is, on stderr: stdout is the answer's."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=False) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = {}  # type: dict[str, object]

    def __call__(self, step: str, done: int, all_: int) -> None:
        if step not in self._task:
            for task in self._bars.tasks:
                self._bars.update(task.id, completed=task.total)
            self._task[step] = self._bars.add_task(step, total=all_)
        self._bars.update(self._task[step], completed=done, total=all_)  # type: ignore[arg-type]


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._step = ""
        self._said = 0.0

    def __call__(self, step: str, done: int, all_: int) -> None:
        now = time.monotonic()
        if step == self._step and now - self._said < QUIET_S:
            return
        self._step, self._said = step, now
        far = f" {done}/{all_}" if done else ""
        self._console.print(f"[{now - self._began:6.1f} s] {step}{far}", markup=False, highlight=False)
