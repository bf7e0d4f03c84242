"""The snapshot: the raw values of category and `all` views at one instant, columnar.

Fold publishes it at the last whole interval `s` that every partition has committed; scorers and the Feast plug-in hold
it in memory and look ids up in it. Its bytes, format 1, are MessagePack with little-endian arrays inside: a function
of the values alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from behavior.column import Column
from behavior.errors import OpportuneError
from behavior.plan import Plan, View
from behavior.vector import finalise

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """One view's part: n entities with their raw values at the snapshot's instant.

    ids      the n entity ids (categories, or the one id `all`)
    raw      {feature name: raw column of n rows}, as in the tables
    seen_e   latest event time of each entity, n rows
    """

    ids: Sequence[str]
    raw: Mapping[str, Column]
    seen_e: Column
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {entity: row for row, entity in enumerate(self.ids)})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All snapshot views at the instant s (µs UTC, a whole interval)."""

    s: int
    views: Mapping[str, SnapshotView]
    _finals: dict[str, dict[str, Column]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def lookup(self, plan: Plan, name: str, ids: Sequence[str]) -> dict[str, Column]:
        """Final values at s of a view for the given ids, `{view:feature: column of len(ids) rows}`.

        An id, or a view, that the snapshot does not know is missing. Raises BadInput if the plan has no such view.
        A snapshot answers for one plan only: its final values are computed once per view, then gathered.
        """
        finals = self._finals.get(name)
        if finals is None:
            finals = self._finals[name] = _finalised(plan.view(name), self.views.get(name), self.s)
        known = self.views[name].index if name in self.views else {}
        rows = np.array([known.get(entity, len(known)) for entity in ids], dtype=np.intp)
        return {ref: Column(column.values[rows], column.valid[rows]) for ref, column in finals.items()}


def _finalised(view: View, part: SnapshotView | None, s: int) -> dict[str, Column]:
    """The final columns of all entities, and one row more at the end that stands for every unknown id."""
    if part is None:
        part = SnapshotView([], {}, Column.of([], "int64"))
    nothing = {feature.name: Column.of([], feature.raw_dtype) for feature in view.features}
    raw = {name: _with_unknown(column) for name, column in (nothing | dict(part.raw)).items()}
    return finalise(view, raw, _with_unknown(part.seen_e), np.full(len(part.ids) + 1, s, dtype=np.int64))


def _with_unknown(column: Column) -> Column:
    blank = np.zeros(1, dtype=column.values.dtype) if column.values.dtype != object else np.array([None], dtype=object)
    return Column(np.concatenate([column.values, blank]), np.append(column.valid, False))


class _ColumnBytes(msgspec.Struct, frozen=True, array_like=True):
    """A column of n rows: its valid bits, and either int64 little-endian or texts."""

    valid: bytes
    numbers: bytes | None = None
    texts: list[str | None] | None = None


class _ViewBytes(msgspec.Struct, frozen=True):
    ids: list[str]
    seen_e: _ColumnBytes
    raw: dict[str, _ColumnBytes]


class _SnapshotBytes(msgspec.Struct, frozen=True):
    format: int
    s: int
    views: dict[str, _ViewBytes]


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(_SnapshotBytes)


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot's bytes in Redis."""
    views = {
        name: _ViewBytes(
            list(part.ids), _pack(part.seen_e), {feature: _pack(column) for feature, column in part.raw.items()}
        )
        for name, part in snapshot.views.items()
    }
    return _encoder.encode(_SnapshotBytes(FORMAT, snapshot.s, views))


def decode(data: bytes) -> Snapshot:
    """The snapshot that `encode` wrote.

    Raises OpportuneError if the bytes are not a snapshot of this format.
    """
    try:
        file = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise OpportuneError(f"the snapshot cannot be read ({error}); fold or rebuild will publish a new one") from None
    if file.format != FORMAT:
        raise OpportuneError(f"a snapshot of format {file.format} was found, this version reads {FORMAT}")
    views = {
        name: SnapshotView(
            part.ids,
            {feature: _unpack(column, len(part.ids)) for feature, column in part.raw.items()},
            _unpack(part.seen_e, len(part.ids)),
        )
        for name, part in file.views.items()
    }
    return Snapshot(file.s, views)


def _pack(column: Column) -> _ColumnBytes:
    valid = np.packbits(column.valid).tobytes()
    if column.values.dtype == object:
        values = zip(column.values, column.valid, strict=True)
        return _ColumnBytes(valid, texts=[str(value) if there else None for value, there in values])
    # What is not there is arbitrary: zero, so that equal snapshots have equal bytes.
    return _ColumnBytes(valid, numbers=np.where(column.valid, column.values, 0).astype("<i8").tobytes())


def _unpack(column: _ColumnBytes, n: int) -> Column:
    valid = np.unpackbits(np.frombuffer(column.valid, dtype=np.uint8), count=n).astype(bool)
    if column.numbers is None:
        values = np.empty(n, dtype=object)
        values[:] = column.texts or []
    else:
        values = np.frombuffer(column.numbers, dtype="<i8").astype(np.int64)
    if len(values) != n:
        raise OpportuneError(f"the snapshot has a column of {len(values)} rows for {n} entities")
    return Column(values, valid)
