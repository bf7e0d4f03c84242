"""How long each stage of a call takes, wrapped around the functions that the stages are.

A stage costs two looks at the clock and one append: times are sorted into their buckets many at once, whenever the
server polls and when somebody asks for the figures.
"""

import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from itertools import accumulate
from typing import Any, ParamSpec, TypeVar

import numpy as np
from prometheus_client import REGISTRY
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")
# From the shortest stage to a deadline.
_BUCKETS = (
    0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25,
    0.5, 1.0,
)  # fmt: skip
_UPTO = np.array(_BUCKETS)
_ENDS = (*map(str, _BUCKETS), "+Inf")


class Times:
    """The times of one stage, in seconds: `observe` counts one more.

    counts    int64, how many are up to each end of `_BUCKETS` and above the one before
    total_s   their sum
    """

    __slots__ = ("_settling", "_waiting", "counts", "observe", "total_s")

    def __init__(self) -> None:
        self.counts = np.zeros(len(_ENDS), dtype=np.int64)
        self.total_s = 0.0
        self._waiting: list[float] = []
        self._settling = threading.Lock()
        self.observe: Callable[[float], None] = self._waiting.append

    def settle(self) -> None:
        """Sort what waits into its buckets; others may observe meanwhile, and settle."""
        with self._settling:
            if not self._waiting:
                return
            taken = self._waiting[:]
            del self._waiting[: len(taken)]
            times = np.array(taken)
            self.counts += np.bincount(_UPTO.searchsorted(times), minlength=len(_ENDS))
            self.total_s += float(times.sum())


class Stages(Collector):
    """The times of every stage of every method, as a histogram for Prometheus."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], Times] = {}

    def of(self, method: str, stage: str) -> Times:
        """The times of a stage, to be counted on."""
        return self._times.setdefault((method, stage), Times())

    def settle(self) -> None:
        """Sort the times of all stages; until then each of them is kept."""
        for times in self._times.copy().values():
            times.settle()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The histogram as it is now."""
        self.settle()
        family = HistogramMetricFamily(
            "opportune_stage_seconds", "Time spent per call and stage.", labels=("method", "stage")
        )
        for names, times in self._times.copy().items():
            buckets = zip(_ENDS, accumulate(map(float, times.counts.tolist())), strict=True)
            family.add_metric(names, list(buckets), times.total_s)
        yield family


STAGES = Stages()
REGISTRY.register(STAGES)


def timed(stage: str, method: str = "Score") -> Callable[[Callable[_Given, _Made]], Callable[_Given, _Made]]:
    """The function, with the time of every call that returns counted to the stage.

    >>> @timed("docs")
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> add(1, 2)
    3
    """
    observe, now = STAGES.of(method, stage).observe, time.perf_counter

    def wrap(work: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
        @wraps(work)
        def measured(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
            began = now()
            made = work(*args, **kwargs)
            observe(now() - began)
            return made

        return measured

    return wrap


def timed_async(
    stage: str, method: str = "Score"
) -> Callable[[Callable[_Given, Coroutine[Any, Any, _Made]]], Callable[_Given, Coroutine[Any, Any, _Made]]]:
    """As `timed`, of a coroutine function; what it waits for counts too."""
    observe, now = STAGES.of(method, stage).observe, time.perf_counter

    def wrap(work: Callable[_Given, Coroutine[Any, Any, _Made]]) -> Callable[_Given, Coroutine[Any, Any, _Made]]:
        @wraps(work)
        async def measured(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
            began = now()
            made = await work(*args, **kwargs)
            observe(now() - began)
            return made

        return measured

    return wrap
