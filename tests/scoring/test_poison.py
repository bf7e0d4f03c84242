"""Poison: what is no number, is far out, is new or is wrong does not spoil what was learned.

Made-up streams with a known truth (`tests.scoring.outcomes`), with the settings that production has.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import pytest
from msgspec.structs import replace

from scoring.example import Example
from scoring.guard import log_loss
from scoring.learners import CROSSES, apart
from scoring.shard import Shard
from tests.scoring.learned import BOUND
from tests.scoring.outcomes import examples

N = 6_000
FROM, TO = 3_000, 3_500
# Progressive log loss may be so much greater than that of the stream without poison.
WITHIN = 1.02

Poison = Callable[[Sequence[Example]], Iterable[Example]]


def with_margins(margin: float) -> Poison:
    """Beside every tenth example one with this margin."""

    def poisoned(clean: Sequence[Example]) -> Iterable[Example]:
        for number, example in enumerate(clean):
            yield example
            if number % 10 == 0:
                yield replace(example, request_id="poison", margin=margin, label=not example.label)

    return poisoned


def with_new_names(clean: Sequence[Example]) -> Iterable[Example]:
    """In the middle 1,000 examples of categories, pages and devices that were never heard of."""
    yield from clean[:FROM]
    for number in range(1_000):
        name = f"new-{number}"
        yield replace(clean[FROM], request_id="poison", category=name, id=name, page=name, device=name)
    yield from clean[FROM:]


def with_flipped_labels(clean: Sequence[Example]) -> Iterable[Example]:
    """In the middle 500 examples in a row whose labels are wrong."""
    for number, example in enumerate(clean):
        is_wrong = FROM <= number < TO
        yield replace(example, request_id="poison", label=not example.label) if is_wrong else example


POISONS: dict[str, Poison] = {
    "NaN": with_margins(math.nan), "inf": with_margins(math.inf), "-inf": with_margins(-math.inf),
    "1e9": with_margins(1e9), "-1e9": with_margins(-1e9), "new names": with_new_names,
    "flipped labels": with_flipped_labels,
}  # fmt: skip


def losses(shard: Shard, stream: Iterable[Example]) -> list[float]:
    """The progressive log loss of each example that is no poison, as a scorer with these corrections has it."""
    found = []
    for example in stream:
        if example.request_id != "poison":
            assert example.label is not None
            found.append(log_loss(example.margin + shard.correction(example), example.label))
        shard.learn([example])
    return found


def of_crosses(shard: Shard) -> dict[str, tuple[float, ...]]:
    """What scorers take from the crosses."""
    return apart(shard.numbers())[CROSSES]


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(2, 20))])
def test_poison_changes_the_log_loss_by_two_percent_at_most(seed: int) -> None:
    """Each kind of poison, against the same stream without it, over all examples after it began.

    Of flipped labels the examples count that come after they have ended and learning has gone on.
    """
    clean = list(examples(seed, N))
    unpoisoned = losses(Shard(BOUND), clean)
    for name, poison in POISONS.items():
        shard = Shard(BOUND)
        found = losses(shard, poison(clean))
        if name == "flipped labels":
            assert math.fsum(found[TO - N :]) <= WITHIN * math.fsum(unpoisoned[TO:]), name
            assert shard.harms >= 1
        else:
            assert math.fsum(found) <= WITHIN * math.fsum(unpoisoned), name
        assert all(map(math.isfinite, [each for values in shard.numbers().values() for each in values]))


@pytest.mark.parametrize("seed", range(2))
def test_unguarded_flipped_labels_would_do_harm(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard the same wrong labels cost more: so the test above can fail."""
    clean = list(examples(seed, N))
    guarded = losses(Shard(BOUND), with_flipped_labels(clean))
    monkeypatch.setattr("scoring.guard.Watch.is_harm", lambda watch: False)
    unguarded = losses(Shard(BOUND), with_flipped_labels(clean))
    assert math.fsum(unguarded[TO - N :]) > 1.005 * math.fsum(guarded[TO - N :])


@pytest.mark.parametrize("seed", range(2))
def test_tastes_may_change(seed: int) -> None:
    """After a shock of tastes, with the same settings, what is learned helps again within 2,000 examples."""
    found, alone = [], []
    shard = Shard(BOUND)
    for example in examples(seed, N, shock_at=FROM):
        assert example.label is not None
        found.append(log_loss(example.margin + shard.correction(example), example.label))
        alone.append(log_loss(example.margin, example.label))
        shard.learn([example])
    after = slice(FROM + 2_000, N)
    assert math.fsum(found[after]) < 0.97 * math.fsum(alone[after])


def test_the_operators_switch_stops_learning() -> None:
    """A frozen shard learns nothing, whatever comes, and goes on from there when it is let."""
    shard = Shard(BOUND)
    first, second, third = (list(examples(7, 900))[at : at + 300] for at in (0, 300, 600))
    shard.learn(first)
    before = of_crosses(shard)
    shard.is_frozen = True
    shard.learn(second)
    assert of_crosses(shard) == before
    shard.is_frozen = False
    shard.learn(third)
    assert of_crosses(shard) != before


def test_one_user_does_not_decide_for_all() -> None:
    """A thousand purchases of one user move a correction by less than 0.85 of what those of a thousand do.

    They weigh a third; but steps become shorter the farther a correction has gone.
    """
    (example,) = examples(1, 1)
    bought = replace(example, label=True, outcome="purchase", reward=1.0, margin=-1.0)
    one, many = Shard(bound=10.0), Shard(bound=10.0)
    one.learn([replace(bought, t=number) for number in range(1_000)])
    many.learn([replace(bought, t=number, user_id=f"u{number}") for number in range(1_000)])
    assert 0.0 < one.correction(bought) < 0.85 * many.correction(bought)
