"""Holding back: the probability of the book, over a window, and recovery."""

import random
from collections.abc import Sequence

import pytest

from scoring.throttle import LEAST, MOST, WINDOW_S, K, Throttle


class Seconds:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def called(throttle: Throttle, taken: Sequence[bool]) -> int:
    """Want so many calls, of which a server would take those; how many were sent."""
    sent = 0
    for each in taken:
        if throttle.lets_through():
            sent += 1
            if each:
                throttle.accepted()
    return sent


@pytest.mark.parametrize(("wanted", "taken"), [(100, 100), (100, 50), (100, 20), (100, 0), (25, 5)])
def test_the_probability_is_that_of_the_book(wanted: int, taken: int) -> None:
    """max(0, (requests - K × accepts) / (requests + 1)), nothing while half is taken, and never all calls."""
    throttle = Throttle(Seconds(), lambda: 1.0)  # a draw that never refuses
    assert called(throttle, [place < taken for place in range(wanted)]) == wanted
    assert throttle.refusal_probability() == min(MOST, max(0.0, (wanted - K * taken) / (wanted + 1)))


def test_a_few_failures_hold_nothing_back() -> None:
    """Below the least number of calls every call is sent, though none was taken."""
    throttle = Throttle(Seconds(), lambda: 0.0)
    assert called(throttle, [False] * (LEAST + 10)) == LEAST


def test_refused_calls_are_counted_as_wanted() -> None:
    """While a server takes nothing, one call in ten reaches it, however many are wanted."""
    throttle = Throttle(Seconds(), random.Random(1).random)
    called(throttle, [False] * 1000)
    assert 50 < called(throttle, [False] * 1000) < 150


def test_what_left_the_window_is_forgotten() -> None:
    """When the window has passed an outage is over: calls are sent as if nothing had been."""
    seconds = Seconds()
    throttle = Throttle(seconds, lambda: 0.85)
    called(throttle, [False] * 200)
    assert not throttle.lets_through()
    seconds.now += WINDOW_S * 1.01
    assert throttle.refusal_probability() == 0.0
    assert called(throttle, [True] * 200) == 200


def test_it_recovers_within_three_windows() -> None:
    """A server that is back after a long outage takes the calls that are still sent, and soon gets all of them."""
    seconds = Seconds()
    throttle = Throttle(seconds, random.Random(1).random)

    def second(*, taken: bool) -> int:
        seconds.now += 1
        return called(throttle, [taken] * 50)

    assert sum(second(taken=False) for _ in range(600)) < 600 * 50 * 0.2
    for _ in range(int(3 * WINDOW_S)):
        second(taken=True)
    assert second(taken=True) == 50
