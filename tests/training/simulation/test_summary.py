"""Figures and curves side by side, each of which says that it is simulated."""

import json
from functools import cache
from pathlib import Path

import msgspec
import pytest

from behavior.errors import BadInput
from tests.training.simulation.worlds import first_days, small
from training.simulation.policies import POLICIES, policy_named
from training.simulation.running import run
from training.simulation.summary import Summary, draw, render, summarised, to_json


@cache
def found() -> Summary:
    """All policies in one small world."""
    world = small(seed=5)
    traces = {}
    for name in POLICIES:
        policy, hear = policy_named(name, world)
        traces[name] = run(world, policy, first_days(world, 7), hear=hear)
    return summarised(world, traces, replicates=20)


def test_json_says_what_it_is_of() -> None:
    """Plain values: simulated, the seed, an entry and a curve for each policy, best without regret."""
    said = json.loads(msgspec.json.encode(to_json(found())))
    assert (said["simulated"], said["seed"], said["world"]) == (True, 5, "simulated, seed 5")
    assert [each["policy"] for each in said["policies"]] == ["random", "popular", "best"]
    assert said["policies"][2]["share_of_best"]["value"] == 1
    assert said["policies"][0]["regret"] == pytest.approx(said["curves"]["random"]["regret"][-1], abs=0.01)
    assert len(said["policies"][0]["by_persona"]) == 4


def test_the_table_says_what_it_is_of() -> None:
    """Its title has the word and the seed."""
    assert "simulated, seed 5" in str(render(found()).title)


def test_the_picture_says_what_it_is_of_and_is_always_the_same(tmp_path: Path) -> None:
    """An SVG with the word, the seed and every policy; equal summaries draw equal bytes."""
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    draw(found(), first)
    draw(found(), second)
    assert first.read_bytes() == second.read_bytes()
    said = first.read_text()
    for word in ("simulated, seed 5", "random", "popular", "best"):
        assert word in said
    with pytest.raises(BadInput, match="choose one of these endings"):
        draw(found(), tmp_path / "a.pdf")
