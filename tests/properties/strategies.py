"""Hypothesis strategies for nasty logs: everything that a log may lawfully contain and that is easily got wrong.

    imports first        k = e, whole baskets at one instant, several users at one instant
    then the log         k strictly increasing per partition, e at most 48 h behind k
    instants             at edges of minutes, hours and days, at ends of windows and of the retention, each +-1 us
    events               of kinds that no view selects, without consent, category, item or value, with negative values,
                         with empty texts, texts that look like numbers, like SQL or like two texts

Logs are lists of `Admitted` in the order of admission. The retention is short (40 days), so that gaps happen.

Ties: imported events of one user share an admission instant k. Whatever the order in which they are folded, the values
are the oracle's; but a state of a user view that was stored *inside* such an instant need not continue to them, for
what is stored leaves out the message ids that break ties. Cut a log only between instants: `by_instant`.
"""

import itertools

from hypothesis import strategies as st

from behavior.aggregation import Aggregation
from behavior.event import PERSONALIZATION, Admitted, Event
from behavior.partition import partition_of
from behavior.plan import FeatureDefinition, ViewDefinition
from behavior.words import affinity, age, count, days, distinct, ever, first, last, mean, rate, recent, total
from tests.oracle import DAY, HOUR, MINUTE, SNAPSHOT_ENTITIES, change_points, floor

PARTITIONS = 2
ENTITIES = ("user", "user_category", *SNAPSHOT_ENTITIES)
USERS = ("k1-ada", "k1-bob", "k1-eve", "k1-may")
# The last category and the last item are in no log.
CATEGORIES = ("dairy", "käse", "")
ITEMS = ("i-1", "käse|2", "3' OR 1=1", "i-0")
DEVICES = ("phone", "tablet", "tv and phone")
# One name is a number here and a text there, as when a deployment's declaration changes.
PROPERTIES: tuple[dict[str, int | str], ...] = (
    {}, {"stars": 4}, {"stars": 5, "colour": "red"}, {"stars": "5"}, {"stars": -1, "colour": 7}, {"colour": ""},
    {"stars": 10**11, "colour": 'blå "1"'}, {"stars": 0, "colour": "null"},
)  # fmt: skip
SELECTED = ("item_view", "purchase", "refund")
LATENESS = 48 * HOUR
RETENTION = 40 * DAY
# The very first instant, an hour that is the start of no day, and one in our days.
BEGINNINGS = (0, 400_000 * HOUR + 1, 17_440 * DAY)

# Every kind of feature, with and without a window, with and without predicates; each entity has those that it may.
FEATURES: tuple[Aggregation, ...] = (
    count("purchase"), count("*"), count("item_view", over="1h"), count("purchase", over="24h"),
    count("*", over="7d"), count("purchase", over="30d"), count("purchase", over="40d"),
    count("item_view", over="150m"),
    days("purchase", over="30d"), days("*", over="40d"), days("item_view", over="24d"),
    days("*", over="30d", where="properties.stars >= 4", name="starred_days_30d"),
    count("purchase", where="value > 0", name="paid"),
    count("*", over="7d", where="quantity >= 1 and device = 'tv and phone'", name="on_tv_7d"),
    count("*", where="device != 'phone'", name="off_phone"),
    count("*", over="30d", where="properties.stars >= 4", name="starred_30d"),
    count("*", over="30d", where="properties.stars = '5'", name="stars_in_words_30d"),
    count("*", where="properties.colour != 'red'", name="other_colours"),
    total("purchase.value"), total("*.value", over="30d"), total("purchase.value", over="7d"),
    total("refund.quantity", over="24h"),
    total("*.value", over="24h", where="quantity > 0 and value != 199", name="odd_value_24h"),
    total("*.properties.stars", over="7d", name="stars_7d"),
    ever("refund"), ever("purchase", where="value <= -250", name="ever_paid_back"),
    last("purchase.category"), last("*.utc_offset_s"), last("purchase.value"), last("*.page"),
    last("*.device", where="value < 1", name="device_of_the_last_free"),
    first("purchase.category"), first("*.device"), first("*.value", where="quantity = 0", name="first_value_of_none"),
    age("purchase"), age("*"), age("purchase", since="first", name="since_first_purchase"),
    age("*", where="item = 'i-1'", name="since_item_1"),
    age("*", since="first", where="properties.stars < 5", name="since_first_stars"),
    mean("purchase.value"), mean("*.quantity", over="7d"),
    mean("*.properties.stars", over="30d", name="mean_stars_30d"),
    mean("*.value", over="24h", where="device = 'phone'", name="mean_value_on_phone_24h"),
    rate("purchase", per="item_view", prior=(1, 50)), rate("refund", per="purchase", over="7d", prior=(0, 1)),
    rate("refund", per="*", over="30d", prior=(2, 3), name="refunded_30d"),
    rate("purchase", per="purchase", over="24h", prior=(3, 7), where="value > 0", name="paid_rate_24h"),
    distinct("*.user"), distinct("purchase.user", over="7d", cap=2, name="buyers_7d"),
    distinct("*.user", over="24h", where="quantity >= 1", name="users_of_some_24h"),
    distinct("*.item", over="7d"), distinct("purchase.order_id"),
    distinct("*.order_id", over="24h", cap=2, name="orders_24h"),
    distinct("*.page", cap=2, name="pages"), distinct("*.device", over="30d", where="value > 0", name="devices_30d"),
    distinct("*.properties.colour", over="7d", cap=2, name="colours_7d"),
    recent(3), recent(3, events=("purchase", "refund"), name="recent_money"), recent(50, name="recent_all"),
    affinity({"purchase": 10, "item_view": 1, "refund": -4}, over="30d"),
    affinity(
        {"purchase": 10, "purchase where properties.stars >= 4": 6, "item_view where device = 'tv and phone'": -1},
        over="24h", name="warmth_24h",
    ),
)  # fmt: skip


