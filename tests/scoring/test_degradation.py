"""What answers say that they had to do without: the reasons, when each applies, and where they are told."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.event import SECOND_US
from deployment.snapshot import Snapshot
from deployment.user_state import UserState
from scoring.budget import LONGEST_CALL_S, LONGEST_READ_S, budget_of
from scoring.degradation import REASONS, STALE_INTERVALS, Circumstances, degradations
from scoring.placements import Placement
from scoring.recall import Known
from tests.scoring.small import PLAN, START

INTERVAL = PLAN.interval_us
READ = Known(START, 7, UserState(PLAN, {b"a": b"x"}))
NOTHING = UserState(PLAN, {})
SEEN = np.ones((3, 4), dtype=np.float32)


def told(
    known: Known = READ, placement: Placement | None = None, lag_us: int = 0, vector: np.ndarray = SEEN
) -> dict[str, str]:
    """{reason: detail} of an answer that was made so."""
    snapshot = Snapshot(START - lag_us, PLAN, {})
    return dict(degradations(Circumstances(known, snapshot, placement or Placement(), START, vector)))


def half_missing() -> np.ndarray:
    vector = SEEN.copy()
    vector[:, :2] = np.nan
    return vector


def test_a_whole_answer_is_not_degraded() -> None:
    """Read in time, of a known user, with fresh values: nothing to say."""
    assert told() == {}
    assert told(lag_us=STALE_INTERVALS * INTERVAL) == {}


@pytest.mark.parametrize(
    ("known", "reasons", "said"),
    [
        (Known(START, 0, NOTHING), ["unknown_user"], "nothing is known"),
        (Known(START, 7, READ.state, "Redis slept", 2.5), ["state_cached"], "Redis slept.*2.5 s ago"),
        (Known(START, 0, NOTHING, "Redis slept", None), ["state_unavailable"], "Redis slept.*by what is known of all"),
        (Known(START, 0, NOTHING, "Redis slept", None, "Lost"), ["state_unavailable"], "the persona Lost and what"),
        (Known(START, 7, READ.state, "gone", 0.1, clock_read=False), ["state_cached", "clock_unavailable"], "clock"),
    ],
)
def test_what_is_known_of_the_user_is_told(known: Known, reasons: list[str], said: str) -> None:
    """An unknown user, a remembered state and none at all are three different things."""
    found = told(known)
    assert list(found) == reasons
    assert re.search(said, " ".join(found.values()))


def test_a_persona_of_which_nothing_is_learned_for_a_while_is_told() -> None:
    """After harm, what the learner adds is as it last helped."""
    seen = Circumstances(READ, Snapshot(START, PLAN, {}), Placement(), START, SEEN, is_resting=True)
    ((reason, said),) = degradations(seen)
    assert reason == "learner_resting"
    assert "taken back" in said


def test_a_stale_snapshot_is_told() -> None:
    """Older than three of its intervals."""
    assert list(told(lag_us=STALE_INTERVALS * INTERVAL + 1)) == ["snapshot_stale"]


def test_a_view_that_is_older_than_the_placement_allows_is_told() -> None:
    """Views of the snapshot by its age, those of the user by the age of what is remembered; a wrong name as well."""
    placement = Placement(max_age_s={"category_activity": 30.0, "user_activity": 5.0})
    assert told(placement=placement, lag_us=30 * SECOND_US) == {}
    old = told(placement=placement, lag_us=31 * SECOND_US)
    assert list(old) == ["view_stale"]
    assert old["view_stale"].startswith("category_activity is 31.0 s old")
    assert list(told(Known(START, 7, READ.state, "gone", 5.0), placement)) == ["state_cached"]
    assert list(told(Known(START, 7, READ.state, "gone", 5.1), placement)) == ["state_cached", "view_stale"]
    assert list(told(Known(START, 0, NOTHING, "gone", None), placement)) == ["state_unavailable"]
    assert told(placement=Placement(max_age_s={"usr": 1.0})) == {"view_stale": "usr is no view of the plan"}


def test_a_vector_that_is_mostly_missing_is_told_of_a_known_user() -> None:
    """Beyond the placement's share; of an unknown user it is no news."""
    assert told(placement=Placement(max_missing=0.5), vector=half_missing()) == {}
    assert list(told(placement=Placement(max_missing=0.49), vector=half_missing())) == ["too_much_missing"]
    everything = np.full((3, 4), np.nan, dtype=np.float32)
    assert list(told(vector=everything)) == ["too_much_missing"]
    assert list(told(Known(START, 0, NOTHING), vector=everything)) == ["unknown_user"]


def test_the_proto_names_the_very_reasons() -> None:
    """The comment of `Degradation.reason` has each entry of the list, with its words, and no other."""
    text = (Path(__file__).parents[2] / "protos/scoring/v1/scoring.proto").read_text(encoding="utf-8")
    comment = text.partition("message Degradation {")[2].partition("string reason")[0]
    lines = [line.strip().removeprefix("//") for line in comment.splitlines()]
    assert re.findall(r"^   ([a-z_]+)   ", "\n".join(lines), re.MULTILINE) == [each.name for each in REASONS]
    words = " ".join(" ".join(lines).split())
    for each in REASONS:
        assert f"{each.name} {each.summary}" in words


@given(
    now=st.floats(0, 1e6),
    left_s=st.none() | st.floats(-10, 100),
    default_ms=st.floats(1, 10_000),
)
def test_a_budget_is_within_its_deadline(now: float, left_s: float | None, default_ms: float) -> None:
    """The read ends between now and the deadline, with half of it left; nothing is ever waited for any longer."""
    found = budget_of(now, None if left_s is None else now + left_s, default_ms)
    due_s = (default_ms / 1000 if left_s is None else left_s) if left_s is None or left_s < LONGEST_CALL_S else 2.0
    assert found.deadline - now == pytest.approx(min(due_s, LONGEST_CALL_S), abs=1e-9)
    assert now <= found.read_until <= now + LONGEST_READ_S
    if found.deadline > now:
        assert found.deadline - found.read_until >= (found.deadline - now) / 2 - 1e-9
    else:
        assert found.read_until == now
