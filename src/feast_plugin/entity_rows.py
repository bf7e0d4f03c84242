"""The rows that features are asked for: keys and an instant each, normalised."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from behavior.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EntityRows:
    """n entity rows in their own order, duplicates included.

    table   all columns as they came, the instants as timestamp µs UTC
    t       int64[n], the instants in µs UTC
    column  the name of the column of instants
    """

    table: pa.Table
    t: np.ndarray
    column: str

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "EntityRows":
        """The rows of a data frame; instants without a zone are UTC.

        Raises BadInput if an instant is absent, unreadable or finer than a microsecond.
        """
        try:
            column = infer_event_timestamp_from_entity_df(dict(zip(frame.columns, frame.dtypes, strict=True)))
        except ValueError as error:
            raise BadInput(f"the entity rows have no column of instants: {error}") from None
        t = _microseconds(frame[column], column)
        others = pa.Table.from_pandas(frame.drop(columns=[column]), preserve_index=False)
        instants = pa.array(t, pa.timestamp("us", tz="UTC"))
        table = others.add_column(list(frame.columns).index(column), column, instants)
        return cls(table.replace_schema_metadata(None), t, column)

    @property
    def keys(self) -> list[str]:
        """All columns but the instants."""
        return [name for name in self.table.column_names if name != self.column]

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last instant; the epoch twice if there are no rows."""
        if len(self.t) == 0:
            return _EPOCH, _EPOCH
        return _EPOCH + timedelta(microseconds=int(self.t.min())), _EPOCH + timedelta(microseconds=int(self.t.max()))


def _microseconds(series: "pd.Series[pd.Timestamp]", column: str) -> np.ndarray:
    try:
        instants = pd.DatetimeIndex(pd.to_datetime(series, utc=True))
    except (ValueError, TypeError) as error:
        raise BadInput(f"the entity rows have an instant in {column} that cannot be read: {error}") from None
    if instants.hasnans:
        raise BadInput(f"row {int(instants.isna().argmax())} of the entity rows has no instant in {column}; fill it in")
    floored = instants.as_unit("us")
    if instants.unit == "ns" and (floored.as_unit("ns") != instants).any():
        row = int((floored.as_unit("ns") != instants).argmax())
        raise BadInput(
            f"row {row} of the entity rows has {column} {instants[row].isoformat()}, finer than a microsecond; "
            "round it with .dt.floor('us')"
        )
    microseconds: np.ndarray = floored.asi8
    return microseconds
