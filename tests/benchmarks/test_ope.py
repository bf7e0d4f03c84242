"""What the off-policy benchmark rests on: chances of Thompson sampling, and a sentence where the sample is missing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from behavior.errors import BadInput
from tests.benchmarks import ope


def test_chances_of_thompson_sampling_are_shares_of_drawn_rankings() -> None:
    """Of two equal arms each is first half of the time; a hopeless third is nearly always the last."""
    chances = ope._thompson(np.array([50.0, 50.0, 1.0]), np.array([50.0, 50.0, 1e6]))
    assert chances.sum(axis=1) == pytest.approx([1, 1, 1])
    assert chances[0] == pytest.approx([0.5, 0.5, 0], abs=0.01)
    assert chances[2] == pytest.approx([0, 0, 1], abs=0.01)


def test_without_the_sample_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is simulated."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install --no-deps obp"):
        ope.measure(Path("anywhere"), 1)
