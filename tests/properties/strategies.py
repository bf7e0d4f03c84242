"""Hypothesis strategies for nasty logs: everything that a log may lawfully contain and that is easily got wrong.

    imports first        k = e, whole baskets at one instant, several users at one instant
    then the log         k strictly increasing per partition, e at most 48 h behind k
    instants             at edges of minutes, hours and days, at ends of windows and of the retention, each +-1 us
    events               of kinds that no view selects, without consent, category or value, with negative values

Logs are lists of `Admitted` in the order of admission. The retention is short (40 days), so that gaps happen.
"""

from hypothesis import strategies as st

from behavior.event import PERSONALIZATION, Admitted, Event
from behavior.kinds import Aggregation, age, count, ever, last, total
from behavior.partition import partition_of
from behavior.plan import FeatureDefinition, ViewDefinition
from tests.oracle import DAY, HOUR, MINUTE, change_points, floor

PARTITIONS = 2
USERS = ("k1-ada", "k1-bob", "k1-eve", "k1-may")
CATEGORIES = ("dairy", "käse", "")
SELECTED = ("item_view", "purchase", "refund")
LATENESS = 48 * HOUR
RETENTION = 40 * DAY
# The very first instant, an hour that is the start of no day, and one in our days.
BEGINNINGS = (0, 400_000 * HOUR + 1, 17_440 * DAY)

FEATURES: tuple[Aggregation, ...] = (
    count("purchase"), count("*"), count("item_view", over="1h"), count("purchase", over="24h"),
    count("*", over="7d"), count("purchase", over="30d"), count("purchase", over="40d"),
    count("item_view", over="150m"), total("purchase.value"), total("*.value", over="30d"),
    total("purchase.value", over="7d"), total("refund.quantity", over="24h"), ever("refund"), last("purchase.category"),
    last("*.utc_offset_s"), last("purchase.value"), age("purchase"), age("*"),
)  # fmt: skip
WINDOWED = tuple(spec for spec in FEATURES if spec.over)


def view_definition(entity: str, features: tuple[Aggregation, ...] = FEATURES) -> ViewDefinition:
    """A view of every kind of feature, with a short retention and a snapshot interval of 5 minutes."""
    return ViewDefinition(
        f"{entity}_view", entity, SELECTED, tuple(FeatureDefinition(spec.name, spec) for spec in features),
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
def events(draw: st.DrawFn, number: int, client_time: int) -> Event:
    """An event that admission accepts; what the oracle must leave out is one time in six each."""
    rarely = st.sampled_from((False, False, False, False, False, True))
    kind = "scroll" if draw(rarely) else draw(st.sampled_from(SELECTED))
    amount = st.sampled_from((1, 0, 199, -250, 10**11, -(10**11)))
    # The ids are in no order of time: ties must be broken by the id, in the order of code points.
    prefix = draw(st.sampled_from(("m", "M", "é", "\uffee", "\U0001f600")))
    return Event(
        f"{prefix}{number}", kind, draw(st.sampled_from(USERS)), client_time,
        category=None if draw(rarely) else draw(st.sampled_from(CATEGORIES[:2])),
        value=None if draw(rarely) else draw(amount),
        quantity=draw(st.sampled_from((None, 0, 1, 3))),
        utc_offset_s=draw(st.sampled_from((None, 0, -18_000, 20_700))),
        purposes=draw(st.sampled_from((0, 2, 6) if draw(rarely) else (PERSONALIZATION, 3, 7))),
    )  # fmt: skip


@st.composite
def logs(draw: st.DrawFn, max_size: int = 10, max_span: int | None = None) -> list[Admitted]:
    """A lawful log in the order of admission; with `max_span`, everything lies within so many microseconds."""
    size = draw(st.integers(1, max_size))
    imported = draw(st.integers(0, size))
    now = draw(st.sampled_from(BEGINNINGS))
    began = now
    last_k: dict[int, int] = {}
    log: list[Admitted] = []
    for number in range(size):
        now = draw(_later(now, log))
        if max_span is not None:
            now = min(now, began + max_span)
        event = draw(events(number, now))
        partition = partition_of(event.user_id, PARTITIONS)
        if number < imported:
            log.append(Admitted(event, now, now))
            continue
        k = max(now, last_k.get(partition, -1) + 1)
        late = draw(st.sampled_from((0, 0, 1, MINUTE, HOUR, 24 * HOUR, LATENESS))) + draw(jitter())
        e = max(0, k - max(0, min(late, LATENESS)))
        last_k[partition] = k
        log.append(Admitted(event, e, k))
    return sorted(log, key=lambda a: a.k)


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
    if view.entity == "category":
        return [(category,) for category in CATEGORIES]
    return [("all",)]
