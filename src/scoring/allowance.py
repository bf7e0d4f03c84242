"""How much one caller may ask for: so many calls a second, so many at once."""

import math
import time
from collections.abc import Callable

from behavior.errors import Exhausted
from scoring.access import Caller

# How long a call lasts is not known; a pause of some calls' length is enough to try again.
PAUSE_MS = 20


class Allowance:
    """One caller's calls, held against its limits: a token bucket (Turner 1986) and a count of open calls.

    now    seconds that never go back
    """

    def __init__(self, name: str, limits: Caller, now: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.open = 0
        self._name = name
        self._now = now
        self._tokens = self._most
        self._at = now()

    def change(self, limits: Caller) -> None:
        """Go on with other limits; calls that are open count on, and nothing that was used up comes back."""
        self.limits = limits
        self._tokens = min(self._tokens, self._most)

    def begin(self) -> None:
        """Count a call in. Raises Exhausted, and then it does not count."""
        limits = self.limits
        if limits.at_once is not None and self.open >= limits.at_once:
            raise Exhausted(
                f"{self._name} has {self.open} calls open, and may have {limits.at_once} at once; wait for answers",
                "at_once", PAUSE_MS,
            )  # fmt: skip
        if limits.calls_per_s is not None:
            self._take(limits.calls_per_s)
        self.open += 1

    def end(self) -> None:
        """Count a call out."""
        self.open -= 1

    @property
    def _most(self) -> float:
        return self.limits.burst or max(1.0, self.limits.calls_per_s or 1.0)

    def _take(self, rate: float) -> None:
        now = self._now()
        self._tokens = min(self._most, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            wait_ms = math.ceil((1 - self._tokens) / rate * 1000)
            raise Exhausted(
                f"{self._name} may make {rate:g} calls a second; try again in {wait_ms} ms", "calls_per_s", wait_ms
            )
        self._tokens -= 1
