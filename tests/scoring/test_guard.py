"""The guard: harm is seen soon, what is good is let alone, and a restart changes nothing."""

import random
from collections.abc import Sequence

import pytest

from scoring import guard
from scoring.guard import OF_NOTHING, Guard, Harm


def looked(its: Guard, pairs: Sequence[tuple[float, float]], persona: str = "p") -> list[int]:
    """Let the guard look at the pairs; which of them were harm."""
    return [number for number, pair in enumerate(pairs) if its.look(persona, *pair) is not None]


def pairs(seed: int, n: int, difference: float, loss: float = 0.4) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(rng.gauss(difference, 0.3), abs(rng.gauss(loss, 0.3))) for _ in range(n)]


def test_what_helps_is_let_alone() -> None:
    """In 20 streams of 5,000 examples with a correction that helps a little, or does nothing, no harm is seen."""
    for seed in range(20):
        assert looked(Guard(), pairs(seed, 5_000, difference=-0.01 * (seed % 3))) == []


@pytest.mark.parametrize("seed", range(5))
def test_harm_is_seen_soon(seed: int) -> None:
    """A correction that turns from good to bad is noticed within 300 examples, once, and then the persona rests."""
    its = Guard()
    looked(its, pairs(seed, 1_500, -0.1))
    found = [its.look("p", *pair) for pair in pairs(seed + 100, 300, 0.3)]
    assert [each for each in found if each is not None] == [Harm.GO_BACK]
    assert its.is_resting("p")
    assert not its.is_resting("another")


def test_labels_that_make_the_model_worse_than_none_are_not_believed() -> None:
    """A jump of the batch model's loss to above ln 2 is harm within 64 examples, though the correction helps."""
    its = Guard()
    looked(its, pairs(1, 1_500, -0.1))
    assert looked(its, pairs(2, 64, -0.1, loss=1.4)) != []
    assert looked(its, pairs(3, 3 * guard.REST, -0.1, loss=1.4)) == []
    assert its.is_resting("p"), "it rests as long as labels are like that"
    looked(its, pairs(4, 3 * guard.REST, -0.1))
    assert not its.is_resting("p")


def test_a_hard_task_is_no_harm() -> None:
    """A model that is little better than none is not taken for one with wrong labels."""
    assert looked(Guard(), pairs(5, 5_000, -0.01, loss=OF_NOTHING)) == []


def test_harm_again_is_to_forget_at_once() -> None:
    """After harm, rest; after harm again soon, what was good is so no more, and learning goes on at once."""
    its = Guard()
    first = [each for each in (its.look("p", 0.5, 0.4) for _ in range(600)) if each is not None]
    assert first == [Harm.GO_BACK]
    while its.is_resting("p"):
        its.look("p", 0.5, 0.4)
    again = None
    while again is None:
        again = its.look("p", 0.5, 0.4)
    assert again is Harm.FORGET
    assert not its.is_resting("p")


def test_weights_are_vetted_after_a_while_without_harm() -> None:
    """Time for a mark is every so many learned examples, counted anew after harm."""
    its = Guard()
    found = [number for number in range(1, 2_000) if its.is_vetted("p")]
    assert found == [guard.VETTED, 2 * guard.VETTED]
    while not its.is_resting("p"):
        its.look("p", 0.5, 0.4)
    assert [number for number in range(1, 1_000) if its.is_vetted("p")] == [guard.VETTED]


def test_adwin_begun_anew_knows_the_newest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What watches after a renewal is as if it had been fed nothing but the newest pairs, one after the other."""
    monkeypatch.setattr(guard, "HELD", 100)
    fed = pairs(3, 350, -0.1)
    watch, newest = guard.Watch(), guard.Adwins()
    for pair in fed:
        watch.feed(pair)
        watch.renew()
    for pair in fed[200:]:  # renewed at 200 and 300, each time with the newest 100
        newest.feed(pair)
    assert watch.fed == fed[200:]
    assert watch.now.loss.width == newest.loss.width == 150
    assert watch.now.difference.estimation == newest.difference.estimation


@pytest.mark.parametrize("seed", range(4))
def test_a_restart_at_any_moment_changes_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thrown away and made again from its numbers, or from all that it said had changed, it goes on bit for bit."""
    monkeypatch.setattr(guard, "HELD", 150)
    monkeypatch.setattr(guard, "VETTED", 70)
    monkeypatch.setattr(guard, "REST", 50)
    rng = random.Random(seed)
    whole, broken = Guard(), Guard()
    committed: dict[str, tuple[float, ...]] = {}
    for number in range(2_500):
        persona = rng.choice("pq")
        pair = (rng.gauss(0.4 if number % 900 > 600 else -0.1, 0.3), rng.random() * (3 if number > 2_000 else 0.8))
        answers = []
        for its in (whole, broken):
            back = its.look(persona, *pair)
            is_vetted = not its.is_resting(persona) and its.is_vetted(persona)
            answers.append((back, its.is_resting(persona), is_vetted))
        assert answers[0] == answers[1]
        if rng.random() < 0.03:
            for key, values in broken.changed().items():
                committed.pop(key, None) if values is None else committed.update({key: values})
            broken = Guard()
            broken.restore(dict(rng.sample(sorted(committed.items()), len(committed))))
            assert broken.numbers() == committed
    assert any(key.startswith("watch") and values[3] > 2 for key, values in whole.numbers().items()), "harm was seen"
    assert whole.numbers() == broken.numbers()
