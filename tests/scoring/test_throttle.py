"""Holding back: the probability of the book, over a window, and recovery."""

from collections.abc import Sequence

import pytest

from scoring.throttle import LEAST, WINDOW_S, K, Throttle


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
    """max(0, (requests - K × accepts) / (requests + 1)), and nothing is refused while half is taken."""
    throttle = Throttle(Seconds(), lambda: 1.0)  # a draw that never refuses
    assert called(throttle, [place < taken for place in range(wanted)]) == wanted
    assert throttle.refusal_probability() == max(0.0, (wanted - K * taken) / (wanted + 1))


def test_a_few_failures_hold_nothing_back() -> None:
    """Below the least number of calls every call is sent, though none was taken."""
    throttle = Throttle(Seconds(), lambda: 0.0)
    assert called(throttle, [False] * (LEAST + 10)) == LEAST


def test_refused_calls_are_counted_as_wanted() -> None:
    """While a server takes nothing, ever fewer calls reach it, though as many are wanted."""
    throttle = Throttle(Seconds(), iter(place % 100 / 100 for place in range(10_000)).__next__)
    first, last = called(throttle, [False] * 1000), called(throttle, [False] * 1000)
    assert 0 < last < first < 150


def test_what_left_the_window_is_forgotten() -> None:
    """After two minutes an outage is over: calls are sent as if nothing had been."""
    seconds = Seconds()
    throttle = Throttle(seconds, lambda: 0.5)
    called(throttle, [False] * 200)
    assert not throttle.lets_through()
    seconds.now += WINDOW_S * 1.01
    assert throttle.refusal_probability() == 0.0
    assert called(throttle, [True] * 200) == 200


def test_it_recovers_while_some_calls_are_taken() -> None:
    """A server that is back takes the few calls that are still sent, and soon gets all of them."""
    seconds = Seconds()
    throttle = Throttle(seconds, iter(place % 100 / 100 for place in range(100_000)).__next__)
    for _ in range(60):
        called(throttle, [False] * 10)
        seconds.now += 1
    for _ in range(180):
        called(throttle, [True] * 10)
        seconds.now += 1
    assert called(throttle, [True] * 100) == 100
