"""Windows and hops (design 4.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.errors import BadDefinition
from behavior.window import hop_of, parse_span

MINUTE, HOUR, DAY = 60 * 10**6, 3600 * 10**6, 86_400 * 10**6


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m", MINUTE), ("30m", 30 * MINUTE), ("1h", HOUR), ("24h", DAY), ("1d", DAY), ("400d", 400 * DAY)],
)
def test_a_span_is_a_whole_number_of_minutes_hours_or_days(text: str, expected: int) -> None:
    """`m`, `h` and `d` are minutes, hours and days of 24 hours, in microseconds."""
    assert parse_span(text) == expected


@pytest.mark.parametrize(
    "text", ["", "d", "0h", "-1h", "1.5h", "1 h", " 7d", "7d ", "7D", "30s", "1w", "1h30m", "٣d", "7d\n", "1e2d"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    """Anything else is refused with the text itself in the message, never read as something near."""
    with pytest.raises(BadDefinition) as refused:
        parse_span(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("over", "hop"),
    [
        ("24m", MINUTE), ("1h", MINUTE), ("119m", MINUTE), ("2h", 5 * MINUTE), ("23h", 5 * MINUTE),
        ("1435m", 5 * MINUTE), ("24h", HOUR), ("7d", HOUR), ("575h", HOUR), ("24d", DAY), ("30d", DAY), ("400d", DAY),
    ],
)  # fmt: skip
def test_the_hop_is_the_largest_of_which_the_window_holds_24(over: str, hop: int) -> None:
    """At and beside each change of hop, the hop is the one that design 4.2 names."""
    assert hop_of(parse_span(over)) == hop


@given(st.integers(24, 500 * 1440))
def test_a_window_is_whole_hops_or_refused(minutes: int) -> None:
    """A window is a whole number, at least 24, of the largest hop of which it holds 24; otherwise it is refused."""
    window = minutes * MINUTE
    largest = max(hop for hop in (MINUTE, 5 * MINUTE, HOUR, DAY) if 24 * hop <= window)
    if window % largest == 0:
        assert hop_of(window) == largest
    else:
        with pytest.raises(BadDefinition):
            hop_of(window)


@pytest.mark.parametrize("minutes", [1, 23])
def test_a_window_that_is_too_short_is_refused(minutes: int) -> None:
    """No hop fits 24 times into less than 24 minutes; the message says what the shortest window is."""
    with pytest.raises(BadDefinition, match="24 minutes"):
        hop_of(minutes * MINUTE)
