"""The learner, on a real Redis: it learns the residual, and no crash changes a bit of what it has learned."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from river import optim

from behavior.errors import BadInput, Fenced
from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.partition import partition_of
from behavior.served import Served, Shown
from deployment.settings import Settings
from scoring import learn, learner
from scoring.example import Example
from scoring.learn import Correction, Learner, OffsetLogisticRegression, learner_of
from scoring.learn_state import Model
from scoring.log_writer import offer_event, offer_served
from tests.scoring.online import Online
from tests.scoring.small import CATEGORIES, PARTITIONS, START, purchase, settings_in

WINDOW_US = 7 * DAY_US
USERS = [f"k1-{i:032x}" for i in range(6)]


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str) -> Settings:
    return settings_in(tmp_path, redis_url, prefix, impressions="assumed")


@pytest.fixture
def online(settings: Settings) -> Online:
    return Online(settings)


def served(request_id: str, user: str, as_of: int, margins: dict[str, float]) -> Served:
    shown = tuple(Shown("category", name, margin, 0.0, margin, b"") for name, margin in margins.items())
    return Served(request_id, user, as_of, 0, START, "b", 0, shown)


def example(category: str, margin: float, *, label: bool) -> Example:
    return Example(*"ru", "", "", "category", category, category, *[""] * 4, 0, margin, "", 0.0, True, label)


def labels(examples: list[Example]) -> list[tuple[str, bool | None]]:
    return [(each.category, each.label) for each in examples]


def lived_through(online: Online, seed: int, rounds: int = 60) -> None:
    """Fill the log with served entries and purchases of several weeks."""
    rng = random.Random(seed)
    for number in range(rounds):
        online.advance(online.clock.now() + rng.choice([MINUTE_US, HOUR_US, 12 * HOUR_US]))
        user, now = rng.choice(USERS), online.clock.now()
        margins = {name: rng.uniform(-4, 1) for name in rng.sample(CATEGORIES, 3)}
        events = [purchase(user, rng.choice(CATEGORIES), now, f"{number}-{i}") for i in range(rng.randrange(3))]
        online.offer(user, [offer_served(served(f"r{number}", user, now, margins)), *map(offer_event, events)])
    online.advance(online.clock.now() + WINDOW_US)


def finish(learner_: Learner) -> None:
    """Step until nothing is read and nothing is due."""
    before: list[int] = []
    while learner_.step() or before != [join.place.offset for join in learner_._joins]:
        before = [join.place.offset for join in learner_._joins]


def state(online: Online) -> dict[str, object]:
    """Everything that the learner keeps, except whose turn it is."""
    kept: dict[str, object] = {part: online.client.get(online.keys.learner(part)) for part in ("weights", "model")}
    return kept | {part: online.client.hgetall(online.keys.learner(part)) for part in ("offsets", "pending")}


def test_a_gradient_step_is_the_textbooks() -> None:
    """One step of SGD moves the weight by −rate × (sigmoid(offset + weight) − y), nothing else."""
    model = OffsetLogisticRegression(optim.SGD(0.5), intercept_lr=0.0)
    weight = 0.0
    for offset, bought in ((-2.0, True), (1.0, False), (0.3, True)):
        model.learn_one_from({"TEA": 1.0}, bought, offset)
        weight -= 0.5 * (1 / (1 + math.exp(-(offset + weight))) - bought)
        assert model.weights["TEA"] == pytest.approx(weight, abs=1e-12)
    assert model.intercept == 0.0


def test_it_learns_what_the_model_does_not_know() -> None:
    """Where margins are right nothing is learned; where they are one logit too low, about one logit is."""
    rng = random.Random(3)
    correction = Correction(Model())
    for _ in range(20_000):
        for name, shift in (("RIGHT", 0.0), ("TOO LOW", 1.0)):
            margin = rng.uniform(-2, 1)
            bought = rng.random() < 1 / (1 + math.exp(-(margin + shift)))
            correction.learn([example(name, margin, label=bought)])
    weights = correction.numbers().weights
    assert abs(weights["RIGHT"]) < 0.15
    assert 0.85 < weights["TOO LOW"] < 1.15


@pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_left_out(margin: float) -> None:
    """One poisoned margin neither changes the weights nor counts as learned."""
    correction = Correction(Model())
    correction.learn([example("TEA", -1.0, label=True)])
    before = correction.numbers()
    assert correction.learn([example("TEA", margin, label=True)]) == 1
    assert correction.numbers() == before


def test_extreme_margins_leave_finite_weights() -> None:
    """Whatever finite margins come, no weight becomes infinite and no step is longer than the rate."""
    correction = Correction(Model())
    for margin in (1e300, -1e300, 800.0, -800.0):
        for bought in (True, False):
            correction.learn([example("TEA", margin, label=bought)])
    assert all(math.isfinite(weight) and abs(weight) <= 1 for weight in correction.numbers().weights.values())


def test_outcomes_of_served_entries_become_weights(online: Online) -> None:
    """A bought category rises at once; one that was not bought falls when its window ends; scorers see both."""
    user = USERS[0]
    its = learner_of(online.settings)
    online.offer(user, [offer_served(served("r", user, START, {"TEA": -1.0, "RICE": -1.0}))])
    online.append([purchase(user, "TEA", START, "m1")])
    assert labels(its.step()) == [("TEA", True)]
    published = learner.decode(online.client.get(online.keys.learner("weights")))
    assert published.version == 1
    assert set(published.weights) == {"TEA"}
    assert published.weights["TEA"] > 0
    online.advance(START + WINDOW_US)
    assert labels(its.step()) == [("RICE", False)]
    published = learner.decode(online.client.get(online.keys.learner("weights")))
    assert published.version == 2
    assert published.weights["RICE"] < 0 < published.weights["TEA"]
    assert its.step() == []


def test_a_quiet_partition_passes_time_by_the_clock(online: Online) -> None:
    """Nothing more comes in where the entry stands, and a busy partition elsewhere does not stand in for it."""
    its = learner_of(online.settings)
    quiet, busy = USERS[0], next(user for user in USERS if partition_of(user, PARTITIONS) != 0)
    if partition_of(quiet, PARTITIONS) == partition_of(busy, PARTITIONS):
        quiet = next(user for user in USERS if partition_of(user, PARTITIONS) != partition_of(busy, PARTITIONS))
    online.offer(quiet, [offer_served(served("r", quiet, START, {"TEA": -1.0}))])
    finish(its)
    online.advance(START + WINDOW_US)
    online.append([purchase(busy, "RICE", START + WINDOW_US, "m1")])
    assert labels(its.step()) == [("TEA", False)]


@pytest.mark.parametrize("seed", range(3))
def test_restarts_at_random_points_change_nothing(
    tmp_path: Path, redis_url: str, prefix: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learner that is thrown away after any step, committed or not, ends with the bits of an uninterrupted one."""
    monkeypatch.setattr(learn, "share_of_each", lambda partitions: 1)
    whole, broken = (
        Online(settings_in(tmp_path, redis_url, f"{prefix}-{name}", impressions="assumed"))
        for name in ("whole", "broken")
    )
    for each in (whole, broken):
        lived_through(each, seed)
    finish(learner_of(whole.settings))
    rng = random.Random(seed)
    its = learner_of(broken.settings)
    crashes = 0
    for _ in range(100):
        if rng.random() < 0.3:
            with monkeypatch.context() as crashing:
                crashing.setattr(its._state, "commit", lambda *_: 1 / 0)
                try:
                    its.step()
                except ZeroDivisionError:
                    crashes += 1
            its = learner_of(broken.settings)
        its.step()
    finish(its)
    assert crashes > 5
    assert state(broken) == state(whole)
    assert learner.decode(broken.client.get(broken.keys.learner("weights"))).version > 10


