"""The small log that the golden states are made of: a tie, a late event, a negative value, texts beyond ASCII.

id   k                  e              user  what
m1   T0                 k              ada   bought the item i-1 of dairy for 199 by phone
M2   T0                 k              ada   the same basket: took 199 back, on a tablet
m3   T0 + 1 h           k - 5 min      ada   viewed i-2 of dairy
m4   T0 + 26 h          k - 1.5 s      ada   bought i-3 of käse, 5 stars, no value, at UTC-4
m5   T0 + 26 h + 1 µs   k - 26 h       bob   bought i-1 of dairy for 10^11, 7 pieces, 3 stars
m6   T0 + 3 d           k              ada   was refunded 30 for i-1 of dairy
"""

from behavior.event import DAY_US, HOUR_US, MINUTE_US, SECOND_US, Admitted, Event

T0 = 17_440 * DAY_US  # 2017-10-01T00:00:00Z


def _did(
    message_id: str, k: int, late: int, user: str, kind: str, item: str, category: str, **said: object
) -> Admitted:
    e = T0 + k - late
    event = Event(message_id, kind, user, e, item=item, category=category, purposes=1, **said)  # type: ignore[arg-type]
    return Admitted(event, e, T0 + k)


M1 = _did("m1", 0, 0, "k1-ada", "purchase", "i-1", "dairy", value=199, quantity=1, device="phone")
M2 = _did("M2", 0, 0, "k1-ada", "purchase", "i-1", "dairy", value=-199, device="tablet")
M3 = _did("m3", HOUR_US, 5 * MINUTE_US, "k1-ada", "item_view", "i-2", "dairy")
M4 = _did(
    "m4", 26 * HOUR_US, 3 * SECOND_US // 2, "k1-ada", "purchase", "i-3", "käse",
    utc_offset_s=-14_400, properties={"stars": 5},
)  # fmt: skip
M5 = _did(
    "m5", 26 * HOUR_US + 1, 26 * HOUR_US, "k1-bob", "purchase", "i-1", "dairy",
    value=10**11, quantity=7, properties={"stars": 3},
)  # fmt: skip
M6 = _did("m6", 3 * DAY_US, 0, "k1-ada", "refund", "i-1", "dairy", value=30)
LOG = (M1, M2, M3, M4, M5, M6)
