"""Mapping files read and checked, completely, before any data file is opened."""

import datetime as dt
import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from behavior.errors import BadInput
from training.expression import references
from training.mapping_form import (
    EPOCH_UNITS_US,
    TIME_FIELDS,
    CatalogueMapping,
    Consent,
    EventMapping,
    FileMapping,
    Money,
    Property,
    Table,
    constant_us,
    fields_of,
    known_zones,
    nearest,
)

__all__ = ["SHIPPED", "CatalogueMapping", "EventMapping", "load_mapping"]

SHIPPED = Path(__file__).parent / "mappings"
M = TypeVar("M", bound=FileMapping)


def load_mapping(path: Path | str, form: type[M]) -> M:
    """The checked mapping in the TOML file `path`; the bare name of a shipped mapping works too.

    Raises BadInput, one line that says what is wrong, where, and the nearest known key if a key is unknown.
    """
    path = Path(path)
    if not path.exists() and path.parent == Path() and (SHIPPED / f"{path.name}.toml").exists():
        path = SHIPPED / f"{path.name}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise BadInput(f"mapping {path} cannot be read: {error.strerror}; shipped ones are {shipped}") from None
    except ValueError as error:
        raise BadInput(f"mapping {path} is not TOML: {error}") from None
    where = f"mapping {path.name}"
    _refuse_unknown_keys(data, form, where)
    constants = data.get("constants")
    if isinstance(constants, dict):  # TOML has instants of its own
        data["constants"] = {
            name: str(value) if isinstance(value, dt.datetime) else value for name, value in constants.items()
        }
    try:
        mapping = msgspec.convert(data, form)
    except msgspec.ValidationError as error:
        raise BadInput(f"{where}: {error}") from None
    _check(mapping, where)
    return mapping


def _refuse_unknown_keys(data: Any, expected: Any, where: str) -> None:
    tables, lists = _shapes(expected)
    if isinstance(data, list) and lists:
        for item in data:
            _refuse_unknown_keys(item, lists[0], where)
    if not isinstance(data, dict) or not tables:
        return
    hints = get_type_hints(tables[0], include_extras=True)
    for key, value in data.items():
        if key not in hints:
            raise BadInput(f"{where}: unknown key {key!r}{nearest(key, hints)}")
        if key in ("columns", "constants", "expressions") and issubclass(tables[0], FileMapping):
            _refuse_unknown_fields(value, fields_of(tables[0]), f"{where}, [{key}]")
        elif key == "properties" and isinstance(value, dict):
            for name, inner in value.items():
                _refuse_unknown_keys(inner, Property, f"{where}, [properties.{name}]")
        else:
            _refuse_unknown_keys(value, hints[key], f"{where}, [{key}]")


def _refuse_unknown_fields(data: Any, known: tuple[str, ...], where: str) -> None:
    for field in data if isinstance(data, dict) else ():
        if field not in known:
            raise BadInput(f"{where}: unknown field {field!r}{nearest(field, known)}")


def _shapes(expected: Any) -> tuple[list[type], list[Any]]:
    """The table structs and the list item types that a type hint may stand for."""
    if get_origin(expected) is Annotated:
        return _shapes(get_args(expected)[0])
    if get_origin(expected) in (Union, UnionType):
        parts = [_shapes(part) for part in get_args(expected)]
        return [table for tables, _ in parts for table in tables], [item for _, items in parts for item in items]
    if get_origin(expected) is tuple:
        return [], [get_args(expected)[0]]
    return ([expected], []) if isinstance(expected, type) and issubclass(expected, Table) else ([], [])


def _check(mapping: FileMapping, where: str) -> None:
    """Refuse what is well-formed but makes no sense together."""
    seen: dict[str, str] = {}
    for table in ("columns", "constants", "expressions"):
        for field in getattr(mapping, table):
            if field in seen:
                raise BadInput(f"{where}: {field} is given in [{seen[field]}] and in [{table}]; keep one")
            seen[field] = table
    for field, sql in mapping.expressions.items():
        references(sql, f"{where}, [expressions] {field}")
    _check_times(mapping, where, seen)
    if isinstance(mapping, EventMapping):
        _check_event(mapping, where, seen)
    elif isinstance(mapping, CatalogueMapping):
        _require(seen, ("item", "valid_from"), where)
        _check_either(mapping.price, f"{where}, [price]")


def _check_event(mapping: EventMapping, where: str, seen: dict[str, str]) -> None:
    _require(seen, ("client_time", "kind"), where)
    if "user_id" not in seen and "anonymous_id" not in seen:
        raise BadInput(f"{where}: nothing says who the user is; add user_id or anonymous_id to [columns]")
    for name in mapping.properties:
        if not re.fullmatch("[a-z][a-z0-9_]{0,63}", name):
            raise BadInput(f"{where}: property {name!r} must be a lower-case word of letters, digits and _")
    _check_either(mapping.money, f"{where}, [money]")
    _check_either(mapping.consent if isinstance(mapping.consent, Consent) else None, f"{where}, [consent]")
    if mapping.money is not None and mapping.money.currency and "currency" in seen:
        raise BadInput(f"{where}: currency is given in [money] and in [{seen['currency']}]; keep one")
    if mapping.local_zone is not None and "utc_offset_s" in seen:
        raise BadInput(f"{where}: local_zone and utc_offset_s both give the user's offset; keep one")
    if mapping.local_zone == "offset" and mapping.timestamps_in != "offset":
        raise BadInput(f'{where}: local_zone = "offset" needs timestamps_in = "offset"')
    if isinstance(mapping.local_zone, str) and mapping.local_zone != "offset":
        _check_zone(mapping.local_zone, f"{where}, local_zone")


def _check_times(mapping: FileMapping, where: str, seen: dict[str, str]) -> None:
    read = [field for field, table in seen.items() if field in TIME_FIELDS and table != "constants"]
    if mapping.timestamps_in is None:
        if read:
            raise BadInput(f"{where}: timestamps_in is missing; it says how {read[0]} is to be read")
    elif mapping.timestamps_in not in (*EPOCH_UNITS_US, "offset"):
        _check_zone(mapping.timestamps_in, f"{where}, timestamps_in")
    elif mapping.timestamp_format is not None:
        raise BadInput(f"{where}: timestamp_format needs an IANA zone in timestamps_in")
    for field in TIME_FIELDS & mapping.constants.keys():
        constant_us(mapping.constants[field], f"{where}, [constants] {field}")


def _check_zone(zone: str, where: str) -> None:
    if zone not in known_zones():
        raise BadInput(f"{where}: unknown time zone {zone!r}{nearest(zone, known_zones())}")


def _require(seen: dict[str, str], fields: tuple[str, ...], where: str) -> None:
    for field in fields:
        if field not in seen:
            raise BadInput(f"{where}: {field} is missing; add it to [columns], [constants] or [expressions]")


def _check_either(table: Money | Consent | None, where: str) -> None:
    if table is None:
        return
    if (table.column is None) == (table.expression is None):
        raise BadInput(f"{where}: give either column or expression")
    if table.expression is not None:
        references(table.expression, where)
