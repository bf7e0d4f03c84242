"""How long each step of a long piece of work took, told while it runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One step's name and wall time."""

    name: str
    seconds: float


@dataclass(slots=True)
class Steps:
    """The steps that are done, in order; `progress(step, done, all)` is told of each."""

    progress: Progress
    done: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """One step; what it yields tells how far it is."""
        started = time.perf_counter()
        self.progress(name, 0, 1)
        yield lambda done, all_: self.progress(name, done, all_)
        self.done.append(Step(name, round(time.perf_counter() - started, 1)))
