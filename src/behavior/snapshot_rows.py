"""The raw values of one entity at a snapshot's instant, packed so that a hundred of them are one array.

    seen_e, then one int64 per numeric raw column, little-endian | texts, a MessagePack array (absent without texts)

A number that is not there is ABSENT, which no feature's value can be. Rows of a view are equally long but for their
texts, so that many are joined and read without a loop.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from behavior.column import Column
from behavior.plan import View

ABSENT = np.iinfo(np.int64).min


def pack_rows(view: View, raw: Mapping[str, Column], seen_e: Column) -> list[bytes]:
    """n rows of bytes from raw columns of n rows."""
    numeric = [seen_e, *(raw[each.name] for each in view.raws if each.dtype == "int64")]
    matrix = np.stack([np.where(column.valid, column.values, ABSENT) for column in numeric], axis=1).astype("<i8")
    data, width = matrix.tobytes(), 8 * len(numeric)
    rows = [data[start : start + width] for start in range(0, len(data), width)]
    texts = [raw[each.name] for each in view.raws if each.dtype != "int64"]
    if not texts:
        return rows
    said = [[column.values[row] if column.valid[row] else None for column in texts] for row in range(len(rows))]
    return [row + msgspec.msgpack.encode(each) for row, each in zip(rows, said, strict=True)]


def unpack_rows(view: View, rows: Sequence[bytes | None]) -> tuple[dict[str, Column], Column]:
    """The raw columns, and seen_e, of n packed rows; None is an entity that the snapshot does not know."""
    numeric = [each.name for each in view.raws if each.dtype == "int64"]
    width = 8 * (1 + len(numeric))
    nothing = np.full(1 + len(numeric), ABSENT, dtype="<i8").tobytes()
    joined = b"".join([nothing if row is None else row[:width] for row in rows])
    matrix = np.frombuffer(joined, dtype="<i8").reshape(len(rows), 1 + len(numeric))
    seen_e, *columns = map(Column, matrix.T, (matrix != ABSENT).T)
    raw = dict(zip(numeric, columns, strict=True))
    texts = [each.name for each in view.raws if each.dtype != "int64"]
    if texts:
        said = [[None] * len(texts) if row is None else msgspec.msgpack.decode(row[width:]) for row in rows]
        raw |= {name: Column.of([each[place] for each in said], "string") for place, name in enumerate(texts)}
    return {each.name: raw[each.name] for each in view.raws}, seen_e
