"""Random numbers that are addressed, not drawn in turn: what one user does never depends on who was asked before.

A number's address is (seed, who, draw, number, place): the key and the counter of Philox 4x64-10 (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011), whose bits numpy promises to keep (NEP 19). No generator of
numpy's distributions is used: those may change with its version.
"""

import numpy as np

# Who draws, where it is the world itself and no user.
WORLD = 2**64 - 1
# What is drawn: one number each, never used again for anything else.
TASTES, ITEMS, CONTEXTS, WALK, SHOCK, PERSON, STARTS, SESSION, REACTION, POLICY = range(10)
# Normal deviates, and how often positions are looked at, are kept to so many decimals. Machines may differ in the last
# bit of a logarithm, a cosine or a power, and what has been rounded is the same on all of them.
DECIMALS = 6


def uniforms(seed: int, who: int, draw: int, number: int, n: int) -> np.ndarray:
    """The first n numbers in [0, 1) at the address, float64[n]; those of a smaller n are the beginning of a larger one.

    >>> few, many = uniforms(1, 7, SESSION, 0, 2), uniforms(1, 7, SESSION, 0, 5)
    >>> bool((few == many[:2]).all())
    True
    """
    key = np.array([seed, who], dtype=np.uint64)
    counter = np.array([0, draw, number, 0], dtype=np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(n)
    found: np.ndarray = (raw >> np.uint64(11)) * 2.0**-53
    return found


def normals(seed: int, who: int, draw: int, number: int, n: int) -> np.ndarray:
    """The first n standard normal numbers at the address, float64[n], by Box and Muller (1958), rounded."""
    pairs = uniforms(seed, who, draw, number, n + n % 2).reshape(-1, 2)
    radius, angle = np.sqrt(-2.0 * np.log(1.0 - pairs[:, 0])), 2.0 * np.pi * pairs[:, 1]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    found: np.ndarray = np.round(both.reshape(-1)[:n], DECIMALS)
    return found
