"""The reference page of mapping files, made of the structs that read them: `python -m training.mapping_page` prints
it.
"""

import sys
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from training.expression import CAST_TYPES, FUNCTIONS
from training.mapping_form import (
    CatalogueMapping,
    Consent,
    EventMapping,
    FileMapping,
    Join,
    MessageId,
    Money,
    Property,
    Table,
    ZoneColumn,
    fields_of,
)

_SECTIONS: tuple[tuple[str, type[Table]], ...] = (
    ("Every mapping", FileMapping),
    ("Events", EventMapping),
    ("Catalogue", CatalogueMapping),
    ("`[[joins]]`", Join),
    ("`[money]`, `[price]`", Money),
    ("`[properties.<name>]`", Property),
    ("`[message_id]`", MessageId),
    ("`[consent]`", Consent),
    ("`local_zone = {...}`", ZoneColumn),
)

_HEAD = """# Mapping files

*Generated from `src/training/mapping_form.py` by `python -m training.mapping_page`; do not edit.*

A mapping file is TOML. `opportune import FILES --mapping M.toml` reads CSV, Parquet and JSON lines through it; the
shipped
mappings are `complete_journey`, `complete_journey_items` and `click_log`. An unknown key is an error.

Fields of events for `[columns]`, `[constants]` and `[expressions]`: {events}. Each is given in one of the three.
`client_time`, `kind` and one of `user_id` and `anonymous_id` are needed. The value comes from `[money]`.

Fields of the catalogue: {catalogue}. `item` and `valid_from` are needed; without `created` a row counts as known from
`valid_from` on. Of several rows for one (item, valid_from) the newest created stays.

How a record becomes an event:
- All values are read as text; empty text, null and NaN are absent. Whole floats of Parquet lose their `.0`.
- Amounts are exact: `1.39` is 139, halves are rounded away from zero. Whole numbers and amounts have at most 18 digits.
- Line numbers are those of the physical file, from 1, header included (`sed -n 17p FILE` shows line 17); for Parquet
  the row, from 1; `position` counts within an unnested list. Blank lines are no records.
- A CSV field may be quoted with `"`, doubled within, and may then hold line breaks. Lines that a stray quote would
  swallow are read by themselves.
- A broken record is rejected with reason, file, line and field; its content is not repeated. The others are imported.
- Precedence: rejected, dropped (no consent), duplicate (in the file or the archive), `after_log_began`, accepted.
- An imported event's admission instant is its own time. One later than the first event that its partition's log took is
  refused.

Expressions are parsed by DuckDB and may use columns, constants, comparisons, `AND OR NOT IN BETWEEN LIKE IS NULL
COALESCE CASE`,
arithmetic, `||`, casts to {casts}, and the functions {functions}.
"""


def page() -> str:
    """The reference page as Markdown."""
    parts = [
        _HEAD.format(
            events=_code(fields_of(EventMapping)),
            catalogue=_code(fields_of(CatalogueMapping)),
            casts=_code(sorted(CAST_TYPES)),
            functions=_code(sorted(name for name in FUNCTIONS if name.isidentifier())),
        )
    ]
    for title, table in _SECTIONS:
        shared = issubclass(table, FileMapping) and table is not FileMapping
        inherited = set(FileMapping.__struct_fields__) if shared else set()
        about = (table.__doc__ or "").strip()
        rows = [_row(table, each) for each in msgspec.structs.fields(table) if each.name not in inherited]
        parts.append(
            f"\n## {title}\n\n{about}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "".join(parts)


def _row(table: type[Table], each: msgspec.structs.FieldInfo) -> str:
    hint = get_type_hints(table, include_extras=True)[each.name]
    described = [meta.description for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta) and meta.description]
    default = "needed" if each.required else _default(each)
    meaning = " ".join(described).replace("|", "\\|")
    return f"| `{each.name}` | {_type(hint)} | {default} | {meaning} |"


def _default(each: msgspec.structs.FieldInfo) -> str:
    value = each.default if each.default is not msgspec.NODEFAULT else None
    if value in (None, (), {}):
        return ""
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _type(hint: Any) -> str:
    """A type in the words of TOML."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(each) for each in arguments if each is not NoneType))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict or (isinstance(hint, type) and issubclass(hint, Table)):
        return "table"
    return {str: "text", int: "integer", bool: "boolean"}[hint]


def _code(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(page())
