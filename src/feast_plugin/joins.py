"""Point-in-time joins in SQL: the rows of one view as they stood at each entity row's instant.

Both kinds of views come back in the order of the entity rows. Join keys are compared as text. Texts stay in Arrow: what
goes through `finalise` of them are the numbers of the rows that they stand in.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView
from feast.types import FeastType, from_feast_to_pyarrow_type

from behavior.column import Column
from behavior.errors import BadInput
from behavior.event import SECOND_US
from behavior.finals import finalise
from deployment.table_manifest import Manifest
from feast_plugin.definitions import view_of
from feast_plugin.entity_rows import EntityRows

_TEXTS = ("string", "texts")
_ARROW = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string(), "texts": pa.list_(pa.string())}


def behavior_columns(
    connection: duckdb.DuckDBPyConnection,
    feature_view: FeatureView,
    features: Sequence[str],
    manifest: Manifest,
    tables: Path,
    rows: EntityRows,
    keys: Mapping[str, str],
) -> dict[str, pa.Array]:
    """Final values of a behavior view, by feature name: the raw row that holds at the instant, finalised there.

    A view of `item`, `category` or `all` is read at its last whole interval, as it is served. Raises BadInput if the
    table was made for another definition of one of the features.
    """
    view = view_of(feature_view)
    wanted = [feature for feature in view.features if feature.name in features]
    for feature in wanted:
        if manifest.features.get(feature.name) != feature.fingerprint:
            raise BadInput(f"feature {feature.ref}: its table is of another definition; run `opportune backfill`")
    names = {name for feature in wanted for name in feature.raws}
    dtypes = {raw.name: raw.dtype for raw in view.raws if raw.name in names}
    source = f"SELECT *, epoch_us(ts) AS valid_from FROM read_parquet([{_texts(manifest.paths(tables))}])"
    at = rows.t - rows.t % view.interval_us
    found = _at_instants(connection, source, ["seen_e", *dtypes], rows, keys, at, feature_view.name)
    raw = {name: _to_raw(found[name], dtype) for name, dtype in dtypes.items()}
    finals = finalise(view, raw, _to_raw(found["seen_e"], "int64"), rows.t)
    return {
        feature.name: _to_texts(finals[feature.ref], found[feature.raws[0]], feature.dtype)
        if feature.dtype in _TEXTS
        else pa.array(finals[feature.ref].values, type=_ARROW[feature.dtype], mask=~finals[feature.ref].valid)
        for feature in wanted
    }


def plain_columns(
    connection: duckdb.DuckDBPyConnection,
    feature_view: FeatureView,
    features: Sequence[str],
    path: Path,
    rows: EntityRows,
    keys: Mapping[str, str],
) -> dict[str, pa.Array]:
    """Values of a plain view, by feature name: of all that was known at the instant, the newest that is not expired.

    A row is known from max(ts, created) on; among known rows the greatest ts, then the greatest created, is the newest.
    """
    source = feature_view.batch_source
    assert source is not None
    read = f"SELECT {_renamed(source.field_mapping)} FROM read_parquet({_text(str(path))})"
    created = f"epoch_us({_name(source.created_timestamp_column)})" if source.created_timestamp_column else "ts_us"
    by_key = ", ".join(_name(key) for key in keys)
    versions = f"""
        WITH stored AS (SELECT *, epoch_us({_name(source.timestamp_field)}) AS ts_us FROM ({read})),
        versions AS (SELECT *, {created} AS created_us, greatest(ts_us, {created}) AS valid_from FROM stored),
        ranked AS (SELECT *, max({{'ts': ts_us, 'created': created_us}}) OVER (PARTITION BY {by_key}
            ORDER BY valid_from ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS newest FROM versions)
        SELECT * FROM ranked WHERE ts_us = newest.ts AND created_us = newest.created
        QUALIFY row_number() OVER (PARTITION BY {by_key}, valid_from ORDER BY ts_us DESC, created_us DESC) = 1"""
    found = _at_instants(connection, versions, ["ts_us", *features], rows, keys, rows.t, feature_view.name)
    alive = _alive(found["ts_us"], rows.t, feature_view)
    dtypes = {field.name: field.dtype for field in feature_view.features}
    return {name: _typed(found[name], alive, dtypes[name], f"{feature_view.name}:{name}") for name in features}


def _at_instants(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    columns: Sequence[str],
    rows: EntityRows,
    keys: Mapping[str, str],
    at: np.ndarray,
    view: str,
) -> pa.Table:
    """The columns of the row with the greatest `valid_from` <= at per entity row, null where there is none.

    Entities that are asked for are numbered, so that the others' rows are left out before anything is put in order,
    and what is put in order has one whole number for a key. A key that is null has no number and finds nothing.
    """
    asked = {"row_number": pa.array(np.arange(len(at))), "at": pa.array(at)}
    asked |= {f"key_{place}": rows.table[column] for place, column in enumerate(keys.values())}
    connection.register("asked", pa.table(asked))
    own = [f"CAST(asked.key_{place} AS VARCHAR)" for place in range(len(keys))]
    theirs = [f"CAST(source.{_name(key)} AS VARCHAR)" for key in keys]
    named = [f"name_{place}" for place in range(len(keys))]
    names = ", ".join(named)
    try:
        return connection.execute(f"""
            WITH entities AS (
                SELECT {names}, row_number() OVER () AS entity
                FROM (SELECT DISTINCT {", ".join(f"{key} AS {name}" for key, name in zip(own, named, strict=True))}
                      FROM asked)),
            questions AS (
                SELECT asked.row_number, asked.at, entity FROM asked LEFT JOIN entities ON {_equal(own, named)}),
            stored AS (
                SELECT entity, valid_from, {", ".join(_name(column) for column in columns)}
                FROM ({source}) AS source JOIN entities ON {_equal(theirs, named)})
            SELECT {", ".join(f"stored.{_name(column)}" for column in columns)}
            FROM questions ASOF LEFT JOIN stored
            ON questions.entity = stored.entity AND questions.at >= stored.valid_from
            ORDER BY questions.row_number""").to_arrow_table()
    except duckdb.BinderException as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"view {view}: its table does not fit its definition ({first}); write it again") from None
    finally:
        connection.unregister("asked")


def _equal(left: Sequence[str], right: Sequence[str]) -> str:
    return " AND ".join(f"{one} = {other}" for one, other in zip(left, right, strict=True))


def _to_raw(values: pa.ChunkedArray, dtype: str) -> Column:
    """A raw column; of texts the numbers of their rows, since no kind makes anything new of a text."""
    valid: np.ndarray = np.asarray(values.is_valid())
    if dtype in _TEXTS:
        return Column(np.arange(len(values)), valid)
    return Column(np.asarray(values.cast(pa.int64()).fill_null(0)), valid)


def _to_texts(rows: Column, values: pa.ChunkedArray, dtype: str) -> pa.Array:
    """The texts that stand in the rows; where a row is not there, none."""
    texts = values.cast(_ARROW[dtype]).combine_chunks()
    if np.array_equal(rows.valid, np.asarray(texts.is_valid())):
        return texts
    return texts.take(pa.array(rows.values, mask=~rows.valid))


def _alive(ts: pa.ChunkedArray, t: np.ndarray, feature_view: FeatureView) -> np.ndarray:
    found = _to_raw(ts, "int64")
    if not feature_view.ttl:
        return found.valid
    young: np.ndarray = t - found.values <= round(feature_view.ttl.total_seconds() * SECOND_US)
    alive: np.ndarray = found.valid & young
    return alive


def _typed(values: pa.ChunkedArray, alive: np.ndarray, dtype: FeastType, feature: str) -> pa.Array:
    wanted = from_feast_to_pyarrow_type(dtype)
    try:
        typed = values.cast(wanted).combine_chunks()
    except pa.ArrowInvalid as error:
        raise BadInput(f"feature {feature}: its table holds values that are no {dtype} ({error})") from None
    return pc.if_else(pa.array(alive), typed, pa.scalar(None, wanted))


def _renamed(mapping: Mapping[str, str]) -> str:
    renamed = ", ".join(f"{_name(old)} AS {_name(new)}" for old, new in mapping.items())
    return f"* RENAME ({renamed})" if mapping else "*"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _texts(paths: Iterable[Path]) -> str:
    return ", ".join(_text(str(path)) for path in paths)
