"""One SELECT that turns wide records of texts into events in the archive's columns.

texts       t_<field>: what the mapping's column, constant or expression says, as text
converted   <field>: the archive's columns, joined to the pseudonyms of the texts' ids
placed      utc_offset_s at the instant, properties as one JSON object
"""

import duckdb
import pyarrow as pa

from behavior.event import PERSONALIZATION
from training import conversion
from training.joining import Wide
from training.mapping_form import Consent, EventMapping, ZoneColumn, known_zones
from training.source import quoted

_IDS = ("user_id", "anonymous_id")
_TEXTS = ("item", "category", "order_id", "session_id", "request_id", "placement", "device", "page")


def event_sql(
    connection: duckdb.DuckDBPyConnection, wide: Wide, mapping: EventMapping, salt: str
) -> tuple[str, dict[str, str]]:
    """The SELECT, and for each field that may fail to convert the SQL that is true, on its rows, where it did.

    It yields `file line position p granted`, the archive's columns without e and k, and the texts. It reads the tables
    `users`
    and `anonymous`, and makes `zones` if the mapping takes zones from a column. `salt` keys the message ids.
    """
    texts = _texts(wide, mapping)
    converted = _converted(mapping)
    columns = ", ".join(f"{sql} AS t_{name}" for name, sql in texts.items())
    fields = ", ".join(f"{sql} AS {name}" for name, sql in converted.items())
    message_id = _message_id(wide, mapping, salt)
    records = f"SELECT r.file, r.line, r.position, {message_id} AS message_id, {columns} FROM {wide.relation}"
    select = (
        f"SELECT w.*, {fields}, u.pseudonym AS known_user, a.pseudonym AS anonymous_id, coalesce(u.p, a.p) AS p, "
        f"coalesce(u.pseudonym, a.pseudonym) AS user_id FROM ({records}) AS w "
        "LEFT JOIN users AS u ON t_user_id = u.raw LEFT JOIN anonymous AS a ON t_anonymous_id = a.raw"
    )
    faults = {"user_id": conversion.faulty("t_user_id", "known_user")}
    faults |= {
        name: conversion.faulty(f"t_{name}", name) for name in ("anonymous_id", "client_time", "value", "quantity")
    }
    faults |= {name: conversion.faulty(f"t_p_{name}", f"p_{name}") for name in mapping.properties}
    offset, zones = "offset_read", ""
    if mapping.local_zone is None:
        faults["utc_offset_s"] = conversion.faulty("t_utc_offset_s", "utc_offset_s")
    elif isinstance(mapping.local_zone, ZoneColumn):
        _make_zones(connection, wide, mapping.local_zone)
        offset, zones = conversion.offset_s("client_time", "zones.name"), "LEFT JOIN zones ON t_zone = zones.name"
        faults["utc_offset_s"] = conversion.faulty("t_zone", "utc_offset_s")
    elif mapping.local_zone != "offset":
        offset = conversion.offset_s("client_time", quoted(mapping.local_zone))
    properties = conversion.json_object({name: f"p_{name}" for name in mapping.properties})
    return f"SELECT s.*, {offset} AS utc_offset_s, {properties} AS properties FROM ({select}) AS s {zones}", faults


def _texts(wide: Wide, mapping: EventMapping) -> dict[str, str]:
    """SQL over the wide records for the text of each field; NULL for what the mapping does not give."""
    given = ("client_time", "kind", "currency", "quantity", "utc_offset_s", *_IDS, *_TEXTS)
    texts = {name: wide.text(name) or "NULL::VARCHAR" for name in given}
    money, consent, zone = mapping.money, mapping.consent, mapping.local_zone
    texts["value"] = "NULL::VARCHAR" if money is None else wide.either(money.column, money.expression, "[money]")
    texts["zone"] = wide.columns[zone.column] if isinstance(zone, ZoneColumn) else "NULL::VARCHAR"
    if isinstance(consent, Consent):
        texts["consent"] = wide.either(consent.column, consent.expression, "[consent]")
    return texts | {f"p_{name}": wide.columns[declared.column] for name, declared in mapping.properties.items()}


def _converted(mapping: EventMapping) -> dict[str, str]:
    """SQL over the texts for the fields, except those that need another converted field."""
    fields = {name: f"t_{name}" for name in _TEXTS}
    fields["kind"] = conversion.translated("t_kind", mapping.kinds)
    fields["currency"] = "t_currency"
    fields["quantity"] = conversion.integer("t_quantity")
    fields["value"] = conversion.integer("t_value")
    if mapping.money is not None:
        if mapping.money.unit == "major":
            fields["value"] = conversion.minor_units("t_value", mapping.money.minor_digits)
        if mapping.money.currency is not None:
            fields["currency"] = f"CASE WHEN t_value IS NOT NULL THEN {quoted(mapping.money.currency)} END"
    if "client_time" in mapping.constants:
        fields["client_time"] = conversion.constant_instant_us(mapping, "client_time")
    else:
        fields["client_time"] = conversion.instant_us("t_client_time", mapping)
    written = mapping.local_zone == "offset"
    offset = conversion.written_offset_s("t_client_time") if written else conversion.integer("t_utc_offset_s")
    fields["offset_read"] = f"TRY_CAST({offset} AS INTEGER)"
    fields["source"] = quoted(mapping.source or mapping.name)
    fields["granted"] = _granted(mapping)
    fields["purposes"] = f"CASE WHEN {fields['granted']} THEN {PERSONALIZATION} ELSE 0 END::BIGINT"
    return fields | {f"p_{name}": sql for name, sql in conversion.properties(mapping).items()}


def _granted(mapping: EventMapping) -> str:
    consent = mapping.consent
    if not isinstance(consent, Consent):
        return "TRUE" if "personalization" in consent else "FALSE"
    granted = consent.granted if consent.column is not None else ("true",)
    return f"coalesce(lower(trim(t_consent)) IN ({', '.join(quoted(value.lower()) for value in granted)}), FALSE)"


def _message_id(wide: Wide, mapping: EventMapping, salt: str) -> str:
    """SQL for 32 hexadecimal digits: a keyed hash of the declared columns, or of the raw record and its occurrence in
    its file.

    Null if all declared columns are absent.
    """
    if mapping.message_id is None:
        nth = "row_number() OVER (PARTITION BY r.file, r.digest ORDER BY r.line, r.position)"
        parts, some = ["r.digest", f"({nth})::VARCHAR"], "TRUE"
    else:
        parts = [wide.columns[name] for name in mapping.message_id.columns]
        some = " OR ".join(f"{part} IS NOT NULL" for part in parts)
    hashed = ", ".join(f"coalesce({part}, chr(0)), chr(31)" for part in parts)
    prefix = quoted(f"{salt}\x1f{mapping.source or mapping.name}\x1f")
    return f"CASE WHEN {some} THEN left(sha256(concat({prefix}, {hashed})), 32) END"


def _make_zones(connection: duckdb.DuckDBPyConnection, wide: Wide, zone: ZoneColumn) -> None:
    """Table `zones`: those zone names of the column that exist."""
    found = connection.execute(f"SELECT DISTINCT {wide.columns[zone.column]} FROM {wide.relation}").fetchall()
    names = [row[0] for row in found if row[0] in known_zones()]
    connection.register("found", pa.table({"name": pa.array(names, pa.string())}))
    connection.execute("CREATE TEMP TABLE zones AS SELECT name FROM found")
    connection.unregister("found")