def allowed(spec: Aggregation) -> tuple[str, ...]:
    """The entities whose views may have the feature."""
    if spec.kind == "recent":
        return ("user",)
    if spec.kind == "affinity":
        return ("user_category",)
    if spec.kind == "distinct":
        return SNAPSHOT_ENTITIES if spec.field == "user" else ("user", "user_category")
    return ENTITIES


def features_of(entity: str) -> tuple[Aggregation, ...]:
    """Those of `FEATURES` that a view of the entity may have."""
    return tuple(spec for spec in FEATURES if entity in allowed(spec))


# What has a window and is allowed everywhere.
WINDOWED = tuple(spec for spec in FEATURES if spec.over and allowed(spec) == ENTITIES)


def view_definition(entity: str, features: tuple[Aggregation, ...] | None = None) -> ViewDefinition:
    """A view of every kind of feature, with a short retention and a snapshot interval of 5 minutes."""
    specs = features_of(entity) if features is None else features
    return ViewDefinition(
        f"{entity}_view", entity, SELECTED, tuple(FeatureDefinition(spec.name, spec) for spec in specs),
        retention_us=RETENTION, interval_us=5 * MINUTE,
    )  # fmt: skip


def jitter() -> st.SearchStrategy[int]:
    """On the edge, or a microsecond to either side of it."""
    return st.sampled_from((0, -1, 1))


@st.composite
def _later(draw: st.DrawFn, now: int, log: list[Admitted]) -> int:
    """An instant at or after `now` that is likely to hurt."""
    edge = draw(st.sampled_from(("same", "tick", "hop", "window", "gap", "any")))
    if edge == "same":
        return now
    if edge == "tick":
        return now + draw(st.sampled_from((1, 2, 1_000_000)))
    if edge == "hop":
        hop = draw(st.sampled_from((MINUTE, 5 * MINUTE, HOUR, DAY)))
        return max(now, floor(now, hop) + hop * draw(st.integers(1, 25)) + draw(jitter()))
    if edge == "window" and log:
        anchor = draw(st.sampled_from(log)).e
        return max(now, anchor + draw(st.sampled_from((HOUR, 24 * HOUR, 7 * DAY, 30 * DAY))) + draw(jitter()))
    if edge == "gap" and log:
        anchor = max(a.e for a in draw(st.sampled_from((log, log[-1:]))))
        return max(now, anchor + RETENTION + draw(jitter()))
    return now + draw(st.integers(0, 3 * DAY))


