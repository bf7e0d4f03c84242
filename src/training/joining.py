"""The records of a data file with the columns that joined files add: what mappings speak about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from behavior.errors import BadInput
from deployment.database import connected
from training.expression import references, rewritten
from training.mapping_form import CatalogueMapping, EventMapping, FileMapping
from training.source import Progress, Records, check, load, quoted


@dataclass(frozen=True, slots=True)
class Wide:
    """SQL over records and joined files: `relation` to select from, and each column that the mapping names as SQL
    text.
    """

    relation: str
    columns: dict[str, str]
    mapping: FileMapping
    records: Records

    def text(self, field: str) -> str | None:
        """SQL for the text of one of our fields, from its column, constant or expression; None if the mapping gives
        none.
        """
        mapping = self.mapping
        if field in mapping.columns:
            return self.columns[mapping.columns[field]]
        if field in mapping.expressions:
            return self.expression(mapping.expressions[field], f"expression of {field}")
        if field in mapping.constants:
            constant = mapping.constants[field]
            return quoted(str(constant).lower() if isinstance(constant, bool) else str(constant))
        return None

    def either(self, column: str | None, expression: str | None, what: str) -> str:
        """SQL for the text of a column or of an expression."""
        return self.columns[column] if column is not None else self.expression(expression or "", what)

    def expression(self, sql: str, what: str) -> str:
        """SQL for the text that a checked expression of the mapping makes."""
        return f"({rewritten(sql, self.columns, what)})::VARCHAR"


def joined_paths(files: Sequence[Path], mapping: FileMapping) -> list[Path]:
    """The joined files: each lies relative to the folder of the first data file."""
    return [files[0].parent / join.file for join in mapping.joins]


def check_files(files: Sequence[Path], mapping: FileMapping) -> None:
    """Refuse files that are known to be unfit before a record of them is read, the joined ones included.

    Raises BadInput for a file that is missing, empty, of unknown format or, unless it is JSON lines, lacks a column.
    """
    own = _own(mapping)
    with connected() as connection:
        for join, path in zip(mapping.joins, joined_paths(files, mapping), strict=True):
            check(connection, [path], mapping, [*join.on_columns().values(), *join.taken().values()])
        check(connection, files, mapping, own, unnest=mapping.unnest, times=_times(mapping, own))


def load_wide(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    mapping: FileMapping,
    *,
    digest: bool,
    progress: Progress | None,
) -> Wide:
    """Load the data files and the files they are joined to.

    Raises BadInput for a file or column that is missing, and for a joined file with broken records or repeated keys.
    """
    supplied: dict[str, str] = {}
    relation, joins = "records AS r", []
    for index, (join, path) in enumerate(zip(mapping.joins, joined_paths(files, mapping), strict=True)):
        taken, keys = join.taken(), join.on_columns()
        for name in taken:
            if name in supplied or name in keys:
                raise BadInput(
                    f'join of {path}: the column {name!r} exists already; take it as columns = {{new = "{name}"}}'
                )
        table = load(
            connection, f"joined_{index}", [path], mapping, list(dict.fromkeys([*keys.values(), *taken.values()]))
        )
        _refuse_unfit(connection, path, table, list(keys.values()))
        supplied |= {name: f"j{index}.{table.columns[theirs]}" for name, theirs in taken.items()}
        joins.append((index, keys, table))
    own = _own(mapping)
    records = load(
        connection, "records", files, mapping, own,
        unnest=mapping.unnest, times=_times(mapping, own), digest=digest, progress=progress,
    )  # fmt: skip
    columns = {name: f"r.{column}" for name, column in records.columns.items()} | supplied
    for index, keys, table in joins:
        on = " AND ".join(f"{columns[ours]} = j{index}.{table.columns[theirs]}" for ours, theirs in keys.items())
        relation += f" LEFT JOIN joined_{index} AS j{index} ON {on}"
    return Wide(relation, columns, mapping, records)


def _refuse_unfit(connection: duckdb.DuckDBPyConnection, path: Path, table: Records, keys: list[str]) -> None:
    """A joined file must be whole and its keys unique, or a record would be lost or doubled."""
    if table.unreadable:
        broken = table.unreadable[0]
        raise BadInput(f"{path}, line {broken.line}: {broken.detail}; a joined file must be readable throughout")
    columns = [table.columns[key] for key in keys]
    row = connection.execute(
        f"SELECT min(line), max(line) FROM {table.table} WHERE {' AND '.join(f'{key} IS NOT NULL' for key in columns)} "
        f"GROUP BY {', '.join(columns)} HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchone()
    if row is not None:
        raise BadInput(
            f"{path} has the same {' and '.join(keys)} on lines {row[0]} and {row[1]}; join on what is unique"
        )


def _own(mapping: FileMapping) -> list[str]:
    """The columns that the data files themselves must have; joined files supply the others."""
    supplied = {name for join in mapping.joins for name in join.taken()}
    return [name for name in _named(mapping) if name not in supplied]


def _times(mapping: FileMapping, own: Sequence[str]) -> list[str]:
    """Those of the data files' columns that hold timestamps."""
    fields = ("client_time", "valid_from", "created")
    return [mapping.columns[field] for field in fields if mapping.columns.get(field) in own]


def _named(mapping: FileMapping) -> list[str]:
    """Every column that the mapping names, in a stable order."""
    names = [*mapping.columns.values(), *(ours for join in mapping.joins for ours in join.on_columns())]
    expressions = list(mapping.expressions.values())
    tables: list[object] = []
    if isinstance(mapping, EventMapping):
        tables = [mapping.money, mapping.consent, mapping.local_zone, *mapping.properties.values()]
        names += mapping.message_id.columns if mapping.message_id is not None else ()
    elif isinstance(mapping, CatalogueMapping):
        tables = [mapping.price]
    names += [column for table in tables if (column := getattr(table, "column", None)) is not None]
    expressions += [sql for table in tables if (sql := getattr(table, "expression", None)) is not None]
    for sql in expressions:
        names += references(sql, "mapping")
    return list(dict.fromkeys(names))
