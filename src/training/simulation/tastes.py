"""Who the users are, and what personas like at an instant: drawn once, then drifting, and shaken on demand."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from behavior.event import DAY_US
from training.simulation.parameters import Parameters
from training.simulation.streams import PERSON, SHOCK, TASTES, WALK, WORLD, normals, uniforms

DEVICES = ("phone", "desktop")
# A user's share of sessions on the phone is between these two.
_LEAST_PHONE, _MOST_PHONE = 0.3, 0.9


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """All users, u of them.

    persona, zone     int64[u], places in the list of each
    sessions_per_day  float64[u]
    phone             float64[u], the chance that a session is on the phone
    own               float64[u, c], logits by which each user likes each category more than their persona does
    """

    persona: np.ndarray
    zone: np.ndarray
    sessions_per_day: np.ndarray
    phone: np.ndarray
    own: np.ndarray


def people_of(parameters: Parameters) -> People:
    """The users of a world, each drawn from a stream of their own: more users leave the first ones as they are."""
    u, c = parameters.users, parameters.categories
    drawn = np.stack([uniforms(parameters.seed, user, PERSON, 0, 3) for user in range(u)])
    deviates = np.stack([normals(parameters.seed, user, PERSON, 1, c + 1) for user in range(u)])
    spread = parameters.activity_spread
    return People(
        persona=(drawn[:, 0] * parameters.personas).astype(np.int64),
        zone=(drawn[:, 1] * len(parameters.zones)).astype(np.int64),
        # Log-normal with the mean that was asked for.
        sessions_per_day=parameters.sessions_per_day * np.exp(spread * deviates[:, 0] - spread**2 / 2),
        phone=_LEAST_PHONE + (_MOST_PHONE - _LEAST_PHONE) * drawn[:, 2],
        own=parameters.own_spread * deviates[:, 1:],
    )


class Tastes:
    """What each persona likes, logits by category: common + own of the persona (shaken, then drifted)."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        seed, c = parameters.seed, parameters.categories
        self.common = parameters.common_spread * normals(seed, WORLD, TASTES, 0, c)
        each = [normals(seed, WORLD, TASTES, 1 + persona, c) for persona in range(parameters.personas)]
        self._drawn = parameters.taste_spread * np.stack(each)
        self._shocks = sorted(enumerate(parameters.shocks), key=lambda shock: (shock[1].t, shock[0]))
        self._of = lru_cache(maxsize=1024)(self._made)

    def at(self, t: int) -> np.ndarray:
        """The tastes at an instant (µs UTC, not before the start), float64[personas, c]; not to be written to."""
        passed = sum(shock.t <= t for _, shock in self._shocks)
        day = (t - self._parameters.start_t) // DAY_US if self._parameters.drift else 0
        return self._of(int(day), passed)

    def _made(self, day: int, passed: int) -> np.ndarray:
        own = self._drawn.copy()
        for number, shock in self._shocks[:passed]:
            own[shock.persona] = own[shock.persona, derangement(self._parameters, number)]
        if day:
            own += self._walked(day)
        made: np.ndarray = self.common + own
        made.setflags(write=False)
        return made

    def _walked(self, days: int) -> np.ndarray:
        """How far each persona's tastes have gone in so many days, float64[personas, c]."""
        p = self._parameters
        steps = [normals(p.seed, WORLD, WALK, persona, days * p.categories) for persona in range(p.personas)]
        walked: np.ndarray = p.drift * np.stack(steps).reshape(p.personas, days, p.categories).sum(axis=1)
        return walked


def derangement(parameters: Parameters, shock: int) -> np.ndarray:
    """Whose place each category takes at a shock, int64[c]: one random cycle, so that none keeps its own (Sattolo).

    >>> bool((derangement(Parameters(), 0) == range(20)).any())
    False
    """
    c = parameters.categories
    drawn = uniforms(parameters.seed, WORLD, SHOCK, shock, c)
    order = np.arange(c)
    for last in range(c - 1, 0, -1):
        other = int(drawn[last] * last)
        order[[last, other]] = order[[other, last]]
    return order
