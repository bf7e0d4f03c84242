"""What is stored of an entity, by hand: windows, gaps, ties, missing values, and bounds that hold."""

import itertools

import numpy as np
import pytest

from behavior import state as states
from behavior.aggregation import Aggregation
from behavior.event import Admitted, Event
from behavior.plan import View, ViewDefinition
from behavior.words import count, distinct, first, last, recent, total
from tests.oracle import DAY, HOUR, MINUTE
from tests.properties.answers import final_rows, folded, restarted
from tests.properties.strategies import RETENTION, SELECTED, USERS, features_of, view_definition

T0 = 17_440 * DAY


def did(number: int, e: int, k: int | None = None, kind: str = "purchase", **parts: object) -> Admitted:
    """An event of one user with consent, a purchase unless said."""
    said = {"user_id": USERS[0], "category": "dairy", "purposes": 1, **parts}
    event = Event(message_id=f"m{number}", kind=kind, client_time=e, **said)  # type: ignore[arg-type]
    return Admitted(event, e, e if k is None else k)


def user_view(*specs: Aggregation, retention: int = RETENTION) -> View:
    """A user view of the given features, of all that it may have if none are given."""
    definition = view_definition("user", specs or features_of("user"))
    return View(ViewDefinition(definition.name, "user", SELECTED, definition.features, retention_us=retention))


def at(view: View, events: list[Admitted], t: int) -> dict[str, object]:
    return final_rows(view, [(folded(view, events), t)])[0]


def test_an_event_leaves_its_window_with_its_hop() -> None:
    """An event leaves a window W at floor(e, hop) + W and not a microsecond before, however late in the hop it came."""
    view = user_view()
    for over, window, hop in (("24h", 24 * HOUR, HOUR), ("30d", 30 * DAY, DAY)):
        came = T0 + hop - 1
        name = f"purchase_count_{over}"
        assert at(view, [did(1, came)], T0 + window - 1)[name] == 1
        assert at(view, [did(1, came)], T0 + window)[name] == 0


def test_pruning_waits_until_no_instant_can_reach() -> None:
    """What is stored 2 us before an event leaves its window still counts both a microsecond before, and not after."""
    view = user_view(count("purchase", over="24h"), count("purchase", over="30d"))
    for i, window in enumerate((24 * HOUR, 30 * DAY)):
        leaves = T0 + window
        state = restarted(view, folded(view, [did(1, T0), did(2, leaves - 2)]))
        assert state
        assert [states.raw_at(view, state, t)[i] for t in (leaves - 1, leaves)] == [2, 1]


def test_recent_events_of_one_instant_keep_their_order_when_they_are_stored() -> None:
    """Their ids, which ordered them, are not stored; a later pair that comes out of its order sorts only itself."""
    view = user_view(recent(10))
    earlier = [did(1, T0, item="i-1"), did(2, T0, item="i-0")]
    later = [did(9, T0 + 1, item="last"), did(8, T0 + 1, item="first")]
    stored = folded(view, later, restarted(view, folded(view, earlier)))
    assert stored
    assert states.raw_at(view, stored, T0 + 2) == [
        [f"purchase|{T0 + 1}|last", f"purchase|{T0 + 1}|first", f"purchase|{T0}|i-0", f"purchase|{T0}|i-1"]
    ]


def test_windows_of_one_hop_share_their_sums() -> None:
    """24h and 7d move by the hour: one slot keeps what the longer one needs, and answers both."""
    view = user_view(count("purchase", over="24h"), count("purchase", over="7d"), count("purchase", over="30d"))
    assert len(view.slots) == 2
    state = restarted(view, folded(view, [did(1, T0), did(2, T0 + 3 * DAY)]))
    assert state
    assert states.raw_at(view, state, T0 + 3 * DAY + 1) == [1, 2, 2]


def test_an_entity_goes_missing_at_its_retention() -> None:
    """Every value is there until max e + R - 1 us and missing from max e + R on, an unwindowed count included."""
    view = user_view()
    assert at(view, [did(1, T0)], T0 + RETENTION - 1)["purchase_count"] == 1
    assert set(at(view, [did(1, T0)], T0 + RETENTION).values()) == {None}


def test_a_gap_is_measured_from_event_time_to_admission() -> None:
    """A late event starts afresh if it was *admitted* R after the greatest event time, though it happened before."""
    view = user_view()
    late = did(2, T0 + RETENTION - HOUR, T0 + RETENTION)
    in_time = did(2, T0 + RETENTION - HOUR, T0 + RETENTION - 1)
    assert at(view, [did(1, T0), late], T0 + RETENTION + 1)["purchase_count"] == 1
    assert at(view, [did(1, T0), in_time], T0 + RETENTION + 1)["purchase_count"] == 2


def test_there_is_no_zero_by_accident() -> None:
    """Nothing at all is missing; with another kind alone counts are 0, and what needs a purchase is missing."""
    view = user_view()
    found = at(view, [did(1, T0, kind="refund")], T0 + 1)
    names = ("purchase_count", "purchase_value_total", "purchase_count_30d", "off_phone", "any_item_distinct_7d")
    assert [found[name] for name in names] == [0, 0, 0, 0, 0]
    missing = (
        "purchase_age_s", "since_first_purchase", "purchase_category_last", "purchase_value_last",
        "purchase_category_first", "purchase_value_mean", "mean_stars_30d",
    )  # fmt: skip
    assert {found[name] for name in missing} == {None}
    assert found["refund_ever"] == 1
    assert found["purchase_per_item_view_rate"] == float(np.float32(1 / 50))
    assert found["recent_money"] == [f"refund|{T0}|"]
    assert found["recent_all"] == [f"refund|{T0}|"]
    assert at(view, [did(1, T0, kind="item_view")], T0 + 1)["recent_money"] == []
    assert set(final_rows(view, [(None, T0)])[0].values()) == {None}


