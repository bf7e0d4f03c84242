"""Making personas from the users who are active at an instant, and making them anew so that names stay.

active users → values from Feast → log1p, standardised → groups → small ones merged → matched to those before → named
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import duckdb
import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from behavior.column import Column
from behavior.errors import BadInput, BundleRefused
from behavior.event import DAY_US
from behavior.manifest import MANIFEST_FILE, Span
from behavior.personas import (
    FAMILY,
    Choice,
    Persona,
    PersonaInput,
    Personas,
    assign,
    check_features,
    curved,
    encode,
    placed,
    sealed,
    typical,
)
from behavior.plan import Feature, Plan
from training.clusters import LEAST_USERS, Candidate, cluster, merged
from training.persona_inputs import ACTIVE_US, WINDOW_US, Role, Told, active_users, features_of, kinds_in, told
from training.persona_names import Typical, names_of

if TYPE_CHECKING:
    from feast import FeatureStore

# Numbers in the manifest: what lies beyond is noise of the arithmetic.
_DECIMALS = 6
# A feature in which nearly all users are equal is not blown up: e^0.5, a factor of 1.6, is one step at least.
_LEAST_SCALE = 0.5
# A centre that moved by more than one standard deviation per input (root mean square) is another persona.
_FARTHEST = 1.0


class PersonaStore(Protocol):
    """Where personas are kept: `deployment.bundle_store.BundleStore`, as much of it as is needed here."""

    def write(self, family: str, name: str, files: Mapping[str, bytes]) -> None:
        """Put an entry there, durably."""
        ...

    def has(self, family: str, name: str) -> bool:
        """Whether there is such an entry."""
        ...

    def promote(self, family: str, name: str) -> None:
        """Make the entry `current`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """Personas with what making them has shown.

    assigned     int64[n], the persona of each user that they were made from
    considered   the groupings that were considered
    changed      share of the users whose persona has another name than under those before; None if there were none
    """

    personas: Personas
    assigned: np.ndarray
    considered: tuple[Candidate, ...]
    changed: float | None


def make(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    at: int,
    *,
    before: Personas | None = None,
    window_us: int = WINDOW_US,
    progress: Callable[[str, int, int], None] = lambda what, done, all_: None,
) -> Made:
    """Personas of the users who were active within 60 days before the instant `at` (µs UTC).

    `con` has the archive as the view `events`. Raises BadInput if the plan lacks a feature, or if there are fewer than
    20 users.
    """
    progress("reading values", 0, 1)
    features = features_of(plan, kinds_in(con), window_us)
    views = {feature.ref.partition(":")[0] for feature in features.values()}
    selected = sorted({kind for view in plan.of_entity("user") if view.name in views for kind in view.selects})
    users = active_users(con, at, selected)
    if len(users) < LEAST_USERS:
        raise BadInput(
            f"{len(users)} users were active in the {ACTIVE_US // DAY_US} days before that instant, and personas need "
            f"{LEAST_USERS}; take another one with --at, or import more"
        )
    found = told(store, plan, [feature.ref for feature in features.values()], users, at)
    progress("grouping users", 0, 1)
    made = group(features, found, Span(at - ACTIVE_US, at), before=_fitting(before, plan), window_us=window_us)
    progress("grouping users", 1, 1)
    return made


def group(
    features: Mapping[Role, Feature],
    found: Told,
    span: Span,
    *,
    before: Personas | None = None,
    window_us: int = WINDOW_US,
) -> Made:
    """Personas of users whose values are known; the same values and personas before make the same personas."""
    blank = Personas(
        personas_id="", digest="", inputs=_inputs(features, found.finals), personas=(), window_us=window_us,
        made_from=span, choice=Choice("", 0, 0.0, 0.0),
    )  # fmt: skip
    x = _placed(blank, found.finals)
    clustering = cluster(x, before.choice if before is not None else None)
    centres = np.round(merged(clustering.centres, x), _DECIMALS) + 0.0  # no negative zeros
    anonymous = msgspec.structs.replace(
        blank, choice=clustering.choice, personas=tuple(Persona("", 0, tuple(each)) for each in centres.tolist())
    )
    named = _named(anonymous, before)
    assigned = assign(named, found.finals)
    sizes = np.bincount(assigned, minlength=len(named.personas)).tolist()
    personas = sealed(
        msgspec.structs.replace(
            named,
            personas=tuple(
                msgspec.structs.replace(each, size=size) for each, size in zip(named.personas, sizes, strict=True)
            ),
        )
    )
    changed = None if before is None else changed_share(before, personas, found.finals)
    return Made(personas, assigned, clustering.considered, changed)


