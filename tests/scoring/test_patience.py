"""Waits that are watched together: each ends at its own instant, as `asyncio.timeout` would have it."""

import asyncio
import time

import pytest

from scoring.patience import Patience


async def waited(patience: Patience, most_s: float, takes_s: float) -> str:
    """What became of something that takes so long."""
    try:
        with patience.until(time.monotonic() + most_s) as wait:
            await asyncio.sleep(takes_s)
    except TimeoutError:
        assert wait.is_over
        return "over"
    assert not wait.is_over
    return "done"


def test_each_wait_ends_at_its_own_instant() -> None:
    """Of many at once, begun in any order; a loop that has ended, with its timer, does not keep others from ending."""
    patience = Patience()

    async def some() -> list[str]:
        many = ((0.5, 0.0), (0.02, 60.0), (60.0, 0.1), (0.05, 60.0), (0.0, 60.0), (60.0, 0.0))
        return await asyncio.gather(*(waited(patience, most_s, takes_s) for most_s, takes_s in many))

    for _ in range(2):
        assert asyncio.run(some()) == ["done", "over", "done", "over", "over", "done"]


def test_who_is_cancelled_meanwhile_stays_cancelled() -> None:
    """Also by whoever cancels after the wait is over, before the task has heard of it."""
    patience = Patience()

    async def cancelled(most_s: float, after_s: float) -> bool:
        task = asyncio.create_task(waited(patience, most_s, 60.0))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(after_s, task.cancel)
        await asyncio.wait([task])
        return task.cancelled()

    async def over_and_cancelled() -> bool:
        task = asyncio.create_task(waited(patience, 0.0, 60.0))
        await asyncio.sleep(0)
        for wait in tuple(patience._waiting):
            wait.end()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled(60.0, 0.0))
    assert asyncio.run(over_and_cancelled())


def test_an_error_within_a_wait_is_that_error() -> None:
    """The wait is forgotten then, and nobody is cancelled for it later."""
    patience = Patience()

    async def fails() -> None:
        with pytest.raises(ZeroDivisionError), patience.until(time.monotonic() + 0.01):
            raise ZeroDivisionError
        await asyncio.sleep(0.03)

    asyncio.run(fails())
