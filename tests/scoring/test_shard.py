"""All learners of a shard as one state of plain numbers."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from scoring.learners import CAPS, CROSSES, GUARD, canonical_hash, parts_of
from scoring.shard import LEARNERS, Shard
from tests.scoring.examples import drawn
from tests.scoring.learned import BOUND

ROOT = Path(__file__).parents[2]


def learned(seed: int, how_many: int = 200) -> Shard:
    shard = Shard(BOUND)
    shard.learn(drawn(seed, how_many))
    return shard


def test_every_learner_takes_part_under_its_name() -> None:
    """Each entry of the list has numbers, and nobody else has."""
    names = {learner().name for learner in LEARNERS}
    assert len(names) == len(LEARNERS)
    assert {parts_of(key)[0] for key in learned(1).numbers()} == names | {CROSSES, GUARD, CAPS}


@pytest.mark.parametrize("seed", range(3))
def test_restarts_at_any_example_change_nothing(seed: int) -> None:
    """What is committed, change by change, is the whole state; from it a shard ends with the same bits."""
    rng = random.Random(seed)
    committed: dict[str, tuple[float, ...]] = {}
    shard, examples = Shard(BOUND), drawn(seed, 200)
    while examples:
        taken = rng.randrange(1, 20)
        shard.learn(examples[:taken])
        if rng.random() < 0.3:  # killed before it could commit
            shard = Shard(BOUND)
            shard.restore(committed)
            continue
        examples = examples[taken:]
        for key, values in shard.changed().items():
            committed.pop(key, None)
            if values is not None:
                committed[key] = values
        assert shard.changed() == {}
    assert committed == shard.numbers() == learned(seed).numbers()
    assert canonical_hash(committed) == canonical_hash(learned(seed).numbers())


def test_the_order_of_examples_matters_to_the_hash() -> None:
    """The control: another order, or one example less, has another hash."""
    shard = Shard(BOUND)
    shard.learn(reversed(drawn(1, 200)))
    assert len({canonical_hash(each.numbers()) for each in (shard, learned(1), learned(1, 199))}) == 3


def test_the_bits_do_not_depend_on_pythons_hashes() -> None:
    """Processes with other hash seeds, that are restarted in the middle, end with the same hash."""
    program = (
        "from scoring.learners import CAPS, CROSSES, GUARD, canonical_hash; from scoring.shard import Shard\n"
        "from tests.scoring.examples import drawn\n"
        "examples, shard, resumed = drawn(4, 300), Shard(2.0), Shard(2.0)\n"
        "shard.learn(examples[:150]); resumed.restore(shard.numbers()); resumed.learn(examples[150:])\n"
        "print(canonical_hash(resumed.numbers()))"
    )
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    found = set()
    for seed in ("0", "1", "4294967295"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        found.add(subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip())
    assert found == {canonical_hash(learned(4, 300).numbers())}
