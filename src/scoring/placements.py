"""Placements: where an answer is shown, and what ranks there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from behavior.served import CATEGORY


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place.

    kind      what is ranked here when the request names nothing: `category` or `item`
    weights   {factor: weight}, those that differ from the factors' own; a factor of weight 0 is left out
    """

    kind: str = CATEGORY
    weights: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Placements:
    """The placements of a deployment; an unknown name, and no name, get the default one."""

    default: Placement = field(default_factory=Placement)
    named: Mapping[str, Placement] = field(default_factory=dict)

    def of(self, name: str | None) -> Placement:
        """The placement of a name."""
        return self.default if name is None else self.named.get(name, self.default)
