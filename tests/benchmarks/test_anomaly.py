"""The benchmark of anomalies scores as it says."""

import pytest

from tests.benchmarks.anomaly import Injected, nab_score

WINDOWS = [(100, 200), (400, 500)]


@pytest.mark.parametrize(
    ("alarms", "total"),
    [([], -2.0), ([100, 400], 2.0), ([100, 150, 200, 400], 2.0), ([50, 100, 400], 1.89), ([100, 350, 400], 1.89)],
)
def test_the_score_of_windows(alarms: list[int], total: float) -> None:
    """Nothing found costs 1 a window, the first alarm of a window counts alone, and one far off costs 0.11."""
    assert nab_score(alarms, WINDOWS)[0] == pytest.approx(total, abs=0.002)


def test_late_is_worth_less_and_just_missed_costs_less() -> None:
    """An alarm at the end of a window is worth nothing, one right behind it costs less than one far off."""
    early, late = nab_score([110, 400], WINDOWS)[0], nab_score([200, 400], WINDOWS)[0]
    assert early > late == pytest.approx(1.0)
    assert nab_score([100, 205, 400], WINDOWS)[0] > nab_score([100, 300, 400], WINDOWS)[0]


def test_an_event_is_found_by_an_alarm_of_its_direction() -> None:
    """Within it or an hour after; a spike does not find a drop."""
    drop = Injected(first=100, last=112, times=0.5, deviations=7.0)
    assert drop.delay([(90, -1), (103, 1), (105, -1)]) == 6
    assert drop.delay([(103, 1), (124, -1)]) is None
