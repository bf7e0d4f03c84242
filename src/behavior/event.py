"""What a user did: the event, its two times, and its bytes in the log.

An event is admitted once and immutable from then on. It carries the time that the client stated; the log assigns the
admission instant `k`, and its event time is `e = min(client_time, k)` (design 4.1). All times are int64 microseconds
since 1970-01-01 UTC.
"""

import msgspec

MILLISECOND_US = 1_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

# The purposes that consent can be given for, one bit each. Only events with PERSONALIZATION are folded into features.
PERSONALIZATION = 1
PURPOSES: dict[str, int] = {"personalization": PERSONALIZATION, "analytics": 2, "marketing": 4}

# The standard vocabulary. The set of kinds is open: any lower-case word is a kind, these are the ones with a meaning.
STANDARD_KINDS = (
    "item_view", "click", "search", "scroll", "dwell", "add_to_cart", "remove_from_cart", "purchase", "refund",
    "form_submit", "rating", "preference", "impression", "identify", "consent", "heartbeat",
)  # fmt: skip

# The parts of an event that a feature can read, with the type of their values.
FIELDS: dict[str, type] = {
    "item": str, "category": str, "value": int, "quantity": int, "currency": str, "order_id": str, "session_id": str,
    "placement": str, "device": str, "page": str, "source": str, "utc_offset_s": int,
}  # fmt: skip


class Event(msgspec.Struct, frozen=True, omit_defaults=True, rename=None, gc=False):
    """One thing that one user did; `None` means that the event does not say.

    `user_id` and `anonymous_id` are pseudonyms (section 9 of the design): a raw id never gets this far. `value` is the
    line total in minor units of the deployment's base currency; `quantity` never multiplies it.
    """

    message_id: str
    kind: str
    user_id: str
    client_time: int
    anonymous_id: str | None = None
    item: str | None = None
    category: str | None = None
    value: int | None = None
    currency: str | None = None
    quantity: int | None = None
    order_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    placement: str | None = None
    utc_offset_s: int | None = None
    device: str | None = None
    page: str | None = None
    source: str | None = None
    properties: dict[str, int | str] = {}
    purposes: int = 0


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """An event with its two times: made by `admit`, immutable from then on."""

    event: Event
    e: int
    k: int


def admit(event: Event, k: int) -> Admitted:
    """The event as the log took it at instant k; its event time is never later than that.

    >>> admit(Event("m1", "purchase", "k1-ab", client_time=7), k=5).e
    5
    """
    return Admitted(event, min(event.client_time, k), k)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)


def encode(event: Event) -> bytes:
    """The event's bytes in the log (MessagePack; absent parts take no room).

    >>> decode(encode(Event("m1", "purchase", "k1-ab", 5, value=139))).value
    139
    """
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """The event that `encode` wrote."""
    return _decoder.decode(data)
