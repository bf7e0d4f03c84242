"""The joiner against one that remembers everything: the same examples at every step, in the same order, and counts."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.calibration import Calibration
from behavior.event import HOUR_US, MINUTE_US, SECOND_US, Admitted, Event, admit
from behavior.served import Basis, Served, Shown
from scoring.example import Example
from scoring.joiner import PartitionJoin
from scoring.outcomes import Outcomes
from scoring.pending import Pending, Place
from tests.properties.joining import Answered, Idle, Oracle, Step

NASTY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
T = 1_508_040_000_000_000
# Windows of a few minutes, so that a short log has the ends of many.
REQUIRED = Outcomes(
    4 * MINUTE_US, 3 * MINUTE_US, {"click": 0.25, "basket": 0.5, "purchase": 1.0}, "purchase", is_seen_assumed=False
)
TERMS = {
    "required": REQUIRED,
    "assumed": replace(REQUIRED, is_seen_assumed=True),
    "clicks are learned": replace(REQUIRED, learned="click", rewards={"click": 0.5, "purchase": 0.5}),
}
SHARDS: dict[str, Callable[[str], bool]] = {
    "all": lambda persona: True,
    "some": lambda persona: persona == "loyal",
    "others": lambda persona: persona != "loyal",
}
PASSED = (1, SECOND_US, MINUTE_US - 1, MINUTE_US, MINUTE_US + 1, 3 * MINUTE_US)
KINDS = ("purchase", "purchase", "click", "basket", "impression", "impression", "heartbeat")
EARLIER = (0, 1, MINUTE_US, 3 * MINUTE_US, 4 * MINUTE_US, 4 * MINUTE_US + 1, 8 * MINUTE_US)


@st.composite
def logs(draw: st.DrawFn) -> list[Step]:
    """Answers, events and idle time of two users, all close together; some name answers that are still to come."""
    k, number, steps = T, 0, list[Step]()
    for _ in range(draw(st.integers(1, 25))):
        k += draw(st.sampled_from(PASSED))
        kind = draw(st.sampled_from(("answer", "answer", "event", "event", "event", "idle")))
        if kind == "answer":
            number += 1
            steps.append(Answered(draw(served(number, k)), k))
        elif kind == "event":
            steps.append(draw(events(number, k)))
        else:
            steps.append(Idle(k))
            k -= draw(st.integers(0, 1))  # what comes next may be admitted at that very instant
        if isinstance(steps[-1], Answered) and draw(st.integers(0, 9)) == 9:
            k += 1
            steps.append(Answered(steps[-1].served, k))  # logged twice
    return steps


@st.composite
def served(draw: st.DrawFn, number: int, k: int) -> Served:
    """An answer that was given a little before it was logged, seldom long before."""
    as_of = k - draw(st.sampled_from((*EARLIER[:3], *EARLIER[:3], EARLIER[-2])))
    kind = draw(st.sampled_from(("category", "item")))
    ids = draw(st.lists(st.sampled_from("ABC"), unique=True, max_size=3))
    basis = draw(
        st.sampled_from(
            (None, Basis(0, "p", ()), Basis(-9 * 3600, "p", (), device="tv"), Basis(19_800, "p", (), page="/"))
        )
    )
    return Served(
        f"r{number}", draw(st.sampled_from("uv")), as_of, 0, T, "b", 0,
        tuple(Shown(kind, each, float(place) - 0.1, 0.0, 0.0, b"") for place, each in enumerate(ids)),
        placement=draw(st.sampled_from((None, "home"))), persona=draw(st.sampled_from(("", "loyal", "new"))),
        calibration=draw(st.sampled_from((None, Calibration(0.7, -1.3)))), basis=basis,
        categories=tuple("XYZ"[: len(ids)]) if kind == "item" else (),
    )  # fmt: skip


@st.composite
def events(draw: st.DrawFn, number: int, k: int) -> Admitted:
    """What a user did, or a heartbeat, which may name an answer that was given, will be, or never was."""
    near = [f"r{max(0, number + step)}" for step in (-2, -1, 0, 0, 1)]
    event = Event(
        "m", draw(st.sampled_from(KINDS)),
        draw(st.sampled_from("uuv")), k - draw(st.sampled_from(EARLIER)),
        item=draw(st.sampled_from((None, *"AAB"))), category=draw(st.sampled_from((None, *"AAB"))),
        request_id=draw(st.sampled_from((None, None, *near, "nobody's"))),
        purposes=draw(st.sampled_from((1, 1, 1, 3, 2))),
    )  # fmt: skip
    return admit(event, k)


def take(join: PartitionJoin, step: Step) -> list[Example]:
    if isinstance(step, Admitted):
        return join.take_event(step)
    return join.wait(step.until) if isinstance(step, Idle) else join.take_served(step.served, step.k)


class Restarted:
    """A joiner that is stored and made anew before every step, its entries put back in any order."""

    def __init__(self, outcomes: Outcomes, mine: Callable[[str], bool]) -> None:
        self._make = lambda place: PartitionJoin(outcomes, mine, place)
        self._place = msgspec.msgpack.encode(Place())
        self._pending: dict[str, bytes] = {}
        self.counts: Counter[str] = Counter()

    def take(self, step: Step) -> list[Example]:
        """The examples of one step."""
        join = self._make(msgspec.msgpack.decode(self._place, type=Place))
        for data in random.Random(len(self._pending)).sample(list(self._pending.values()), len(self._pending)):
            join.restore(msgspec.msgpack.decode(data, type=Pending))
        examples = take(join, step)
        for request_id in join.changed:
            self._pending.pop(request_id, None)
            if request_id in join.pending:
                self._pending[request_id] = msgspec.msgpack.encode(join.pending[request_id])
        self._place = msgspec.msgpack.encode(join.place)
        self.counts.update(join.counts)
        return examples


@NASTY
@given(steps=logs(), terms=st.sampled_from(sorted(TERMS)), shard=st.sampled_from(sorted(SHARDS)))
def test_it_joins_like_one_that_remembers_everything(terms: str, shard: str, steps: Sequence[Step]) -> None:
    """Step by step the examples are the oracle's, bit for bit; a joiner restarted before each step gives the same."""
    outcomes, mine = TERMS[terms], SHARDS[shard]
    oracle, join, restarted = Oracle(outcomes, mine), PartitionJoin(outcomes, mine), Restarted(outcomes, mine)
    for step in [*steps, Idle(T + HOUR_US), Idle(T + 9 * HOUR_US)]:
        expected = oracle.take(step)
        assert take(join, step) == expected
        assert restarted.take(step) == expected
    assert +join.counts == +oracle.counts
    assert +restarted.counts == +oracle.counts
    assert not join.pending
    assert not restarted._pending


@NASTY
@given(steps=logs(), terms=st.sampled_from(sorted(TERMS)))
def test_each_shown_thing_is_tried_once_and_labelled_once(terms: str, steps: Sequence[Step]) -> None:
    """Of one answer's thing the first example is its trial, one at most has a label, rewards add up to one at most."""
    join = PartitionJoin(TERMS[terms])
    of_thing: dict[tuple[str, str], list[Example]] = {}
    for step in [*steps, Idle(T + 9 * HOUR_US)]:
        for each in take(join, step):
            of_thing.setdefault((each.request_id, each.id), []).append(each)
    for examples in of_thing.values():
        assert [each.is_trial for each in examples] == [True] + [False] * (len(examples) - 1)
        assert sum(each.label is not None for each in examples) <= 1
        assert 0 <= sum(each.reward for each in examples) <= 1
        assert all(each.reward == 0 and each.outcome == "" for each in examples if each.label is False)
