"""Floods: a few users who are the cause of a spike, found in bounded memory."""

import msgspec

from scoring.learners import Numbers

# At most so many users are a flood, when together they are this share of the excess.
FEW, FLOOD = 3, 0.5


class Flood(msgspec.Struct, frozen=True):
    """The few users, by pseudonym, who are most of an excess; never labels of a metric."""

    users: tuple[str, ...]
    share: float


class Heaviest:
    """The heaviest users of an episode in bounded memory: Space-Saving.

    Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data streams", ICDT 2005:
    a user in whose place another one was counted is over-counted by at most `errors`, which is subtracted here.
    """

    def __init__(self, room: int = 64) -> None:
        self.room = room
        self._users: dict[str, tuple[float, float]] = {}

    def add(self, user: str, value: float = 1.0) -> None:
        """Count one event of a pseudonym."""
        count, error = self._users.get(user, (0.0, 0.0))
        if user not in self._users and len(self._users) >= self.room:
            least = min(self._users, key=lambda each: (self._users[each][0], each))
            count = error = self._users.pop(least)[0]
        self._users[user] = (count + value, error)

    def flood(self, expected: float, seen: float) -> Flood | None:
        """The fewest users, at most FEW, who are FLOOD of the excess for certain; None if there are none."""
        sure = sorted(((count - error, user) for user, (count, error) in self._users.items()), reverse=True)
        excess = seen - expected
        for few in range(1, min(FEW, len(sure)) + 1 if excess > 0.0 else 0):
            share = sum(count for count, _ in sure[:few]) / excess
            if share >= FLOOD:
                return Flood(tuple(user for _, user in sure[:few]), min(share, 1.0))
        return None

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state."""
        return dict(self._users)

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        self._users = {user: (count, error) for user, (count, error) in numbers.items()}
