"""Tastes: spread as declared, drifting as far as declared, and shaken for one persona alone."""

import numpy as np

from tests.training.simulation.worlds import FAR, chi_square, day
from training.simulation.parameters import made_of
from training.simulation.tastes import Tastes, derangement, people_of

SHOCK = {"persona": 2, "at": "2024-01-11T06:00:00+00:00"}


def test_a_shock_changes_one_persona_from_its_instant_on() -> None:
    """Before it nothing differs; from it on the persona has its own tastes in other places, and no other persona."""
    calm, shaken = Tastes(made_of({})), made_of({"shocks": [SHOCK]})
    tastes, at = Tastes(shaken), shaken.shocks[0].t
    assert (tastes.at(at - 1) == calm.at(at - 1)).all()
    before, after = calm.at(at), tastes.at(at)
    assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all()
    assert (after[2] != before[2]).all()
    own_before, own_after = before[2] - calm.common, after[2] - calm.common
    assert np.allclose(np.sort(own_after), np.sort(own_before), atol=1e-12)
    assert np.allclose(own_after, own_before[derangement(shaken, 0)], atol=1e-12)


def test_shocks_follow_each_other() -> None:
    """A second shock of the same persona shakes what the first one left, whatever order they are given in."""
    second = {"persona": 2, "at": "2024-01-21T00:00:00+00:00"}
    one, both = made_of({"shocks": [SHOCK]}), made_of({"shocks": [SHOCK, second]})
    at = both.shocks[1].t
    assert (Tastes(one).at(at - 1) == Tastes(both).at(at - 1)).all()
    assert (Tastes(one).at(at)[2] != Tastes(both).at(at)[2]).all()


def test_drift_is_a_random_walk() -> None:
    """After n days each taste is n steps from where it was, and the way to an earlier day is the beginning of it."""
    p = made_of({"categories": 1000, "personas": 2, "drift": 0.1})
    tastes = Tastes(p)
    steps = [tastes.at(day(p, number + 1)) - tastes.at(day(p, number)) for number in range(9)]
    for step in steps:
        assert abs(step.std() / 0.1 - 1) * np.sqrt(2 * step.size) < FAR
    assert np.allclose(tastes.at(day(p, 9)) - tastes.at(day(p, 0)), sum(steps), atol=1e-9)
    assert abs((tastes.at(day(p, 9)) - tastes.at(day(p, 0))).std() / 0.3 - 1) * np.sqrt(4000) < FAR
    assert (tastes.at(day(p, 9)) == Tastes(p).at(day(p, 10) - 1)).all()


def test_people_are_spread_as_declared() -> None:
    """Personas and zones are as likely as each other, users' own tastes and activity as wide as declared."""
    p = made_of({"users": 4000, "own_spread": 0.7, "activity_spread": 0.5, "sessions_per_day": 2.0})
    people = people_of(p)
    assert abs(chi_square(np.bincount(people.persona), np.full(4, 1000.0))) < FAR
    assert abs(chi_square(np.bincount(people.zone), np.full(3, 4000 / 3))) < FAR
    assert abs(people.own.std() / 0.7 - 1) * np.sqrt(2 * people.own.size) < FAR
    assert abs(np.log(people.sessions_per_day).std() / 0.5 - 1) * np.sqrt(8000) < FAR
    assert abs(people.sessions_per_day.mean() / 2 - 1) < FAR * np.sqrt((np.exp(0.25) - 1) / 4000)


def test_tastes_are_spread_as_declared() -> None:
    """Each persona's own tastes are as wide as declared around what everybody likes."""
    tastes = Tastes(made_of({"categories": 1000, "taste_spread": 1.5, "common_spread": 0.5}))
    own = tastes.at(made_of({}).start_t) - tastes.common
    assert abs(own.std() / 1.5 - 1) * np.sqrt(2 * own.size) < FAR
    assert abs(tastes.common.std() / 0.5 - 1) * np.sqrt(2000) < FAR
