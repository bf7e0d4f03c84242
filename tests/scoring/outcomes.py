"""Streams of examples with a known truth, for what learns from them: made up, seeded."""

import math
import random
from collections.abc import Iterator

from scoring.example import Example

CATEGORIES = [f"C{number}" for number in range(40)]
PERSONA = "loyal"


def examples(
    seed: int, n: int, *, shift: float = 0.8, base: float = -1.5, shock_at: int | None = None, persona: str = PERSONA
) -> Iterator[Example]:
    """n labelled examples of one persona whose tastes differ from the batch model's margins by normal shifts.

    shift      standard deviation of the shifts, in logits
    base       mean of the margins
    shock_at   the example from which on the shifted margins belong to other categories
    """
    rng = random.Random(seed)
    margins = {name: rng.gauss(base, 1.0) for name in CATEGORIES}
    true = {name: margin + rng.gauss(0.0, shift) for name, margin in margins.items()}
    for number in range(n):
        if number == shock_at:
            moved = list(true.values())
            rng.shuffle(moved)
            true = dict(zip(CATEGORIES, moved, strict=True))
        category, noise = rng.choice(CATEGORIES), rng.gauss(0.0, 0.5)
        bought = rng.random() < 1.0 / (1.0 + math.exp(-(true[category] + noise)))
        yield Example(
            request_id=f"r{number}", user_id=f"u{rng.randrange(500)}", persona=persona, placement="home",
            position=rng.randint(1, 10), kind="category", id=category, category=category,
            daypart=rng.choice(["night", "morning", "afternoon", "evening"]), weekday=rng.choice(["mon", "sat"]),
            device="", page="", t=number * 1_000_000, margin=margins[category] + noise,
            outcome="purchase" if bought else "", reward=float(bought), is_trial=True, label=bought,
        )  # fmt: skip
