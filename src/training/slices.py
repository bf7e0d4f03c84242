"""Parts of the rows that a model must be right about on its own: each slicer one entry in one list.

hour      the part of the day of the row's local hour
tenure    how long ago the user first bought
persona   the persona that the user has at the row's instant, if personas were made
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.column import Column
from behavior.context import DAYPARTS, part_of_hour
from behavior.event import DAY_US, SECOND_US
from behavior.moment import Moment
from behavior.personas import Personas, assign, check_features
from behavior.plan import Plan

_ENDS = (*(each.first_hour for each in DAYPARTS[1:]), 24)
_HOURS = np.array(
    [f"{each.name} {each.first_hour}-{end - 1}" for each, end in zip(DAYPARTS, _ENDS, strict=True)], dtype=object
)[part_of_hour()]
_DAY_S = DAY_US // SECOND_US
_TENURES = np.array(["under 90 days", "90 to 180 days", "180 to 270 days", "over 270 days"], dtype=object)
_TENURE_ENDS_S = np.array([90, 180, 270]) * _DAY_S
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Slicer:
    """One way to part rows: the references that it needs, and the part of each row, object[n] of texts."""

    name: str
    needs: tuple[str, ...]
    of: Callable[[Mapping[str, Column], Moment], np.ndarray]


def slicers(plan: Plan, personas: Personas | None = None) -> list[Slicer]:
    """The ways to part rows under a plan; what it has no feature for is left out, and personas that were not made.

    Raises BundleRefused if the plan lacks a feature of the personas, or defines it otherwise.
    """
    first = [
        feature.ref
        for view in plan.of_entity("user")
        for feature in view.features
        if feature.aggregation.kind == "age" and feature.aggregation.since == "first"
    ]
    hour = Slicer("hour", (), lambda finals, moment: _HOURS[moment.hour])
    found = [hour, *(Slicer("tenure", (ref,), _tenure_of(ref)) for ref in first[:1])]
    if personas is not None:
        check_features(personas, plan.fingerprints)
        found.append(Slicer("persona", personas.refs, lambda finals, moment: personas.named(assign(personas, finals))))
    return found


def together(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The slices of consecutive rows as those of all of them."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _tenure_of(ref: str) -> Callable[[Mapping[str, Column], Moment], np.ndarray]:
    def tenure(finals: Mapping[str, Column], moment: Moment) -> np.ndarray:
        age = finals[ref]
        named = _TENURES[np.searchsorted(_TENURE_ENDS_S, np.where(age.valid, age.values, 0), side="right")]
        return np.where(age.valid, named, UNKNOWN)

    return tenure
