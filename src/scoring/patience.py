"""How long waits may last, watched together: one timer rings for those that are over.

`asyncio.timeout` sets a timer for every wait and takes it back again, a fifth of what reading a state costs us, and
nearly all waits end long before. Here a wait is an instant that is noted.
"""

import asyncio
import math
import time
from types import TracebackType
from typing import Self

# Timers of event loops count in milliseconds: one that rings early must not be set again and again.
_EARLY_S = 0.001


class Patience:
    """Ends waits at their instants, those of `time.monotonic`, inside an event loop.

    with patience.until(instant) as wait:     raises TimeoutError then; `wait.is_over` says whether it was this one
        await something
    """

    def __init__(self) -> None:
        self._waiting: set[Wait] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf

    def until(self, instant: float) -> "Wait":
        """A wait that is over at the instant."""
        return Wait(self, instant)

    def watch(self, wait: "Wait", loop: asyncio.AbstractEventLoop) -> None:
        """Note a wait that begins."""
        if loop is not self._loop:  # timers end with their loop
            self._loop, self._timer, self._rings = loop, None, math.inf
        self._waiting.add(wait)
        if wait.instant < self._rings:
            self._set(wait.instant)

    def forget(self, wait: "Wait") -> None:
        """Leave out a wait that has ended; the timer stays, for the waits of others."""
        self._waiting.discard(wait)

    def _set(self, instant: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._rings = instant
        self._timer = self._loop.call_later(max(instant - time.monotonic(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings = None, math.inf
        now = time.monotonic() + _EARLY_S
        for over in [wait for wait in self._waiting if wait.instant <= now]:
            self.forget(over)
            over.end()
        if self._waiting:
            self._set(min(wait.instant for wait in self._waiting))


class Wait:
    """One wait of the task that enters it, until an instant; see `Patience`."""

    __slots__ = ("_cancelling", "_patience", "_task", "instant", "is_over")

    def __init__(self, patience: Patience, instant: float) -> None:
        self._patience = patience
        self.instant = instant
        self.is_over = False

    def __enter__(self) -> Self:
        """Begin to wait."""
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._patience.watch(self, task.get_loop())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise TimeoutError if the wait was ended because it was over; what else has cancelled the task goes on."""
        self._patience.forget(self)
        if self.is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """End it, since it is over."""
        self.is_over = True
        self._task.cancel()
