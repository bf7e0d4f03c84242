"""How long a window is, and which events it holds at an instant.

A window W is covered by whole hops plus the open one: an event with event time e counts at instant t iff

    k < t   and   floor(e, hop) > floor(t, hop) - W                                        (design 4.2)

so it enters at k + 1 µs and leaves at floor(e, hop) + W. Windows end at the reader's instant, so the counts of an idle
user fall by themselves.
"""

import re

from behavior.errors import BadDefinition
from behavior.event import DAY_US, HOUR_US, MINUTE_US

_UNITS = {"m": MINUTE_US, "h": HOUR_US, "d": DAY_US}
HOPS_US = (DAY_US, HOUR_US, 5 * MINUTE_US, MINUTE_US)
# A hop must fit at least this often into its window, so that the open hop blurs it by 4 % at most.
HOPS_PER_WINDOW = 24


def parse_span(text: str) -> int:
    """A span such as `30m`, `24h` or `7d` in microseconds.

    >>> parse_span("24h") == parse_span("1d") == DAY_US
    True
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", text)
    if match is None:
        raise BadDefinition(f"{text!r} is no time span; write a whole number with m, h or d, such as 30m, 24h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def hop_of(window_us: int) -> int:
    """The largest of 1 day, 1 hour, 5 minutes and 1 minute of which the window holds at least 24.

    >>> [hop_of(parse_span(span)) // MINUTE_US for span in ("1h", "24h", "7d", "30d")]
    [1, 60, 60, 1440]
    """
    for hop in HOPS_US:
        if window_us >= HOPS_PER_WINDOW * hop:
            if window_us % hop:
                raise BadDefinition(
                    f"a window of {window_us // MINUTE_US} minutes is not a whole number of its hops of "
                    f"{hop // MINUTE_US} minutes; round it"
                )
            return hop
    raise BadDefinition(f"a window of {window_us // MINUTE_US} minutes is too short; the shortest has 24 minutes")