def changed_share(before: Personas, after: Personas, finals: Mapping[str, Column]) -> float:
    """The share of users whose persona has another name after than before."""
    return float((before.named(assign(before, finals)) != after.named(assign(after, finals))).mean())


def matched(before: Personas, after: Personas) -> dict[int, int]:
    """{place after: place before} of the centres that are the same persona; each at most once.

    The pairs whose distances add up to the least, without those that lie too far apart (Kuhn, Naval Research Logistics
    Quarterly 2, 1955). Personas that are told by other features have nothing in common.
    """
    if [(each.ref, each.unit) for each in before.inputs] != [(each.ref, each.unit) for each in after.inputs]:
        return {}
    # Both in the standard deviations of those before.
    old, new = _curves(before), _curves(after)
    scale = np.array([each.scale for each in before.inputs])
    apart = np.sqrt((((new[:, None, :] - old[None, :, :]) / scale) ** 2).mean(axis=2))
    pairs = zip(*linear_sum_assignment(apart), strict=True)
    return {int(place): int(was) for place, was in pairs if apart[place, was] <= _FARTHEST}


def write(store: PersonaStore, personas: Personas) -> None:
    """Keep the personas and make them the current ones; those that are there already are only pointed to."""
    if not store.has(FAMILY, personas.personas_id):
        store.write(FAMILY, personas.personas_id, {MANIFEST_FILE: encode(personas)})
    store.promote(FAMILY, personas.personas_id)


def typicals(personas: Personas) -> list[Typical]:
    """The user at each centre."""
    days = personas.window_us / DAY_US
    roles = [each.role for each in personas.inputs]
    return [
        Typical(typical(personas, place), dict(zip(roles, persona.centre, strict=True)), days)
        for place, persona in enumerate(personas.personas)
    ]


def _fitting(before: Personas | None, plan: Plan) -> Personas | None:
    """Those before, unless the plan defines their features otherwise by now: then nothing can be compared."""
    if before is None:
        return None
    try:
        check_features(before, plan.fingerprints)
    except BundleRefused:
        return None
    return before


def _inputs(features: Mapping[Role, Feature], finals: Mapping[str, Column]) -> tuple[PersonaInput, ...]:
    made = []
    for role, feature in features.items():
        column = finals[feature.ref]
        values = curved(np.where(column.valid, column.values.astype(np.float64), role.missing), role.unit)
        mean, scale = round(float(values.mean()), _DECIMALS), round(max(float(values.std()), _LEAST_SCALE), _DECIMALS)
        made.append(
            PersonaInput(
                role.name, feature.ref, feature.fingerprint, float(role.missing), float(role.unit), mean, scale
            )
        )
    return tuple(made)


def _placed(blank: Personas, finals: Mapping[str, Column]) -> np.ndarray:
    """float64[n, d], where users lie, by the very arithmetic that assigns them later."""
    origin = Persona("", 0, (0.0,) * len(blank.inputs))
    _, x = placed(msgspec.structs.replace(blank, personas=(origin,)), finals)
    return np.ascontiguousarray(x.T)


def _named(anonymous: Personas, before: Personas | None) -> Personas:
    """Names and order: those of the matched ones before, then what is new by its worth."""
    same = {} if before is None else matched(before, anonymous)
    users = typicals(anonymous)
    names = {place: before.personas[was].name for place, was in same.items()} if before is not None else {}
    rest = [place for place in range(len(users)) if place not in names]
    names |= dict(zip(rest, names_of([users[place] for place in rest], list(names.values())), strict=True))
    order = [*sorted(same, key=lambda place: same[place]), *sorted(rest, key=lambda place: -users[place].worth)]
    return msgspec.structs.replace(
        anonymous,
        personas=tuple(msgspec.structs.replace(anonymous.personas[place], name=names[place]) for place in order),
    )


def _curves(personas: Personas) -> np.ndarray:
    """float64[k, d], the centres before they were standardised."""
    mean = np.array([each.mean for each in personas.inputs])
    scale = np.array([each.scale for each in personas.inputs])
    centres = np.array([each.centre for each in personas.personas], dtype=np.float64)
    curves: np.ndarray = centres * scale + mean
    return curves


def shares(made: Made) -> Sequence[float]:
    """The share of the users in each persona."""
    return [each.size / len(made.assigned) for each in made.personas.personas]
