"""A mapping file says, in TOML, which column of a foreign file is which field of our events (or of the catalogue).

Every key is declared once, in the structs below: the loader refuses what they do not name and `training.mapping_page`
prints
them as docs/reference/mapping.md. A mapping is checked completely before any data file is opened.
"""

import datetime as dt
import difflib
import zoneinfo
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from behavior.errors import BadInput
from deployment.database import connected

SHIPPED = Path(__file__).parent / "mappings"

EVENT_FIELDS = (
    "user_id", "anonymous_id", "client_time", "kind", "item", "category", "currency", "quantity", "order_id",
    "session_id", "request_id", "placement", "utc_offset_s", "device", "page",
)  # fmt: skip
CATALOGUE_FIELDS = ("item", "category", "available", "valid_from", "created")
TIME_FIELDS = frozenset({"client_time", "valid_from", "created"})
EPOCH_UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1}

M = TypeVar("M", bound="FileMapping")
Text = Annotated[str, Meta(min_length=1)]
Constant = str | int | bool


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a mapping file; keys that it does not declare are errors."""


class Join(Table, frozen=True, kw_only=True):
    """A second file that supplies more columns, looked up by key. Each key may occur in it once."""

    file: Annotated[str, Meta(min_length=1, description="The file, relative to the folder of the data file.")]
    on: Annotated[str | dict[str, str], Meta(description='The key column, or a table `ours = "theirs"`.')]
    columns: Annotated[
        tuple[str, ...] | dict[str, str],
        Meta(description='Columns to take over: a list, or a table `new_name = "theirs"`.'),
    ]

    def on_columns(self) -> dict[str, str]:
        """Key columns: ours → theirs."""
        return {self.on: self.on} if isinstance(self.on, str) else self.on

    def taken(self) -> dict[str, str]:
        """Columns taken over: name here → name there."""
        return self.columns if isinstance(self.columns, dict) else {name: name for name in self.columns}


class Money(Table, frozen=True, kw_only=True):
    """An amount of money, exact to the minor unit: decimals are rounded half away from zero, floats by their text."""

    column: Annotated[str | None, Meta(description="The column that holds the amount.")] = None
    expression: Annotated[str | None, Meta(description="Or an SQL expression that makes it.")] = None
    unit: Annotated[Literal["major", "minor"], Meta(description="`major` (1.39 dollars) or `minor` (139 cents).")] = (
        "major"
    )
    minor_digits: Annotated[int, Meta(ge=0, le=6, description="How many decimals a major unit has.")] = 2
    currency: Annotated[
        Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None,
        Meta(description="The currency of every amount in the file (ISO 4217)."),
    ] = None


class Property(Table, frozen=True, kw_only=True):
    """A free property that may go onto the event, under the table's name."""

    column: Annotated[str, Meta(min_length=1, description="The column that holds it.")]
    scale: Annotated[
        Annotated[int, Meta(ge=1, le=10**9)] | None,
        Meta(description="Number: value × scale, rounded half away from zero, is kept. Without: text."),
    ] = None


class MessageId(Table, frozen=True, kw_only=True):
    """How the message id is made, so that the same record imported again is a duplicate."""

    columns: Annotated[
        tuple[Text, ...],
        Meta(min_length=1, description="Columns that together identify a record in all of the source."),
    ]


class Consent(Table, frozen=True, kw_only=True):
    """Consent record by record. A record without it is dropped and counted, not archived."""

    column: Annotated[str | None, Meta(description="The column that tells.")] = None
    granted: Annotated[tuple[str, ...], Meta(description="The column's values that mean consent, in any case.")] = (
        "true",
        "1",
        "yes",
    )
    expression: Annotated[str | None, Meta(description="Or an SQL expression that is true where there is consent.")] = (
        None
    )


class ZoneColumn(Table, frozen=True, kw_only=True):
    """The user's zone, record by record."""

    column: Annotated[str, Meta(min_length=1, description="The column that holds an IANA zone name.")]