@st.composite
def events(draw: st.DrawFn, number: int, client_time: int, users: tuple[str, ...] = USERS) -> Event:
    """An event that admission accepts; what the oracle must leave out is one time in six each."""
    rarely = st.sampled_from((False, False, False, False, False, True))
    kind = "scroll" if draw(rarely) else draw(st.sampled_from(SELECTED))
    amount = st.sampled_from((1, 0, 199, -250, 10**11, -(10**11)))
    # The ids are in no order of time: ties must be broken by the id, in the order of code points.
    prefix = draw(st.sampled_from(("m", "M", "é", "\uffee", "\U0001f600")))
    return Event(
        f"{prefix}{number}", kind, draw(st.sampled_from(users)), client_time,
        item=None if draw(rarely) else draw(st.sampled_from(ITEMS[:-1])),
        category=None if draw(rarely) else draw(st.sampled_from(CATEGORIES[:-1])),
        value=None if draw(rarely) else draw(amount),
        quantity=draw(st.sampled_from((None, 0, 1, 3))),
        order_id=draw(st.sampled_from((None, "o-1", "o-2", "o-3"))),
        device=draw(st.sampled_from((None, *DEVICES))),
        page=draw(st.sampled_from((None, "", "/", "/käse"))),
        properties=draw(st.sampled_from(PROPERTIES)),
        utc_offset_s=draw(st.sampled_from((None, 0, -18_000, 20_700))),
        purposes=draw(st.sampled_from((0, 2, 6) if draw(rarely) else (PERSONALIZATION, 3, 7))),
    )  # fmt: skip


@st.composite
def _event_time(draw: st.DrawFn, k: int, log: list[Admitted]) -> int:
    """What e may be of an event admitted at k: now, late, or the very event time of another event."""
    others = [a.e for a in log if k - LATENESS <= a.e <= k]
    if others and draw(st.sampled_from((False, False, True))):
        return draw(st.sampled_from(others))
    late = draw(st.sampled_from((0, 0, 1, MINUTE, HOUR, 24 * HOUR, LATENESS))) + draw(jitter())
    return max(0, k - max(0, min(late, LATENESS)))


@st.composite
def logs(draw: st.DrawFn, max_size: int = 10, max_span: int | None = None) -> list[Admitted]:
    """A lawful log in the order of admission; with `max_span`, everything lies within so many microseconds."""
    size = draw(st.integers(1, max_size))
    imported = draw(st.integers(0, size))
    now = draw(st.sampled_from(BEGINNINGS))
    began = now
    # Few users, so that one entity has a long history too.
    users = draw(st.sampled_from((USERS, USERS[:2], USERS[:1])))
    last_k: dict[int, int] = {}
    log: list[Admitted] = []
    for number in range(size):
        now = draw(_later(now, log))
        if max_span is not None:
            now = min(now, began + max_span)
        event = draw(events(number, now, users))
        partition = partition_of(event.user_id, PARTITIONS)
        if number < imported:
            log.append(Admitted(event, now, now))
            continue
        k = max(now, last_k.get(partition, -1) + 1)
        e = draw(_event_time(k, log))
        last_k[partition] = k
        log.append(Admitted(event, e, k))
    return sorted(log, key=lambda a: a.k)


def by_instant(log: list[Admitted]) -> list[list[Admitted]]:
    """The log in the pieces between which it may be cut: all events of one admission instant are one piece."""
    return [list(piece) for _, piece in itertools.groupby(log, key=lambda a: a.k)]


@st.composite
def instants(draw: st.DrawFn, view: ViewDefinition, log: list[Admitted], at_most: int = 40) -> list[int]:
    """Instants at and +-1 us around the change points of a log, in order; also between and far beyond them."""
    points = change_points(view, log)
    # Chosen by a seed: hypothesis shrinks the log, and the instants follow.
    chosen = draw(st.randoms(use_true_random=False)).sample(points, min(len(points), at_most // 3))
    around = {point + shift for point in chosen for shift in (-1, 0, 1)}
    beyond = {points[-1] + DAY + 1, max(a.k for a in log) + 1, max(a.k for a in log) + 12 * HOUR}
    return sorted(around | beyond)


def entity_keys(view: ViewDefinition) -> list[tuple[str, ...]]:
    """Every entity that a log may speak of, and one that it never does."""
    if view.entity == "user":
        return [(user,) for user in (*USERS, "k1-nobody")]
    if view.entity == "user_category":
        return [(user, category) for user in USERS for category in CATEGORIES]
    if view.entity == "item":
        return [(item,) for item in ITEMS]
    if view.entity == "category":
        return [(category,) for category in CATEGORIES]
    return [("all",)]
