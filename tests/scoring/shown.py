"""People who are shown categories and buy some, as entries of the log: what learners live on."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from behavior.event import HOUR_US, MINUTE_US
from behavior.served import Served, Shown
from scoring.log_writer import Offer, offer_event, offer_served
from tests.scoring.small import CATEGORIES, START, purchase

USERS = [f"k1-{number:032x}" for number in range(24)]
PERSONAS = ("", "brisk", "careful", "loyal", "thrifty")


class Scene(NamedTuple):
    """What happens to one user at once: so long (µs) after the scene before, and what is appended then."""

    after: int
    user: str
    offers: Sequence[Offer]


def served(request_id: str, user: str, as_of: int, margins: dict[str, float], persona: str = "") -> Served:
    """An entry that showed categories with these margins."""
    shown = tuple(Shown("category", name, margin, 0.0, margin, b"") for name, margin in margins.items())
    return Served(request_id, user, as_of, 0, START, "b", 0, shown, persona=persona)


def scenes(seed: int, begin: int = START, *, name: str = "r") -> Iterator[Scene]:
    """Scenes without end: one answer each, and purchases of what it showed, of what it did not, or none."""
    draw, now, number = random.Random(seed), begin, 0
    while True:
        after = draw.choice([0, 1, MINUTE_US, HOUR_US, 12 * HOUR_US])
        now += after
        user = draw.choice(USERS)
        margins = {each: draw.uniform(-4, 1) for each in draw.sample(CATEGORIES, 3)}
        entry = served(f"{name}{number}", user, now, margins, draw.choice(PERSONAS))
        events = [
            purchase(user, draw.choice(CATEGORIES), now - draw.choice([0, 0, HOUR_US]), f"{name}{number}-{place}")
            for place in range(draw.randrange(3))
        ]
        yield Scene(after, user, [offer_served(entry), *map(offer_event, events)])
        number += 1
