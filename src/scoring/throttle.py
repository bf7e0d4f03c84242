"""Holding back: a caller whose calls are not taken sends fewer of them, so that an overloaded server can recover.

Refusing costs a server nearly as much as answering. So each client itself refuses calls with the probability

    max(0, (requests - K × accepts) / (requests + 1))

where `requests` counts every call that was wanted and `accepts` those that a server took (Beyer et al., Site
Reliability Engineering, 2016, chapter 21, "Client-side throttling"). Two things are ours: the book looks back two
minutes, and lets next to nothing through after an outage of that length, so that it takes minutes to see that it is
over. Here it is ten seconds, and one call in ten is always sent.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable

# A server sees at most K times what it takes: 2 lets a recovery be noticed at once and wastes little.
K = 2.0
WINDOW_S = 10.0
MOST = 0.9
# Fewer calls than this say nothing: one failed call must not cost the next one.
LEAST = 20
_SLOTS = 20


class Throttle:
    """Counts what became of calls; safe to share between threads.

    clock, draw    seconds that never go back, and a number in [0, 1) per call: given by tests only

    >>> throttle = Throttle(clock=lambda: 0.0, draw=lambda: 0.85)
    >>> sent = [throttle.lets_through() for _ in range(100)]  # and none of them is taken
    >>> throttle.refusal_probability(), throttle.lets_through()
    (0.9, False)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, draw: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._slots: deque[list[int]] = deque()  # [number of the slot, requests, accepts], oldest first
        self._requests = 0
        self._accepts = 0

    def lets_through(self) -> bool:
        """Count a call that is wanted, and say whether it may be sent."""
        with self._lock:
            slot = self._slot()
            refused = self._draw() < self._probability()
            slot[1] += 1
            self._requests += 1
            return not refused

    def accepted(self) -> None:
        """Count a call that a server took, whatever it answered."""
        with self._lock:
            self._slot()[2] += 1
            self._accepts += 1

    def refusal_probability(self) -> float:
        """How likely the next call is refused here."""
        with self._lock:
            self._slot()
            return self._probability()

    def _probability(self) -> float:
        if self._requests < LEAST:
            return 0.0
        return min(MOST, max(0.0, (self._requests - K * self._accepts) / (self._requests + 1)))

    def _slot(self) -> list[int]:
        """The counts of now; what has left the window is forgotten."""
        number = int(self._clock() / WINDOW_S * _SLOTS)
        while self._slots and self._slots[0][0] <= number - _SLOTS:
            _, requests, accepts = self._slots.popleft()
            self._requests -= requests
            self._accepts -= accepts
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0, 0])
        return self._slots[-1]