def test_an_age_is_the_nearest_float32() -> None:
    """An age is one difference in int64, one division in float64 and one cast to float32."""
    view = user_view()
    for elapsed in (1, 999_999, 16_777_217_000_000 % RETENTION, RETENTION - 1, 33 * DAY + 123_457):
        found = at(view, [did(1, T0)], T0 + elapsed)["purchase_age_s"]
        assert found == float(np.float32(np.float64(elapsed) / np.float64(1_000_000)))


@pytest.mark.parametrize("spec", [last("purchase.category"), first("purchase.category")], ids=["last", "first"])
def test_ids_decide_between_equal_times(spec: Aggregation) -> None:
    """By (e, k, message id): event time before admission, and ids by code points; `last` the greatest, `first` not."""
    view = user_view(spec)
    by_e = [did(9, T0, T0 + HOUR, category="early"), did(1, T0 + 1, category="late")]
    by_k = [did(9, T0, T0 + 1, category="early"), did(1, T0, T0 + 2, category="late")]
    by_id = [
        Admitted(Event(mark, "purchase", USERS[0], T0, category=said, purposes=1), T0, T0)
        for mark, said in (("\uffee", "early"), ("\U0001f600", "late"))
    ]
    expected = "late" if spec.kind == "last" else "early"
    for events in (by_e, by_k, by_id):
        for order in itertools.permutations(events):
            assert at(view, list(order), T0 + 2 * HOUR)[spec.name] == expected


def test_recent_events_are_those_that_the_log_took_last() -> None:
    """By admission, not by event time; ties by message id; K of them, newest first."""
    view = user_view(recent(3))
    events = [
        did(1, T0), did(3, T0 + HOUR, T0 + HOUR, item="käse|2"), did(2, T0 + HOUR), did(4, T0, T0 + 2 * HOUR)
    ]  # fmt: skip
    expected = [f"purchase|{T0}|", f"purchase|{T0 + HOUR}|käse|2", f"purchase|{T0 + HOUR}|"]
    for order in itertools.permutations(events):
        assert at(view, list(order), T0 + 3 * HOUR)["recent_3"] == expected


def test_sums_stay_exact_at_the_limits_of_admission() -> None:
    """Totals are integers: a thousand events at the greatest value sum exactly, where float64 and int32 would not."""
    view = user_view(total("purchase.value"), total("purchase.value", over="30d"))
    events = [did(i, T0 + i, value=10**11 - (i % 2)) for i in range(1000)]
    state = restarted(view, folded(view, events))
    (found,) = final_rows(view, [(state, T0 + MINUTE)])
    assert set(found.values()) == {1000 * 10**11 - 500}


def test_distinct_values_beyond_the_cap_are_not_kept() -> None:
    """However many there are: the state stays small, the answer is the cap, and of fewer it is their number."""
    for spec in (distinct("*.page", cap=3), distinct("*.page", over="24h", cap=3)):
        view = user_view(spec)
        state = folded(view, [did(i, T0 + i * HOUR, page=f"/{i}") for i in range(48)])
        assert state
        assert len(state.values[0]) <= 6
        assert states.raw_at(view, state, T0 + 48 * HOUR) == [3]
        found = restarted(view, state)
        assert found
        assert len(found.values[0]) == 3
        assert states.raw_at(view, found, T0 + 48 * HOUR) == [3]
    assert states.raw_at(view, found, T0 + (45 + 24) * HOUR) == [2]
    assert states.raw_at(view, found, T0 + (47 + 24) * HOUR) == [0]


def test_a_window_bounds_what_is_stored() -> None:
    """A year of hourly events is no longer in bytes than the hops of the window."""
    view = user_view(count("purchase", over="24h"), retention=400 * DAY)
    state = None
    for hour in range(24 * 60):
        state = states.fold(view, state, did(hour, T0 + hour * HOUR))
        if hour % 12 == 0:
            assert len(states.encode(view, state)) <= 60
    assert state
    assert len(state.values[0]) <= 2 * 36


def test_a_window_of_the_whole_retention_is_kept() -> None:
    """The longest window that is allowed holds all that the entity remembers."""
    view = user_view(count("purchase", over="40d"), count("purchase"))
    events = [did(1, T0 + DAY - 1), did(2, T0 + 39 * DAY)]
    assert at(view, events, T0 + 40 * DAY - 1) == {"purchase_count_40d": 2, "purchase_count": 2}
    assert at(view, events, T0 + 40 * DAY) == {"purchase_count_40d": 1, "purchase_count": 2}


def test_times_are_stored_in_their_coarsest_unit() -> None:
    """Whole seconds take fewer bytes than whole milliseconds, those fewer than microseconds; all come back exactly."""
    view = user_view(*(spec for spec in features_of("user") if spec.kind == "age"))
    sizes = []
    for unit in (1_000_000, 1000, 1):
        events = [did(1, T0), did(2, T0 + 12 * DAY), did(3, T0 + 12 * DAY + unit, kind="item_view")]
        state = folded(view, events)
        assert state
        data = states.encode(view, state)
        assert states.decode(view, data) == state
        sizes.append(len(data))
    assert sizes == sorted(set(sizes))