def test_killed_for_real_it_ends_with_the_same_bits(tmp_path: Path, redis_url: str, prefix: str) -> None:
    """kill -9 of the real process at random instants, again and again, loses and repeats nothing."""
    whole, killed = (
        Online(settings_in(tmp_path, redis_url, f"{prefix}-{name}", impressions="assumed"))
        for name in ("whole", "killed")
    )
    for each in (whole, killed):
        lived_through(each, seed=11, rounds=120)
    code = (
        "import threading, time; from deployment.settings import load; from scoring import learn\n"
        "learn.share_of_each = lambda partitions: 1; its = learn.learner_of(load()); print('up', flush=True)\n"
        "its.run(threading.Event(), lambda *_: time.sleep(0.003))"
    )
    environment = killed.settings.child_environment() | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    rng = random.Random(5)
    versions = []
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            time.sleep(rng.uniform(0.02, 0.1))
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(20) == -signal.SIGKILL
        versions.append(learner.decode(killed.client.get(killed.keys.learner("weights"))).version)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learn, "share_of_each", lambda partitions: 1)
        finish(learner_of(whole.settings))
        finish(learner_of(killed.settings))
    version = learner.decode(whole.client.get(whole.keys.learner("weights"))).version
    assert any(0 < each < version for each in versions), "at least one kill came in the middle"
    assert state(killed) == state(whole)


def test_only_one_learner_writes(online: Online) -> None:
    """One that was superseded is refused by the commit itself, and changes nothing."""
    first = learner_of(online.settings)
    second = learner_of(online.settings)
    online.append([purchase(USERS[0], "TEA", START, "m1")])
    with pytest.raises(Fenced):
        first.step()
    assert online.client.hgetall(online.keys.learner("offsets")) == {}
    second.step()
    assert len(online.client.hgetall(online.keys.learner("offsets"))) == 1


def test_a_learner_with_other_partitions_is_refused(online: Online) -> None:
    """It reads nothing under another number of partitions than was agreed on."""
    learner_of(online.settings)
    with pytest.raises(BadInput, match="partitions"):
        learner_of(online.settings.replaced(partitions=PARTITIONS * 2))


def test_late_outcomes_are_counted(online: Online) -> None:
    """A purchase in the window that comes in after the negative is told, not learned."""
    user = USERS[0]
    its = learner_of(online.settings)
    online.offer(user, [offer_served(served("r", user, START, {"TEA": -1.0}))])
    finish(its)
    online.advance(START + WINDOW_US + HOUR_US)
    assert len(its.step()) == 1
    online.append([purchase(user, "TEA", START + WINDOW_US - HOUR_US, "late")])
    assert its.step() == []
    assert its.counted() == {"late": 1}
