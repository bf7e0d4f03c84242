"""Timing is wrapped around the work and changes nothing of it."""

import asyncio

import pytest

from scoring.stages import STAGES, timed, timed_async


def counted(stage: str) -> tuple[float, float]:
    """How many calls of a stage were counted, and their time in seconds."""
    samples = {
        each.name: each.value
        for family in STAGES.collect()
        for each in family.samples
        if each.labels.get("stage") == stage and "le" not in each.labels
    }
    return samples["opportune_stage_seconds_count"], samples["opportune_stage_seconds_sum"]


def test_a_stage_counts_every_call_that_returns() -> None:
    """What it returns and takes is the function's own; a call that raises is no time of the stage."""

    @timed("test_of_a_stage")
    def halve(number: int, *, by: int = 2) -> float:
        """Doc."""
        return number / by

    assert (halve(4), halve(9, by=3), halve.__name__, halve.__doc__) == (2.0, 3.0, "halve", "Doc.")
    with pytest.raises(ZeroDivisionError):
        halve(1, by=0)
    count, seconds = counted("test_of_a_stage")
    assert count == 2
    assert seconds > 0


def test_a_stage_that_waits_counts_the_waiting() -> None:
    """The time until a coroutine has its answer, what it waits for included."""

    @timed_async("test_of_waiting")
    async def wait() -> str:
        await asyncio.sleep(0.01)
        return "answer"

    assert asyncio.run(wait()) == "answer"
    count, seconds = counted("test_of_waiting")
    assert count == 1
    assert seconds >= 0.009
