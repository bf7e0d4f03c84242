"""Placements: where an answer is shown, and what ranks there. How a file says it: `placement_file`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from behavior.errors import BadInput
from behavior.served import CATEGORY

# Where candidates come from.
OF_REQUEST, OF_CONFIGURATION, OF_USER, OF_POPULAR = "request", "configured", "user", "popular"
SOURCES = (OF_CONFIGURATION, OF_USER, OF_POPULAR)
MOST_FROM_ONE = 1000

# What moves a score by more than this is no preference but a filter; sums stay finite.
Logits = Annotated[float, msgspec.Meta(ge=-20.0, le=20.0)]
Weight = Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """Where candidates come from, and how many at most.

    source   `configured` (the placement's ids), `user` (the categories that the user is drawn to most) or `popular`
    """

    source: str
    most: Annotated[int, msgspec.Meta(ge=1, le=MOST_FROM_ONE)] = 100


class Diversity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"relevance": "lambda"}):
    """How the best are mixed: maximal marginal relevance by category.

    relevance   λ: 1 leaves the order as it is, 0 shows a category again only when all have been shown
    over        of how many, the best; those behind them stay where they are
    """

    relevance: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    over: Annotated[int, msgspec.Meta(ge=2, le=MOST_FROM_ONE)] = 50


class Exploration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the order of the best is drawn; the formulas are in `behavior.exploration`.

    policy        `epsilon-greedy`, `plackett-luce` or `thompson`
    epsilon       of epsilon-greedy: how often a position is given to any of those left, each alike
    temperature   of plackett-luce, in logits: a candidate that is as much better is drawn e times as often
    over          of how many, the best; those behind them stay where they are
    """

    policy: str
    epsilon: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0.01, le=20.0)] | None = None
    over: Annotated[int, msgspec.Meta(ge=2, le=100)] = 20

    @property
    def strength(self) -> float:
        """ε or the temperature; 0 of Thompson, which has neither."""
        return self.epsilon or self.temperature or 0.0


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place.

    kind                  what is ranked here when the request names nothing: `category` or `item`
    candidates            where that comes from: one source after the other, each thing once
    ids                   what the source `configured` offers, in this order
    weights               {factor: weight}, those that differ from the factors' own; a factor of weight 0 is left out
    diversity             how the best are mixed; None leaves them in the order of their scores
    exploration           how the order of the best is drawn; None shows them in that order
    boosts                {item or category: logits}; of an item its own, else its category's
    devices               {device: {category: logits}}
    pages                 {page: {category: logits}}
    fatigue_half_life_h   after so long what was bought or shown tires half as much
    deadline_ms           how long an answer may take if the caller says nothing
    max_missing           share of the model's inputs that may be missing of a known user before an answer is degraded
    max_age_s             {view: how old its values may be before an answer is degraded}; others may have any age
    """

    kind: str = CATEGORY
    candidates: tuple[Source, ...] = (Source(OF_POPULAR),)
    ids: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=256)], ...] = ()
    weights: Mapping[str, Weight] = {}
    diversity: Diversity | None = None
    exploration: Exploration | None = None
    boosts: Mapping[str, Logits] = {}
    devices: Mapping[str, Mapping[str, Logits]] = {}
    pages: Mapping[str, Mapping[str, Logits]] = {}
    fatigue_half_life_h: Annotated[float, msgspec.Meta(ge=0.01, le=8760.0)] = 24.0
    deadline_ms: Annotated[float, msgspec.Meta(ge=1, le=2000)] = 100.0
    max_missing: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    max_age_s: Mapping[str, Annotated[float, msgspec.Meta(gt=0)]] = {}


@dataclass(frozen=True, slots=True)
class Placements:
    """The placements of a deployment.

    placements_id   of the file that they were read from; empty without one
    default         what a request gets that names none
    named           the others; without a file every name gets the default one
    """

    default: Placement = field(default_factory=Placement)
    named: Mapping[str, Placement] = field(default_factory=dict)
    placements_id: str = ""

    def of(self, name: str | None) -> Placement:
        """The placement of a name. Raises BadInput that names those there are, if there is a file and it has not it."""
        if name is None or not self.placements_id:
            return self.default
        found = self.named.get(name)
        if found is None:
            raise BadInput(
                f"placement: this server has none of that name; send one of {', '.join(self.named)}, or none"
                if self.named
                else "placement: this server has a default placement only; send none"
            )
        return found
