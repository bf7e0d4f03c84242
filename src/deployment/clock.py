"""The one clock of a deployment.

In production it is the system's. To replay the past, it is one value in Redis that every process follows: it starts at
a chosen instant, stands still, and is advanced by hand, never set back. Nothing else in the house asks what time it is.
"""

import time
from dataclasses import dataclass, field

import redis
import redis.asyncio

from behavior.errors import BadInput, Unavailable
from deployment.keys import Keys

# Never back: two operators advancing at once leave the later instant.
_ADVANCE = """
local now = tonumber(redis.call('GET', KEYS[1]) or '-1')
local to = tonumber(ARGV[1])
if to < now then return now end
redis.call('SET', KEYS[1], ARGV[1])
return to
"""


def system_now() -> int:
    """The system's time in microseconds UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Clock:
    """Reads the deployment's now for synchronous processes; `replay_key` is None in production."""

    client: "redis.Redis"
    replay_key: bytes | None

    def now(self) -> int:
        """Microseconds UTC.

        Raises BadInput when the replay has not been given its first instant yet.
        """
        return system_now() if self.replay_key is None else _instant(self.client.get(self.replay_key))


@dataclass(slots=True)
class AsyncClock:
    """Reads the deployment's now inside an event loop."""

    client: "redis.asyncio.Redis"
    replay_key: bytes | None
    _last: int | None = field(default=None, init=False)

    async def now(self) -> int:
        """Microseconds UTC; in production without any I/O."""
        if self.replay_key is None:
            return system_now()
        now = self._last = _instant(await self.client.get(self.replay_key))
        return now

    def latest(self) -> int:
        """Microseconds UTC without any I/O: in a replay, which stands still, as it was read last.

        Raises Unavailable if a replay's clock has never been read.
        """
        if self.replay_key is None:
            return system_now()
        if self._last is None:
            raise Unavailable("Redis has not told the replay's clock yet; try again")
        return self._last


def replay_key(keys: Keys, *, replay: bool) -> bytes | None:
    """Where the replay clock is, or None in production."""
    return keys.clock() if replay else None


def advance(client: "redis.Redis", keys: Keys, to: int) -> None:
    """Move the replay clock forward to an instant.

    Raises BadInput if it stands later already.
    """
    reached = int(client.eval(_ADVANCE, 1, keys.clock(), to))
    if reached > to:
        raise BadInput(f"the replay clock stands at {reached} µs already and is never set back; you asked for {to}")


def _instant(stored: bytes | str | None) -> int:
    if stored is None:
        raise BadInput("the replay clock has no instant yet; start it with `opportune clock advance --to`")
    return int(stored)
