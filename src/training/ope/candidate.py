"""The candidate of an evaluation: other weights of factors, another way to draw, or both; and the file that says it.

policy = "plackett-luce"     # or "epsilon-greedy", or "greedy"; left out: each answer's as it was logged
strength = 0.3               # the temperature in logits, or epsilon

[weights]                    # of factors, beside those that each answer was given with; 0 leaves a factor out
recency = 0.1
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from behavior.errors import BadInput
from behavior.exploration import EPSILON_GREEDY, PLACKETT_LUCE, THOMPSON
from behavior.relevance import added
from training.ope.policies import Policy

GREEDY = "greedy"
_KINDS = (GREEDY, EPSILON_GREEDY, PLACKETT_LUCE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What would rank and draw in the log's place; a policy of None, and weights that are not said, are the log's."""

    weights: Mapping[str, float] = field(default_factory=dict)
    policy: Policy | None = None

    def scores(self, factors: Sequence[tuple[str, float]], values: np.ndarray) -> np.ndarray:
        """The relevance float64[p] of a pool: (name, logged weight) of f factors and their values float64[p, f]."""
        weights = [self.weights.get(name, weight) for name, weight in factors]
        return added([weight * values[:, place] for place, weight in enumerate(weights)], len(values))

    def unknown(self, factors: Sequence[tuple[str, float]]) -> set[str]:
        """The factors that it weighs and of which there are no values."""
        return {name for name, weight in self.weights.items() if weight} - {name for name, _ in factors}

    def __str__(self) -> str:
        """In a few words."""
        weights = ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())
        return f"{self.policy or 'drawn as logged'}, weights {weights or 'as logged'}"


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: str | None = None
    strength: float | None = None
    weights: Mapping[str, Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)]] = {}


def read_candidate(path: Path) -> Candidate:
    """The candidate that the file says. Raises BadInput that names file, key and what is wrong."""
    try:
        said = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Said)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); name the candidate's file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {error}; a candidate has policy, strength and weights") from None
    found = Candidate(said.weights, _policy(path, said))
    if not found.weights and found.policy is None:
        raise BadInput(f"{path} says nothing that differs from the log; give weights or a policy")
    return found


def _policy(path: Path, said: _Said) -> Policy | None:
    kind, strength = said.policy, said.strength
    if kind == THOMPSON:
        raise BadInput(f"{path}: chances of {THOMPSON} are only estimates; name one of {', '.join(_KINDS)}")
    if kind is not None and kind not in _KINDS:
        raise BadInput(f"{path}: {kind!r} is no policy; name one of {', '.join(_KINDS)}")
    if kind in (None, GREEDY):
        if strength is not None:
            raise BadInput(f"{path}: strength belongs to {EPSILON_GREEDY} or {PLACKETT_LUCE}; name one as policy")
        return None if kind is None else Policy(EPSILON_GREEDY, 0.0)
    wanted = "epsilon, 0 to 1" if kind == EPSILON_GREEDY else "a temperature above 0, in logits"
    if strength is None or not _is_strength(kind, strength):
        raise BadInput(f"{path}: the strength of {kind} is {wanted}; {strength} is not")
    return Policy(kind, strength)


def _is_strength(kind: str, strength: float) -> bool:
    if kind == EPSILON_GREEDY:
        return 0 <= strength <= 1
    return strength > 0 and math.isfinite(strength)


def logged_policy(kind: str, strength: float) -> Policy | None:
    """The policy that an entry names; None for one whose chances cannot be computed."""
    known = kind in (EPSILON_GREEDY, PLACKETT_LUCE) and _is_strength(kind, strength)
    return Policy(kind, strength) if known else None
