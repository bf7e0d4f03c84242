"""Personas: a few kinds of customers as centres among final feature values, and the nearest one of any user.

Pure: whoever reads the manifest hands its bytes in. What is assigned in a training slice and at request time is one
function, `assign`, on final columns.

    final value, or what stands for a missing one → / unit → log1p (below 0 counts as 0) → (· - mean) / scale → x
    persona = the centre with the least squared distance to x, the first of equally near ones
"""

import re
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256

import msgspec
import numpy as np

from behavior.column import Column
from behavior.errors import BundleRefused
from behavior.manifest import Span

FORMAT = 1
FAMILY = "personas"
# The place and the name of a user of whom nothing is known.
UNKNOWN, UNKNOWN_NAME = -1, "Unknown"
# Distances of so many rows to all centres are in memory at once.
_CHUNK_ROWS = 16_384
_ID = re.compile(r"personas-[0-9]{8}-[0-9a-f]{8}")


class PersonaInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One feature of users that personas are told by.

    role          what it says: recency, orders, spend, tenure, views, carts
    ref           `view:feature`; fingerprint is what it had in the plan
    missing       the final value that stands for one that is not there
    unit          what the final value is counted in: 86,400 makes days of seconds
    mean, scale   of log1p(value / unit) over the users that the personas were made from
    """

    role: str
    ref: str
    fingerprint: str
    missing: float
    unit: float
    mean: float
    scale: float


class Persona(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One persona: its name, how many users it was made from, and its centre, one number per input."""

    name: str
    size: int
    centre: tuple[float, ...]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why there are so many: the method, the number of clusters before small ones were merged, and its figures."""

    method: str
    clusters: int
    silhouette: float
    stability: float


class Personas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Everything that assigning needs.

    personas_id   personas-<UTC date of the instant they were made at>-<first 8 digits of digest>
    digest        sha256 of all the rest, hexadecimal
    window_us     what orders, spend and views are counted over
    made_from     the users were active in this span, and are told by what was known at its end
    """

    format: int = FORMAT
    personas_id: str
    digest: str
    inputs: tuple[PersonaInput, ...]
    personas: tuple[Persona, ...]
    window_us: int
    made_from: Span
    choice: Choice

    @property
    def refs(self) -> tuple[str, ...]:
        """The features that are read."""
        return tuple(each.ref for each in self.inputs)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the centres."""
        return tuple(each.name for each in self.personas)

    @cached_property
    def views(self) -> frozenset[str]:
        """The views that the features are of."""
        return frozenset(ref.partition(":")[0] for ref in self.refs)

    @cached_property
    def geometry(self) -> "Geometry":
        """The numbers as arrays, made once."""
        return Geometry(self)

    def name_of(self, place: int) -> str:
        """The name of an assigned place, `Unknown` for -1."""
        return UNKNOWN_NAME if place == UNKNOWN else self.personas[place].name

    def named(self, places: np.ndarray) -> np.ndarray:
        """object[n] of names for int64[n] of assigned places."""
        # -1 finds the last.
        found: np.ndarray = np.array([*self.names, UNKNOWN_NAME], dtype=object)[places]
        return found


class Geometry:
    """Inputs and centres of personas as float64 arrays: [d, 1] for inputs, [d, k, 1] for centres."""

    __slots__ = ("centres", "mean", "missing", "refs", "scale", "unit")

    def __init__(self, personas: Personas) -> None:
        inputs = personas.inputs
        self.refs = personas.refs
        self.missing, self.unit, self.mean, self.scale = (
            np.array([[getattr(each, name)] for each in inputs], dtype=np.float64)
            for name in ("missing", "unit", "mean", "scale")
        )
        self.centres = np.array([each.centre for each in personas.personas], dtype=np.float64).T[:, :, None].copy()


def assign(personas: Personas, finals: Mapping[str, Column]) -> np.ndarray:
    """The place of each user's nearest centre, int64[n]; -1 where none of the inputs is there.

    finals   {reference: column of n rows}; it may hold more
    """
    known, x = placed(personas, finals)
    centres = personas.geometry.centres
    nearest = np.empty(x.shape[1], dtype=np.int64)
    for start in range(0, len(nearest), _CHUNK_ROWS):
        apart = centres - x[:, None, start : start + _CHUNK_ROWS]
        # Added up input by input, whatever the number of rows: one row alone gets what it gets among a million.
        apart *= apart
        nearest[start : start + _CHUNK_ROWS] = np.add.accumulate(apart, axis=0)[-1].argmin(axis=0)
    nearest[~known] = UNKNOWN
    return nearest


def placed(personas: Personas, finals: Mapping[str, Column]) -> tuple[np.ndarray, np.ndarray]:
    """Whether anything is known of each user, bool[n], and where they lie among the centres, float64[d, n]."""
    g = personas.geometry
    columns = [finals[ref] for ref in g.refs]
    values = np.array([column.values for column in columns], dtype=np.float64)
    valid = np.array([column.valid for column in columns]) & np.isfinite(values)
    x = (_curved(np.where(valid, values, g.missing), g.unit) - g.mean) / g.scale
    known: np.ndarray = np.logical_or.reduce(valid, axis=0)
    return known, x


def curved(values: np.ndarray, unit: float) -> np.ndarray:
    """log1p(value / unit), float64: what mean and scale are taken of."""
    return _curved(np.asarray(values, dtype=np.float64), unit)


def typical(personas: Personas, place: int) -> dict[str, float]:
    """What users at a centre are like, {role: value in the input's unit}."""
    found = {}
    for each, at in zip(personas.inputs, personas.personas[place].centre, strict=True):
        found[each.role] = float(np.expm1(max(at * each.scale + each.mean, 0.0)))
    return found


def _curved(values: np.ndarray, unit: "np.ndarray | float") -> np.ndarray:
    shrunk: np.ndarray = np.log1p(np.maximum(values, 0.0) / unit)
    return shrunk


def sealed(personas: Personas) -> Personas:
    """The same personas with the digest and the id that their content asks for."""
    digest = sha256(_content(personas)).hexdigest()
    return msgspec.structs.replace(personas, digest=digest, personas_id=_id_of(personas, digest))


def encode(personas: Personas) -> bytes:
    """The manifest file; equal personas have equal bytes."""
    return msgspec.json.format(msgspec.json.encode(personas), indent=2) + b"\n"


def decode(data: bytes) -> Personas:
    """The personas of a manifest file.

    Raises BundleRefused if it is none, is of another format, or a single bit is not as it was written.
    """
    try:
        found = msgspec.json.decode(data, type=Personas)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleRefused(
            f"personas cannot be read ({error}); restore them or run `opportune segment` again"
        ) from None
    if found.format != FORMAT:
        raise BundleRefused(
            f"personas of format {found.format} were found, not {FORMAT}; run `opportune segment` with this version"
        )
    is_whole = _ID.fullmatch(found.personas_id) is not None and sealed(found) == found and encode(found) == data
    if not is_whole or not _is_sound(found):
        raise BundleRefused(
            f"personas {found.personas_id!r} are not what was written; restore them or run `opportune segment` again"
        )
    return found


def check_features(personas: Personas, fingerprints: Mapping[str, str]) -> None:
    """Raise BundleRefused unless the plan has every feature with an equal fingerprint.

    fingerprints    {reference: fingerprint} of the plan
    """
    wrong = [each.ref for each in personas.inputs if fingerprints.get(each.ref) != each.fingerprint]
    if wrong:
        raise BundleRefused(
            f"{personas.personas_id}: the plan lacks or defines otherwise {', '.join(wrong)}; "
            "apply the definitions that they were made with, or run `opportune segment` again"
        )


def _content(personas: Personas) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(personas, personas_id="", digest=""), order="sorted")


def _id_of(personas: Personas, digest: str) -> str:
    day = np.datetime64(personas.made_from.end_us, "us").astype("datetime64[D]")
    return f"{FAMILY}-{str(day).replace('-', '')}-{digest[:8]}"


def _is_sound(personas: Personas) -> bool:
    """Whether assigning can work: what was written by another program may have whole bytes and no sense."""
    d = len(personas.inputs)
    finite = [x for each in personas.inputs for x in (each.missing, each.unit, each.mean, each.scale)]
    finite += [x for each in personas.personas for x in each.centre]
    return (
        d > 0
        and len(personas.personas) > 0
        and all(len(each.centre) == d for each in personas.personas)
        and all(each.scale > 0 and each.unit > 0 for each in personas.inputs)
        and len(set(personas.names) | {UNKNOWN_NAME}) == len(personas.names) + 1
        and bool(np.isfinite(finite).all())
    )
