"""Generated rows whose truth is known: users in personas, and models that see more or less of the truth."""

from collections.abc import Callable

import numpy as np

from behavior.calibration import propensities
from training.measured import Measured

USERS, GROUPS, ITEMS = 300, 2, 20
PERSONAS = ("Champions", "Loyal", "New")

Margin = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def noisy(noise: float, seed: int = 7, worse_in: str = "", by: float = 0.0) -> Margin:
    """A model that sees the true margin through noise, and in one persona through more of it.

    It answers with what can be believed given its own noise (the truth is normal), so that it is calibrated.
    """

    def margin(truth: np.ndarray, persona: np.ndarray, label: np.ndarray) -> np.ndarray:
        spread = noise + by * (persona == worse_in)
        seen = truth + spread * np.random.default_rng(seed).normal(size=len(truth))
        shrunk: np.ndarray = seen / (1 + spread**2) - 1.5
        return shrunk

    return margin


def shuffled(truth: np.ndarray, persona: np.ndarray, label: np.ndarray) -> np.ndarray:
    """A model of shuffled labels: it knows the average and nothing else."""
    share = label.mean()
    found: np.ndarray = np.log(share / (1 - share)) + 0.1 * np.random.default_rng(3).normal(size=len(truth))
    return found


def measured(model: Margin, seed: int = 0, *, users: int = USERS, groups: int = GROUPS) -> Measured:
    """The model on users × groups × 20 rows; about a fifth is positive, and every persona has a third of the users.

    One more persona, Dormant, has two users: too few to be judged.
    """
    generator = np.random.default_rng(seed)
    n = users * groups * ITEMS
    user = np.repeat(np.arange(users), groups * ITEMS)
    truth = generator.normal(size=n)
    label = (generator.random(n) < propensities(truth - 1.5)).astype(np.uint8)
    persona = np.array(PERSONAS, dtype=object)[user % 3]
    persona[user < 2] = "Dormant"
    margin = model(truth, persona, label)
    group = np.repeat(np.arange(users * groups), ITEMS)
    return Measured(user * 10, group + 5, label, propensities(margin), margin, {"persona": persona})
