"""How long each stage of a call takes, wrapped around the functions that the stages are.

A stage costs less than 1 µs: its series is looked up once, when it is wrapped on, and counting takes no lock. So stages
run in one thread, that of the event loop; whoever asks for the figures may be in another.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from itertools import accumulate
from typing import Any, ParamSpec, TypeVar

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
_ENDS = (*map(str, _BUCKETS), "+Inf")


class Times:
    """The times of one stage: how many are up to each end of `_BUCKETS` and above the one before, and their sum."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_ENDS)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total_s += seconds


class Stages(Collector):
    """The times of every stage of every method, as a histogram for Prometheus."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], Times] = {}

    def of(self, method: str, stage: str) -> Times:
        """The times of a stage, to be counted on."""
        return self._times.setdefault((method, stage), Times())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The histogram as it is now."""
        family = HistogramMetricFamily(
            "opportune_stage_seconds", "Time spent per call and stage.", labels=("method", "stage")
        )
        for names, times in self._times.copy().items():
            buckets = zip(_ENDS, accumulate(map(float, times.counts)), strict=True)
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