class FileMapping(Table, frozen=True, kw_only=True):
    """What every mapping file has: how the data file is read and how its timestamps are understood."""

    name: Annotated[
        str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,40}$", description="Names the mapping and the batches that it makes.")
    ]
    format: Annotated[
        Literal["csv", "parquet", "jsonl"] | None,
        Meta(
            description="Without: by the file's ending (.csv .tsv .parquet .jsonl .ndjson .json; text also with .gz)."
        ),
    ] = None
    delimiter: Annotated[
        Annotated[str, Meta(pattern="^(.|blanks)$")] | None,
        Meta(
            description="CSV: one character, or `blanks`: columns set apart by blanks, however many. Without: "
            "comma; tab in .tsv files."
        ),
    ] = None
    encoding: Annotated[Literal["utf-8", "latin-1", "cp1252"], Meta(description="Of CSV and JSON lines.")] = "utf-8"
    null_values: Annotated[
        tuple[str, ...], Meta(description='Texts that mean "absent", besides the empty text, null and NaN.')
    ] = ()
    unnest: Annotated[
        str | None,
        Meta(description="A column that holds a list of objects: each becomes a record; columns `list.member`."),
    ] = None
    timestamps_in: Annotated[
        str | None,
        Meta(
            description="How timestamps are read: an IANA zone (of two possible instants, when clocks go back, the "
            "later); `s`, `ms` or `us` since 1970 UTC; or `offset`: every text ends in Z or ±hh:mm "
            "(as Parquet's instants do)."
        ),
    ] = None
    timestamp_format: Annotated[
        str | None, Meta(description="strptime format of timestamps without offset. Without: ISO 8601.")
    ] = None
    joins: Annotated[tuple[Join, ...], Meta(description="Second files: one `[[joins]]` table each.")] = ()
    columns: Annotated[dict[str, str], Meta(description='`field = "column"`; members of nested columns: `a.b`.')] = {}
    constants: Annotated[dict[str, Constant], Meta(description="`field = value`, the same on every record.")] = {}
    expressions: Annotated[
        dict[str, str],
        Meta(
            description='`field = "SQL"`: a DuckDB scalar expression over the columns, all of them text (cast to '
            "compute). No subqueries, no functions but those listed above. "
            "Where it fails the field is absent."
        ),
    ] = {}


class EventMapping(FileMapping, frozen=True, kw_only=True):
    """Records to events: `opportune import FILES --mapping FILE`."""

    source: Annotated[str | None, Meta(description="What `source` says on every event. Without: `name`.")] = None
    local_zone: Annotated[
        str | ZoneColumn | None,
        Meta(
            description="Where users are, which gives `utc_offset_s` at each instant: an IANA zone; `{column = ...}`; "
            "or `offset`: what the timestamp itself ends in (Z tells nothing)."
        ),
    ] = None
    consent: Annotated[
        tuple[Literal["personalization"], ...] | Consent,
        Meta(
            description='`["personalization"]` for all records, or a table. Without: no consent, all records dropped.'
        ),
    ] = ()
    kinds: Annotated[
        dict[str, str], Meta(description='`"value" = "kind"`, applied to the kind; other values are rejected.')
    ] = {}
    money: Annotated[Money | None, Meta(description="The event's value, a line total.")] = None
    properties: Annotated[dict[str, Property], Meta(description="One `[properties.<name>]` table each.")] = {}
    message_id: Annotated[
        MessageId | None,
        Meta(description="Without: from the whole raw record and how many equal ones precede it in its file."),
    ] = None


class CatalogueMapping(FileMapping, frozen=True, kw_only=True):
    """Records to catalogue rows: `opportune import --items FILE`."""

    price: Annotated[Money | None, Meta(description="The item's price. Without: unknown.")] = None


def fields_of(form: type[FileMapping]) -> tuple[str, ...]:
    """The fields that `columns`, `constants` and `expressions` of a form may name."""
    return CATALOGUE_FIELDS if issubclass(form, CatalogueMapping) else EVENT_FIELDS


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the known names nearest to `name`: "; did you mean a or b?", or "; known: ..."."""
    names = sorted(set(known))
    folded = {known_name.lower(): known_name for known_name in names}
    close = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else ""


def constant_us(value: Constant, where: str) -> int:
    """A constant instant as microseconds UTC; it must carry its offset."""
    try:
        instant = dt.datetime.fromisoformat(str(value))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise BadInput(f"{where}: {value!r} is no instant; write 2017-01-01T00:00:00Z")
    return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


@cache
def known_zones() -> frozenset[str]:
    """IANA zone names that both Python and DuckDB know."""
    with connected() as connection:
        known = {row[0] for row in connection.execute("SELECT name FROM pg_timezone_names()").fetchall()}
    return frozenset(zoneinfo.available_timezones() & known)
