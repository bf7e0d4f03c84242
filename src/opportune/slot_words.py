"""What a slot of a state holds, in a few words for people."""

from datetime import UTC, datetime
from typing import Any

from behavior.event import SECOND_US
from behavior.extremes import ExtremeTime, ExtremeValue
from behavior.members import Distinct, Recent
from behavior.slot import Slot
from behavior.sums import Buckets, Sum

_NAMED = 3


def slot_words(slot: Slot, value: Any) -> str:
    """The slot's value in a few words, instants in UTC.

    >>> from behavior.event import DAY_US
    >>> from behavior.matching import Match, Term
    >>> slot_words(Buckets((Term(Match("purchase")),), DAY_US, 30 * DAY_US), [17_000, 2, 3, 1])
    '3 in 2 hops of 1d, 2016-07-15 to 2016-07-18'
    """
    if isinstance(slot, Buckets):
        return _buckets(slot, value)
    if isinstance(slot, Sum):
        return str(value)
    if isinstance(slot, ExtremeTime):
        return "never" if value is None else instant_words(value)
    if isinstance(slot, ExtremeValue):
        return "nothing" if value is None else f"{value[3]!r} of {instant_words(value[0])}"
    if isinstance(slot, Distinct):
        named = ", ".join(sorted(value)[:_NAMED])
        return f"{len(value)}: {named}{', ...' if len(value) > _NAMED else ''}" if value else "none"
    assert isinstance(slot, Recent)
    return f"{len(value)}, the last admitted {instant_words(value[0][0])}" if value else "none"


def instant_words(instant_us: int) -> str:
    """An instant (µs) in UTC, with no more digits than it needs.

    >>> instant_words(1_508_040_000_000_000)
    '2017-10-15T04:00:00Z'
    """
    whole, rest = divmod(instant_us, SECOND_US)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}{f'.{rest:06}' if rest else ''}Z"


def _buckets(slot: Buckets, value: list[int]) -> str:
    if not value:
        return "none"
    newest, oldest = value[0], value[0] - sum(value[2::2])
    minutes = slot.hop_us // (60 * SECOND_US)
    hop = f"{minutes // 1440}d" if minutes % 1440 == 0 else f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
    days = 10 if hop.endswith("d") else 16
    first, last = (instant_words(each * slot.hop_us)[:days] for each in (oldest, newest))
    hops = len(value) // 2
    return f"{sum(value[1::2])} in {hops} hop{'s' * (hops > 1)} of {hop}, {first}{f' to {last}' if hops > 1 else ''}"
