"""The states of partitions, taken together: what a snapshot view says, whoever was silent for how long."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.column import Column
from behavior.event import Admitted, Event
from behavior.partition import partition_of
from behavior.plan import Plan, View
from behavior.state import raw_at
from behavior.vector import finalise
from scoring.partition_states import PartitionStates, decode_partial, encode_partial, merged
from tests import oracle
from tests.oracle import DAY, HOUR
from tests.properties.strategies import CATEGORIES, PARTITIONS, instants, logs, view_definition

T0 = 17_440 * DAY


@pytest.mark.parametrize("entity", ["category", "all"])
@given(data=st.data())
def test_merged_partials_answer_as_the_whole_log_does(data: st.DataObject, entity: str) -> None:
    """With gaps, late events and restarts: the merge of all partitions has the oracle's values at every interval."""
    plan = Plan([view_definition(entity)])
    view = plan.views[0]
    log = data.draw(logs(), "log")
    for t in data.draw(instants(view.definition, log, at_most=9), "instants"):
        for key in (("all",),) if entity == "all" else tuple((name,) for name in CATEGORIES[:2]):
            expected = oracle.final_values(view.definition, log, key, t)
            assert served(plan, log, key[0], oracle.answers_at(view.definition, t)) == expected


@pytest.mark.parametrize("days", [(0, 30, 65), (0, 100)], ids=["gap-in-one-partition", "gap-over-all"])
def test_one_silent_partition_is_no_gap(days: tuple[int, ...]) -> None:
    """A category starts afresh iff it was missing over all users; what one partition has not seen does not count."""
    plan = Plan([view_definition("category")])
    users = (
        "k1-ada",
        next(name for name in ("k1-bob", "k1-eve", "k1-may") if _partition(name) != _partition("k1-ada")),
    )
    log = [
        Admitted(
            Event(f"m{place}", "purchase", users[place % 2], T0 + day * DAY, category="dairy", value=1, purposes=1),
            T0 + day * DAY, T0 + day * DAY,
        )
        for place, day in enumerate(days)
    ]  # fmt: skip
    s = oracle.answers_at(plan.views[0].definition, log[-1].k + HOUR)
    assert served(plan, log, "dairy", s) == oracle.final_values(plan.views[0].definition, log, ("dairy",), s)


def served(plan: Plan, log: list[Admitted], entity: str, s: int) -> dict[str, object]:
    """What a snapshot at s says of an entity: partitions folded one by one, stored, read back and merged."""
    view = plan.views[0]
    name = f"{view.name}|{entity}".encode()
    partials = []
    for partition in range(PARTITIONS):
        states = PartitionStates(plan)
        for event in log:
            if event.k < s and _partition(event.event.user_id) == partition:
                states.add(event)
        stored = encode_partial(view, states.partials.get(name, []))
        partials.append(decode_partial(view, stored))
    return _final(view, partials, s)


def _final(view: View, partials: list, s: int) -> dict[str, object]:  # type: ignore[type-arg]
    whole = merged(view, partials)
    row = [None] * len(view.features) if whole is None else raw_at(view, whole, s)
    raw = {each.name: Column.of([value], each.raw_dtype) for each, value in zip(view.features, row, strict=True)}
    seen_e = Column.of([None if whole is None else whole.seen_e], "int64")
    finals = finalise(view, raw, seen_e, np.array([s]))
    return {each.name: finals[each.ref].values[0] if finals[each.ref].valid[0] else None for each in view.features}


def _partition(user: str) -> int:
    return partition_of(user, PARTITIONS)
