"""The cap per user: who gives very many examples does not decide for everybody of the persona.

Of a user's examples the first CAP within some time count whole, then each less: CAP / n, where n counts the user's
examples, half as much after HALF_LIFE_US of event time. So n examples at once weigh CAP × (1 + log(n / CAP)) together.
Pure; the users who gave an example longest ago are forgotten where there are more than `room`.
"""

import math

from scoring.learners import Numbers, key_of, parts_of
from scoring.recency import Recency

# Ten answers of ten things each: ordinary users stay below.
CAP = 100.0
HALF_LIFE_US = 24 * 3_600_000_000
ROOM = 50_000


class UserCaps:
    """What each user's examples count for; numbers (n, instant µs, tick) by user.

    >>> caps = UserCaps()
    >>> weights = [caps.weight("k1-ab", t=0) for _ in range(1_000)]
    >>> weights[0], weights[99], weights[999]
    (1.0, 1.0, 0.1)
    """

    def __init__(self, room: int = ROOM) -> None:
        self._counts: dict[str, tuple[float, float]] = {}
        self._recency: Recency[str] = Recency(room)

    def weight(self, user_id: str, t: int) -> float:
        """What an example of the user counts for, 0 to 1; counts it. An older one than the latest counts as if now."""
        n, last = self._counts.get(user_id, (0.0, float(t)))
        now = max(last, float(t))
        n = n * math.exp2((last - now) / HALF_LIFE_US) + 1.0
        self._counts[user_id] = (n, now)
        for forgotten in self._recency.touch([user_id]):
            del self._counts[forgotten]
        return min(1.0, CAP / n)

    def changed(self) -> dict[str, tuple[float, ...] | None]:
        """What has changed since this was last asked; None of who was forgotten."""
        users = self._recency.changed()
        return {key_of(user): self._of(user) if user in self._counts else None for user in users}

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """All state."""
        return {key_of(user): self._of(user) for user in self._counts}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        users = {parts_of(key)[0]: values for key, values in numbers.items()}
        self._counts = {user: (n, last) for user, (n, last, _) in users.items()}
        self._recency.restore({user: tick for user, (_, _, tick) in users.items()})

    def _of(self, user_id: str) -> tuple[float, ...]:
        return (*self._counts[user_id], float(self._recency.ticks[user_id]))
