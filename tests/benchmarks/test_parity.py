"""The parity benchmark itself: its worlds hold what they promise, its comparison agrees, and planted defects show."""

from dataclasses import replace

import pytest

from behavior.event import HOUR_US
from tests.benchmarks.defects import BOTH, DEFECTS, OFFLINE, ONLINE, Defect
from tests.benchmarks.parity import held_against_each_other, planted_and_missed, replayed, stand
from tests.benchmarks.worlds import ENDINGS, generated, smaller

SMALL = smaller(generated(10, users=6, seed=2), asked=3)
# One of each side, cheap to see.
SOME = [DEFECTS[3], DEFECTS[-5], DEFECTS[-1]]


def test_worlds_hold_what_they_promise() -> None:
    """Late, tied, repeated and refused events, every way in which a fold may end, instants that never go back."""
    offers = [(stage.at, event) for stage in SMALL.stages for event in stage.offers]
    ids = [event.message_id for _, event in offers]
    times = [event.client_time for _, event in offers]
    assert len(set(ids)) < len(ids)
    assert len(set(times)) < len(times)
    assert any(at - event.client_time > HOUR_US for at, event in offers)
    assert any(event.purposes % 2 == 0 for _, event in offers)
    assert {stage.ending for stage in SMALL.stages} == {None, *ENDINGS}
    asked = [instant for stage in SMALL.stages for instant in stage.asked]
    assert asked == sorted(asked)
    assert all(stage.at <= min(stage.asked) for stage in SMALL.stages)


def test_worlds_follow_from_their_seed() -> None:
    """The same seed makes the same world, so that a mismatch can be looked at again; another one makes another."""
    assert generated(4, users=2, seed=5) == generated(4, users=2, seed=5)
    assert generated(4, users=2, seed=5) != generated(4, users=2, seed=6)


def test_a_small_world_agrees() -> None:
    """Tables, served bytes and the oracle agree in thousands of values; admissions are as foretold."""
    world = replace(SMALL, stages=SMALL.stages[:7])
    with stand(world, shipped=False) as here:
        done = replayed(here, world, (0.5, 1.0))
        tally = held_against_each_other(here, world, done)
    assert (tally.mismatches, tally.examples) == (0, [])
    assert tally.compared > 5_000
    assert tally.present_and_not_zero > tally.compared / 4
    assert min(tally.by_feature.values()) > 10
    assert done.wrong_admissions == 0
    assert done.admissions > 20


def test_planted_defects_are_caught() -> None:
    """A defect in the fold, in the SQL or in the finalisation makes the comparison fail."""
    assert {defect.side for defect in SOME} == {ONLINE, OFFLINE, BOTH}
    assert planted_and_missed(replace(SMALL, stages=SMALL.stages[:4]), SOME) == []


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_every_defect_can_be_planted_and_is_gone_afterwards(defect: Defect) -> None:
    """Each still fits the source that it changes."""
    with defect.planted():
        pass
