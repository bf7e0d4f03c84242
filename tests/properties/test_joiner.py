"""The joiner against one that remembers everything: the same examples at every step, in the same order, and counts."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.calibration import Calibration
from behavior.event import HOUR_US, MINUTE_US, SECOND_US, Admitted, Event, admit
from behavior.served import Basis, Served, Shown
from scoring.example import Example
from scoring.joiner import PartitionJoin
from scoring.outcomes import Outcomes
from scoring.pending import Pending, Place
from tests.properties.joining import Answered, Idle, Oracle, Step

NASTY = settings(max_examples=400, deadline=None)
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
# Drawn from a seed, not one by one: thousands of small logs are worth more here than the smallest one that fails.
PASSED = (1, 1, 1, SECOND_US, SECOND_US, MINUTE_US - 1, MINUTE_US, 3 * MINUTE_US)
KINDS = ("purchase", "purchase", "click", "basket", "impression", "impression", "heartbeat")
BASES = (None, Basis(0, "p", ()), Basis(-9 * 3600, "p", (), device="tv"), Basis(19_800, "p", (), page="/"))


def log(rng: random.Random) -> list[Step]:
    """Answers, events and idle time of two users, all close together and at the edges of what was before."""
    k, answers, steps = T, list[Served](), list[Step]()
    for _ in range(rng.randrange(1, 40)):
        k += rng.choice(PASSED)
        kind = rng.choice(("answer", "answer", "event", "event", "event", "idle"))
        if kind == "answer":
            repeated = answers and rng.random() < 0.05
            if not repeated:
                answers.append(served(rng, len(answers), k))
            steps.append(Answered(answers[-1], k))
        elif kind == "event":
            steps.append(event(rng, answers, k))
        else:
            steps.append(Idle(k))
            k -= rng.randrange(2)  # what comes next may be admitted at that very instant
    return steps


def served(rng: random.Random, number: int, k: int) -> Served:
    """An answer that was given a little before it was logged, seldom long before."""
    kind = rng.choice(("category", "item"))
    ids = rng.sample("ABC", rng.choice((0, 1, 2, 2, 3)))
    return Served(
        f"r{number}", rng.choice("uuuv"), k - rng.choice((0, 1, 1, 2, 4 * MINUTE_US + 1)), 0, T, "b", 0,
        tuple(Shown(kind, each, place - 0.1, 0.0, 0.0, b"") for place, each in enumerate(ids)),
        placement=rng.choice((None, "home")), persona=rng.choice(("", "loyal", "loyal", "new")),
        calibration=rng.choice((None, Calibration(0.7, -1.3))), basis=rng.choice(BASES),
        categories=tuple("XYZ"[: len(ids)]) if kind == "item" else (),
    )  # fmt: skip


def event(rng: random.Random, answers: Sequence[Served], k: int) -> Admitted:
    """What a user did, or a heartbeat, at the edge of a window; it may name an answer that is still to come."""
    edges = [edge for each in answers[-3:] for edge in (each.as_of, each.as_of + REQUIRED.window_us)]
    near = [f"r{max(0, len(answers) + step)}" for step in (-3, -2, -1, -1, 0)]
    said = Event(
        "m", rng.choice(KINDS), rng.choice("uuuuv"), rng.choice([k, k, *edges]) - rng.choice((0, 0, 1)),
        item=rng.choice((None, "A", "A", "B")), category=rng.choice((None, "A", "A", "B")),
        request_id=rng.choice((*[None] * 6, *near, "nobody's")), purposes=rng.choice((1, 1, 1, 3, 2)),
    )  # fmt: skip
    return admit(said, k)


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
@given(seed=st.integers(0, 2**32), terms=st.sampled_from(sorted(TERMS)), shard=st.sampled_from(sorted(SHARDS)))
def test_it_joins_like_one_that_remembers_everything(seed: int, terms: str, shard: str) -> None:
    """Step by step the examples are the oracle's, bit for bit; a joiner restarted before each step gives the same."""
    outcomes, mine = TERMS[terms], SHARDS[shard]
    oracle, join, restarted = Oracle(outcomes, mine), PartitionJoin(outcomes, mine), Restarted(outcomes, mine)
    for step in [*log(random.Random(seed)), Idle(T + 9 * HOUR_US), Idle(T + 10 * HOUR_US)]:
        expected = oracle.take(step)
        assert take(join, step) == expected
        assert restarted.take(step) == expected
    assert +join.counts == +oracle.counts
    assert +restarted.counts == +oracle.counts
    assert not join.pending
    assert not restarted._pending


@NASTY
@given(seed=st.integers(0, 2**32), terms=st.sampled_from(sorted(TERMS)))
def test_each_shown_thing_is_tried_once_and_labelled_once(seed: int, terms: str) -> None:
    """Of one answer's thing the first example is its trial, one at most has a label, rewards add up to one at most."""
    join = PartitionJoin(TERMS[terms])
    of_thing: dict[tuple[str, str], list[Example]] = {}
    for step in [*log(random.Random(seed)), Idle(T + 9 * HOUR_US)]:
        for each in take(join, step):
            of_thing.setdefault((each.request_id, each.id), []).append(each)
    for examples in of_thing.values():
        assert [each.is_trial for each in examples] == [True] + [False] * (len(examples) - 1)
        assert sum(each.label is not None for each in examples) <= 1
        assert 0 <= sum(each.reward for each in examples) <= 1
        assert all(each.reward == 0 and each.outcome == "" for each in examples if each.label is False)
