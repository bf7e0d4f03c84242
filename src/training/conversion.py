"""SQL that turns a text of a foreign file into a field of ours, exactly; null where there is nothing or nothing
sensible.

Each function takes and returns SQL text for DuckDB. A result that is null while its text is not is a value that could
not be
converted: `faulty` says so.
"""

import json
from collections.abc import Mapping

from training.mapping_form import EPOCH_UNITS_US, EventMapping, FileMapping, constant_us
from training.source import quoted

_INTEGER = r"[+-]?[0-9]{1,30}(\.0*)?"
_PLAIN = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)"
_SCIENTIFIC = r"([+-]?)([0-9]+)\.?([0-9]*)[eE]([+-]?[0-9]{1,3})"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?"
_OFFSET = r" ?(Z|z|[+-][0-9]{2}(:?[0-9]{2})?)"


def integer(text: str) -> str:
    """BIGINT of a whole number of at most 18 digits; `3.0` is whole, `3.5` is nothing."""
    matched = f"CASE WHEN regexp_full_match(trim({text}), '{_INTEGER}') THEN trim({text}) END"
    return f"TRY_CAST({matched} AS DECIMAL(18, 0))::BIGINT"


def minor_units(text: str, digits: int) -> str:
    """BIGINT of a decimal amount times 10^digits, rounded half away from zero; at most 18 digits."""
    # DECIMAL(18) is parsed a hundred times faster than a wider one; only the product needs the width, or it overflows.
    amount = f"TRY_CAST({_number(text)} AS DECIMAL(18, {digits}))"
    return f"({amount}::DECIMAL(28, {digits}) * {10**digits}::DECIMAL(10, 0))::BIGINT"


def scaled(text: str, scale: int) -> str:
    """BIGINT of a number times `scale`, rounded half away from zero; decimals beyond the twelfth may not count."""
    digits = len(str(scale)) - 1
    if scale == 10**digits:
        return minor_units(text, digits)
    return f"TRY_CAST(round(TRY_CAST({_number(text)} AS DECIMAL(26, 12)) * {scale}::DECIMAL(10, 0), 0) AS BIGINT)"


def instant_us(text: str, mapping: FileMapping) -> str:
    """BIGINT of a timestamp in microseconds UTC, read as the mapping's `timestamps_in` and `timestamp_format` say."""
    how = mapping.timestamps_in or ""
    if how in EPOCH_UNITS_US:
        return minor_units(text, len(str(EPOCH_UNITS_US[how])) - 1)
    if how == "offset":
        joined = rf"regexp_replace({text}, ' ([+-]|Z|z)', '\1')"
        matched = f"CASE WHEN regexp_full_match({text}, '{_TIME}{_OFFSET}') THEN {joined} END"
        return f"epoch_us(TRY(TRY_CAST({matched} AS TIMESTAMPTZ)))"
    if mapping.timestamp_format is not None:
        local = f"try_strptime({text}, {quoted(mapping.timestamp_format)})"
    else:
        local = f"TRY_CAST(CASE WHEN regexp_full_match({text}, '{_TIME}') THEN {text} END AS TIMESTAMP)"
    return f"epoch_us(TRY(timezone({quoted(how)}, {local})))"


def constant_instant_us(mapping: FileMapping, name: str) -> str:
    """BIGINT of a constant instant."""
    return f"{constant_us(mapping.constants[name], name)}::BIGINT"


def offset_s(instant: str, zone: str) -> str:
    """INTEGER seconds that the zone (SQL text, a known zone or null) is ahead of UTC at `instant` (SQL, microseconds
    UTC).
    """
    utc = f"make_timestamp({instant})"
    return f"TRY(((epoch_us(timezone({zone}, timezone('UTC', {utc}))) - {instant}) // 1000000)::INTEGER)"


def written_offset_s(text: str) -> str:
    """INTEGER seconds of the offset that a timestamp ends in; `Z` tells nothing."""
    found = rf"regexp_extract({text}, '[0-9] ?([+-])([0-9]{{2}}):?([0-9]{{2}})?$', ['sign', 'h', 'm'])"
    hours, minutes = f"TRY_CAST({found}.h AS INTEGER)", f"coalesce(TRY_CAST({found}.m AS INTEGER), 0)"
    return f"CASE WHEN {found}.sign = '-' THEN -1 ELSE 1 END * ({hours} * 3600 + {minutes} * 60)"


def boolean(text: str) -> str:
    """BOOLEAN of true/false, t/f, yes/no, y/n, 1/0 in any case."""
    lower = f"lower(trim({text}))"
    return (
        f"CASE WHEN {lower} IN ('true', 't', 'yes', 'y', '1') THEN TRUE "
        f"WHEN {lower} IN ('false', 'f', 'no', 'n', '0') THEN FALSE END"
    )


def translated(text: str, table: Mapping[str, str]) -> str:
    """The table's word for a text, null for others; without a table the text itself."""
    if not table:
        return text
    cases = " ".join(f"WHEN {quoted(key)} THEN {quoted(value)}" for key, value in table.items())
    return f"CASE {text} {cases} END"


def json_object(values: Mapping[str, str]) -> str:
    """A JSON object, keys sorted, of SQL values; those that are null are left out."""
    members = [
        f"{quoted(json.dumps(name) + ': ')} || to_json({value})::VARCHAR" for name, value in sorted(values.items())
    ]
    return f"'{{' || concat_ws(', ', {', '.join(members)}) || '}}'" if members else "'{}'"


def properties(mapping: EventMapping) -> dict[str, str]:
    """The allow-listed properties by name, made of the texts `t_p_<name>`: scaled BIGINT, or text of at most 1,024
    bytes.
    """
    made = {}
    for name, declared in mapping.properties.items():
        text = f"t_p_{name}"
        short = f"CASE WHEN strlen({text}) <= 1024 THEN {text} END"
        made[name] = short if declared.scale is None else scaled(text, declared.scale)
    return made


def faulty(text: str, converted: str) -> str:
    """BOOLEAN: there was a text, and it could not be converted."""
    return f"({text} IS NOT NULL AND {converted} IS NULL)"


def _number(text: str) -> str:
    """The text if it is a decimal number, without exponent."""
    trimmed = f"trim({text})"
    return (
        f"CASE WHEN regexp_full_match({trimmed}, '{_PLAIN}') THEN {trimmed} "
        f"WHEN regexp_full_match({trimmed}, '{_SCIENTIFIC}') THEN {_without_exponent(trimmed)} END"
    )


def _without_exponent(text: str) -> str:
    """A number in scientific notation as plain decimal text: DuckDB's own cast reads 9.9999999999E-12 as 1."""
    parts = f"regexp_extract({text}, '{_SCIENTIFIC}', ['sign', 'whole', 'part', 'exponent'])"
    shift = "strlen(s.whole) + s.exponent::INTEGER"
    moved = (
        f"CASE WHEN {shift} <= 0 THEN '0.' || repeat('0', -({shift})) || s.whole || s.part "
        f"WHEN {shift} >= strlen(s.whole || s.part) "
        f"THEN s.whole || s.part || repeat('0', {shift} - strlen(s.whole || s.part)) "
        f"ELSE left(s.whole || s.part, {shift}) || '.' || substr(s.whole || s.part, {shift} + 1) END"
    )
    return f"list_transform([{parts}], lambda s: s.sign || {moved})[1]"
