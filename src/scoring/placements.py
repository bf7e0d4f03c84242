"""Placements: where an answer is shown, and what ranks there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from behavior.served import CATEGORY


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place.

    kind      what is ranked here when the request names nothing: `category` or `item`
    weights   {factor: weight}, those that differ from the factors' own; a factor of weight 0 is left out
    deadline_ms  of a request whose caller gives none
    max_missing  share of the model's inputs that may be missing of a known user before the answer is called degraded
    max_age_s    {view: how old its values may be before the answer is called degraded}; others may have any age
    """

    kind: str = CATEGORY
    weights: Mapping[str, float] = {}
    deadline_ms: float = 100.0
    max_missing: float = 0.9
    max_age_s: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Placements:
    """The placements of a deployment; an unknown name, and no name, get the default one."""

    default: Placement = field(default_factory=Placement)
    named: Mapping[str, Placement] = field(default_factory=dict)

    def of(self, name: str | None) -> Placement:
        """The placement of a name."""
        return self.default if name is None else self.named.get(name, self.default)
