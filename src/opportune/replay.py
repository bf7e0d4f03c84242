"""The replay clock as people handle it: instants and spans in words, on the Redis of the settings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import redis

from behavior.errors import BadInput, Unavailable
from deployment.clock import Clock, advance, replay_key
from deployment.connections import PASSING, connect
from deployment.keys import Keys
from deployment.settings import Settings

_SPAN = re.compile(r"(\d+)\s*(s|min|h|d)")
_UNIT_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(text: str, settings: Settings) -> int:
    """Microseconds UTC of an ISO 8601 instant; without an offset it is meant in the settings' zone. Raises BadInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is no instant; write it like 2017-10-15T00:00 or 2017-10-15T00:00-04:00") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(settings.zone))
    return (aware - _EPOCH) // timedelta(microseconds=1)


def span_us(text: str) -> int:
    """Microseconds of a span like `90s`, `5min`, `2h` or `7d`. Raises BadInput.

    >>> span_us("2h")
    7200000000
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is no span of time; write it like 90s, 5min, 2h or 7d")
    return int(match[1]) * _UNIT_S[match[2]] * 1_000_000


def shown(instant_us: int, settings: Settings) -> str:
    """The instant in the settings' zone, ISO 8601 with its offset."""
    moment = _EPOCH + timedelta(microseconds=instant_us)
    return moment.astimezone(ZoneInfo(settings.zone)).isoformat()


@dataclass(frozen=True, slots=True)
class DeploymentClock:
    """The clock that a deployment's processes follow."""

    client: "redis.Redis"
    keys: Keys
    replay: bool

    def now(self) -> int:
        """Microseconds UTC. Raises BadInput if a replay has no instant yet."""
        return Clock(self.client, replay_key(self.keys, replay=self.replay)).now()

    def advance(self, to: int) -> None:
        """Move a replay forward to the instant. Raises BadInput if it is no replay or stands later already."""
        if not self.replay:
            raise BadInput("the clock is the system's and cannot be advanced; set OPPORTUNE_REPLAY=true for a replay")
        advance(self.client, self.keys, to)


@contextmanager
def replay_clock(settings: Settings) -> Iterator[DeploymentClock]:
    """The clock of the deployment whose Redis the settings name.

    Raises BadInput if they name none, Unavailable if it does not answer.
    """
    if settings.redis_url is None:
        raise BadInput("no deployment runs in this home; start one with `opportune up`, or set OPPORTUNE_REDIS_URL")
    try:
        with connect(settings) as client:
            yield DeploymentClock(client, Keys(settings.redis_prefix, settings.partitions), settings.replay)
    except PASSING as error:
        raise Unavailable(f"Redis at {settings.redis_address} does not answer ({type(error).__name__})") from error
