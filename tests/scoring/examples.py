"""Examples as a joiner makes them, drawn from a seed: few personas and things, so that they come again."""

import random

from behavior.event import HOUR_US
from scoring.example import Example

PERSONAS = ("loyal", "new|comer", "")
CATEGORIES = ("TEA", "RICE", "50% off", "SNACKS", "")
ITEMS = tuple(f"i{number}" for number in range(12))
DAYPARTS, WEEKDAYS = ("", "night", "morning", "evening"), ("mon", "sat", "sun")
DEVICES, PAGES, PLACEMENTS = ("", "phone", "desk"), ("", "front"), ("", "home", "basket")


def drawn(seed: int, how_many: int, start: int = 0) -> list[Example]:
    """So many examples in the order of the log: most of them an hour after the other, some of them late."""
    rng = random.Random(seed)
    return [one(rng, start + number * HOUR_US - rng.choice([0, 0, 0, 30 * HOUR_US])) for number in range(how_many)]


def one(rng: random.Random, t: int) -> Example:
    """One example of time t."""
    kind = rng.choice(["category", "item"])
    category = rng.choice(CATEGORIES)
    label = rng.choice([True, False, False, None])
    reward = rng.choice([0.1, 0.3]) if label is None else float(label)
    thing = rng.choice(ITEMS) if kind == "item" else category
    words = [rng.choice(each) for each in (DAYPARTS, WEEKDAYS, DEVICES, PAGES)]
    what = ("r", "u", rng.choice(PERSONAS), rng.choice(PLACEMENTS), rng.randint(1, 10), kind, thing, category, *words)
    return Example(*what, t, rng.uniform(-4.0, 1.0), "click" if reward else "", reward, rng.random() < 0.8, label)
