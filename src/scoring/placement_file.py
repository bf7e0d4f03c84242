"""The file that says the placements: TOML, checked whole before any of it is used. `deploy/placements.toml` is one.

    [default]             what a request gets that names no placement
    [placements.NAME]     one of a name

Every key is one of `Placement`'s. A wrong file is refused with the file, the key and the nearest known one.
"""

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from behavior.admission import MAX_ID_BYTES
from behavior.errors import BadInput
from behavior.exploration import EPSILON_GREEDY, PLACKETT_LUCE, POLICIES
from behavior.plan import Plan
from behavior.served import CATEGORY, ITEM
from scoring.factors import FACTORS
from scoring.placements import (
    MOST_FROM_ONE,
    OF_CONFIGURATION,
    OF_USER,
    SOURCES,
    Diversity,
    Exploration,
    Placement,
    Placements,
    Source,
)
from scoring.signals import MADE_BY, signals_of

_LARGEST_BYTES = 4 * 1024 * 1024


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises BadInput if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"placements: {path} cannot be read ({error.strerror}); check the setting `placements`"
        ) from None
    if len(data) > _LARGEST_BYTES:
        raise BadInput(f"{path} has more than {_LARGEST_BYTES} bytes; placements are written by hand")
    return data


def read_placements(path: Path, data: bytes) -> Placements:
    """The placements that the file's bytes say. Raises BadInput that names file, key and what is wrong."""
    try:
        said = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}") from None
    _refuse_unknown(said, ("default", "placements"), f"{path}", "key")
    named = said.get("placements", {})
    if not isinstance(named, dict):
        raise BadInput(f"{path}: placements must be tables, each as [placements.NAME]")
    return Placements(
        default=_placement(f"{path}: default", said.get("default", {})),
        named={name: _placement(_where(path, name), table) for name, table in named.items()},
        placements_id=sha256(data).hexdigest()[:12],
    )


def unmade(placements: Placements, plan: Plan) -> list[str]:
    """What placements weigh and the plan has no features for: such factors are left out of the answers."""
    signals = signals_of(plan)
    absent = {factor.name: [MADE_BY[each] for each in factor.reads if not signals.refs(each)] for factor in FACTORS}
    return [
        f"{name}: {factor} is left out, the plan has no {' and no '.join(absent[factor])}"
        for name, placement in {"default": placements.default, **placements.named}.items()
        for factor, weight in placement.weights.items()
        if weight and absent[factor]
    ]


def _where(path: Path, name: str) -> str:
    if not name or len(name.encode()) > MAX_ID_BYTES:
        raise BadInput(f"{path}: a placement's name has 1 to {MAX_ID_BYTES} bytes")
    return f"{path}: placements.{name}"


def _placement(where: str, table: Any) -> Placement:
    _refuse_keys(table, Placement, where)
    for name, kind in (("diversity", Diversity), ("exploration", Exploration)):
        _refuse_keys(table.get(name, {}), kind, f"{where}.{name}")
    sources = table.get("candidates", [])
    for place, source in enumerate(sources if isinstance(sources, list) else []):
        _refuse_keys(source, Source, f"{where}.candidates[{place}]")
    try:
        placement = msgspec.convert(table, Placement)
    except msgspec.ValidationError as error:
        raise BadInput(f"{where}: {_in_words(error)}") from None
    _refuse_weights(placement, where)
    _refuse_candidates(placement, where)
    _refuse_exploration(placement, where)
    return placement


def _refuse_weights(placement: Placement, where: str) -> None:
    _refuse_unknown(placement.weights, [factor.name for factor in FACTORS], f"{where}.weights", "factor")


def _refuse_candidates(placement: Placement, where: str) -> None:
    _refuse_unknown([placement.kind], (CATEGORY, ITEM), f"{where}.kind", "kind of candidate")
    sources = [each.source for each in placement.candidates]
    _refuse_unknown(sources, SOURCES, f"{where}.candidates", "source of candidates")
    if not sources or len(set(sources)) < len(sources):
        raise BadInput(f'{where}.candidates: name each source once, one at least, such as {{ from = "popular" }}')
    if sum(each.most for each in placement.candidates) > MOST_FROM_ONE:
        raise BadInput(f"{where}.candidates: a request ranks {MOST_FROM_ONE} things; lower `most`")
    if (OF_CONFIGURATION in sources) != bool(placement.ids):
        raise BadInput(f"{where}: `ids` and the source `{OF_CONFIGURATION}` go together; give both or none")
    if len(set(placement.ids)) < len(placement.ids):
        raise BadInput(f"{where}.ids: something is there twice; name each once")
    if placement.kind == CATEGORY and placement.diversity:
        raise BadInput(f"{where}.diversity mixes items by their category; a placement of categories needs none")
    if placement.kind == ITEM and OF_USER in sources:
        raise BadInput(f"{where}.candidates: the source `{OF_USER}` knows categories, no items; use another one")


def _refuse_exploration(placement: Placement, where: str) -> None:
    said = placement.exploration
    if said is None:
        return
    _refuse_unknown([said.policy], POLICIES, f"{where}.exploration", "policy")
    if placement.diversity:
        raise BadInput(f"{where}: `exploration` and `diversity` both say the order; give one, or none")
    for key, policy in (("epsilon", EPSILON_GREEDY), ("temperature", PLACKETT_LUCE)):
        if (getattr(said, key) is not None) != (said.policy == policy):
            raise BadInput(f"{where}.exploration: `{key}` and the policy {policy} go together; give both or none")


def _refuse_keys(table: Any, kind: type[msgspec.Struct], where: str) -> None:
    if not isinstance(table, dict):
        raise BadInput(f"{where} must be a table of keys")
    _refuse_unknown(table, [field.encode_name for field in msgspec.structs.fields(kind)], where, "key")


def _refuse_unknown(said: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    known = list(known)
    for each in said:
        if each not in known:
            near = get_close_matches(each, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            raise BadInput(f"{where}: {each!r} is no {what}; {hint}")


def _in_words(error: msgspec.ValidationError) -> str:
    """msgspec's sentence with the key first: `weights[...]: expected number, got str`."""
    said, _, path = str(error).partition(" - at `$.")
    said = said[:1].lower() + said[1:].replace("`", "")
    return f"{path.removesuffix('`')}: {said}" if path else said
