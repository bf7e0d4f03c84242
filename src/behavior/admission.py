"""What an event must be like to be admitted: one rule, one reason, for the live log and for imports alike.

A rule is stated twice, as a Python predicate for the event at hand and as SQL over the archive's columns for imports of
millions of rows; a property test holds the two against each other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from behavior.event import DAY_US, Event

MAX_ID_BYTES = 256
MAX_TEXT_BYTES = 1024
# 10^11 minor units (a thousand million in most currencies): 92 million such events still fit an int64 sum.
MAX_VALUE_MINOR = 10**11
MAX_QUANTITY = 10**9
MAX_UTC_OFFSET_S = 18 * 3600
EARLIEST_US = 0
LATEST_US = 47_482 * DAY_US  # 2100-01-01T00:00:00Z
KIND_PATTERN = "[a-z][a-z0-9_]{0,63}"
CURRENCY_PATTERN = "[A-Z]{3}"

_IDS = ("item", "category", "order_id", "session_id", "request_id", "placement", "device", "source")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition of admission.

    `accepts` and `sql` say the same: true where the event is acceptable. `sql` is a DuckDB expression over the
    archive's column names and is never NULL.
    """

    reason: str
    field: str
    message: str
    accepts: Callable[[Event], bool]
    sql: str


def _is_text(value: str | None, limit: int, *, empty: bool = False) -> bool:
    if value is None:
        return True
    return (empty or value != "") and len(value.encode()) <= limit and not _CONTROL.search(value)


def _text_sql(column: str, limit: int, *, empty: bool = False) -> str:
    filled = "TRUE" if empty else f"{column} <> ''"
    return (
        f"({column} IS NULL OR ({filled} AND strlen({column}) <= {limit}"
        f" AND NOT regexp_matches({column}, '[\\x00-\\x1f\\x7f]')))"
    )


def _within(value: int | None, low: int, high: int) -> bool:
    return value is None or low <= value <= high


def _text_rule(field: str) -> Rule:
    return Rule(
        f"bad_{field}", field, f"{field} must be 1 to {MAX_ID_BYTES} bytes without control characters",
        lambda event: _is_text(getattr(event, field), MAX_ID_BYTES), _text_sql(field, MAX_ID_BYTES),
    )  # fmt: skip


RULES: tuple[Rule, ...] = (
    Rule(
        "bad_message_id", "message_id", f"message_id must be 1 to {MAX_ID_BYTES} bytes without control characters",
        lambda event: _is_text(event.message_id, MAX_ID_BYTES),
        f"(message_id IS NOT NULL AND {_text_sql('message_id', MAX_ID_BYTES)})",
    ),
    Rule(
        "bad_kind", "kind", "kind must be a lower-case word of letters, digits and _, 64 at most",
        lambda event: re.fullmatch(KIND_PATTERN, event.kind) is not None,
        f"coalesce(regexp_full_match(kind, '{KIND_PATTERN}'), FALSE)",
    ),
    Rule(
        "no_user", "user_id", "an event needs a user id or an anonymous id",
        lambda event: event.user_id != "", "(user_id IS NOT NULL AND user_id <> '')",
    ),
    Rule(
        "bad_time", "event_time", "event time must lie between 1970 and 2100",
        lambda event: EARLIEST_US <= event.client_time < LATEST_US,
        f"coalesce(client_time >= {EARLIEST_US} AND client_time < {LATEST_US}, FALSE)",
    ),
    Rule(
        "value_out_of_range", "value", f"value must be within ±{MAX_VALUE_MINOR} minor units",
        lambda event: _within(event.value, -MAX_VALUE_MINOR, MAX_VALUE_MINOR),
        f"(value IS NULL OR value BETWEEN -{MAX_VALUE_MINOR} AND {MAX_VALUE_MINOR})",
    ),
    Rule(
        "quantity_out_of_range", "quantity", f"quantity must be 0 to {MAX_QUANTITY}",
        lambda event: _within(event.quantity, 0, MAX_QUANTITY),
        f"(quantity IS NULL OR quantity BETWEEN 0 AND {MAX_QUANTITY})",
    ),
    Rule(
        "bad_currency", "currency", "currency must be an ISO 4217 code of three capital letters",
        lambda event: event.currency is None or re.fullmatch(CURRENCY_PATTERN, event.currency) is not None,
        f"(currency IS NULL OR regexp_full_match(currency, '{CURRENCY_PATTERN}'))",
    ),
    Rule(
        "bad_utc_offset", "utc_offset_s", "the UTC offset must be within ±18 hours",
        lambda event: _within(event.utc_offset_s, -MAX_UTC_OFFSET_S, MAX_UTC_OFFSET_S),
        f"(utc_offset_s IS NULL OR utc_offset_s BETWEEN -{MAX_UTC_OFFSET_S} AND {MAX_UTC_OFFSET_S})",
    ),
    *(_text_rule(field) for field in _IDS),
    Rule(
        "bad_page", "page", f"page must be at most {MAX_TEXT_BYTES} bytes without control characters",
        lambda event: _is_text(event.page, MAX_TEXT_BYTES, empty=True),
        _text_sql("page", MAX_TEXT_BYTES, empty=True),
    ),
)  # fmt: skip

# Refusals that depend on more than the event: decided where the log or the archive is at hand.
OTHER_REASONS: dict[str, str] = {
    "too_late": "the event is older than the lateness horizon; import it as history instead",
    "too_early": "the event is further in the future than the lateness horizon; set the clock of its source",
    "after_log_began": "an imported event is later than the first event that the partition's log took",
    "unreadable": "the row or message could not be read at all",
    "bad_value": "a field could not be converted to its type",
    "wrong_currency": "the event's currency is not the deployment's base currency",
}


def refusal(event: Event) -> Rule | None:
    """The first rule that the event breaks, or None if it may be admitted.

    >>> refusal(Event("m1", "purchase", "k1-ab", 10, value=10**12)).reason
    'value_out_of_range'
    """
    return next((rule for rule in RULES if not rule.accepts(event)), None)
