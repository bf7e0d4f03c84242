"""Which events a feature takes beyond their kind: `where="value >= 1000 and device = 'phone'"`.

A predicate compares one field of the event with a literal. It is false where the event does not say the field, `!=`
included, so that a feature never counts what it cannot know. Said once, read twice: as a Python predicate for the event
at hand and as SQL over the archive's columns.
"""

import json
import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

from behavior.errors import BadDefinition
from behavior.event import FIELDS, Event

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_PROPERTY = "properties."
_PROPERTY_NAME = r"[A-Za-z0-9_]{1,64}"
_FIELD = rf"[a-z][a-z0-9_]*(?:\.{_PROPERTY_NAME})?"
# Text literals are plain: what needs no escaping in SQL nor in JSON compares equal in all three.
_LITERAL = r"(?:(?P<number>-?\d{1,18})|'(?P<text>[^']*)')"
_ONE = re.compile(rf"\s*(?P<field>{_FIELD})\s*(?P<op>!=|<=|>=|=|<|>)\s*{_LITERAL}\s*")
_PLAIN = re.compile(r"[ !#-&(-\[\]-~]*")


class Predicate(msgspec.Struct, frozen=True):
    """One comparison: `field op literal`; the literal is an int or a text."""

    field: str
    op: str
    literal: int | str

    def holds(self, event: Event) -> bool:
        """Whether the event says the field, and it compares as asked."""
        value = value_of(event, self.field)
        return type(value) is type(self.literal) and _OPERATORS[self.op](value, self.literal)

    @property
    def sql(self) -> str:
        """The same over the archive's columns; never NULL."""
        if isinstance(self.literal, int):
            compared = f"{number_sql(self.field)} {self.op} {self.literal}"
        elif self.field.startswith(_PROPERTY):
            compared = f"{_json_sql(self.field)} {self.op} '{json.dumps(self.literal)}'"
            if self.op == "!=":  # of another type it is another thing, not another text
                compared += f" AND {_json_sql(self.field)} LIKE '\"%'"
        else:
            compared = f"{self.field} {self.op} '{self.literal}'"
        return f"coalesce({compared}, FALSE)"


def parse_where(text: str) -> tuple[Predicate, ...]:
    """The predicates of a `where` text, all of which must hold.

    >>> [predicate.field for predicate in parse_where("value >= 1000 and device = 'phone'")]
    ['value', 'device']
    """
    found, position = [], 0
    while True:
        match = _ONE.match(text, position)
        if match is None:
            raise BadDefinition(f"where {text!r}: write `field op literal`, such as value >= 1000 or device = 'phone'")
        found.append(_checked(match, text))
        position = match.end()
        if position == len(text):
            return tuple(found)
        if not text.startswith("and ", position):
            raise BadDefinition(f"where {text!r}: predicates are joined with `and`, nothing else")
        position += len("and ")


def value_of(event: Event, field: str) -> Any:
    """What the event says of a field or of `properties.<name>`; None if it does not."""
    if field.startswith(_PROPERTY):
        return event.properties.get(field.removeprefix(_PROPERTY))
    return getattr(event, field)


def number_of(event: Event, field: str) -> int | None:
    """The number that the event says; a property that is a text is none."""
    value = value_of(event, field)
    return value if isinstance(value, int) else None


def text_of(event: Event, field: str) -> str | None:
    """The text that the event says; a property that is a number is none."""
    value = value_of(event, field)
    return value if isinstance(value, str) else None


def text_sql(field: str) -> str:
    """The text that an archived event says, as SQL."""
    if not field.startswith(_PROPERTY):
        return field
    extracted = f"json_extract_string(properties, '$.{field.removeprefix(_PROPERTY)}')"
    return f"CASE WHEN {_json_sql(field)} LIKE '\"%' THEN {extracted} END"


def number_sql(field: str) -> str:
    """The number that an archived event says, as SQL."""
    return f"TRY_CAST({_json_sql(field)} AS BIGINT)" if field.startswith(_PROPERTY) else field


def field_type(field: str) -> type | None:
    """int or str for a field of events, None for a property, whose type the settings declare.

    Raises BadDefinition for what is neither.
    """
    if field.startswith(_PROPERTY):
        if re.fullmatch(_PROPERTY_NAME, field.removeprefix(_PROPERTY)) is None:
            raise BadDefinition(f"{field!r} names no property that features can read; use letters, digits and _")
        return None
    if field not in FIELDS:
        raise BadDefinition(f"an event has no field {field!r}; it has {', '.join(FIELDS)} and properties.<name>")
    return FIELDS[field]


def _checked(match: "re.Match[str]", where: str) -> Predicate:
    field, op, text = match["field"], match["op"], match["text"]
    literal: int | str = int(match["number"]) if text is None else text
    known = field_type(field)
    if known is not None and known is not type(literal):
        raise BadDefinition(f"where {where!r}: {field} is a {'number' if known is int else 'text'}")
    if text is not None and op not in ("=", "!="):
        raise BadDefinition(f"where {where!r}: texts compare with = and != only")
    if text is not None and _PLAIN.fullmatch(text) is None:
        raise BadDefinition(f"where {where!r}: a text literal has no quotes and no backslashes")
    return Predicate(field, op, literal)


def _json_sql(field: str) -> str:
    """The property's JSON text: numbers bare, texts in quotes."""
    return f"CAST(json_extract(properties, '$.{field.removeprefix(_PROPERTY)}') AS VARCHAR)"
