"""Explored entries become decisions with the candidate's chances, and every other one is left out for a reason."""

import msgspec
import numpy as np
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US
from behavior.exploration import EPSILON_GREEDY, THOMPSON
from behavior.relevance import added
from behavior.served import Explored, decode, encode
from tests.training.ope.entries import FACTORS, POLICY, POOL, VALUES, T, altered, entry
from training.ope.answers import Answer, Asked, decisions_of, explored_answers
from training.ope.candidate import Candidate
from training.ope.policies import Policy

BEFORE = T + DAY_US


def one(candidate: Candidate, **said: object) -> Answer:
    """What is kept of one entry."""
    (answer,), _ = explored_answers([entry(**said)], Asked(candidate, BEFORE))
    return answer


def test_the_logged_policy_has_the_logged_chances() -> None:
    """Without other weights and another policy every ratio is 1: evaluation computes what was drawn by."""
    answer = one(Candidate())
    assert answer.candidate == pytest.approx(answer.logged, rel=1e-12)
    assert answer.unsupported.tolist() == [0, 0]


def test_other_weights_give_other_chances() -> None:
    """Softmax of Σ weight × value over those that are left, by hand."""
    answer = one(Candidate({"recency": 3.0}))
    scores = added([VALUES[:, 0], 3.0 * VALUES[:, 1]], len(POOL))
    odds = np.exp(scores / POLICY.strength)
    assert answer.candidate == pytest.approx([odds[1] / odds.sum(), odds[0] / (odds.sum() - odds[1])])


def test_another_policy_takes_the_place_of_the_logged_one() -> None:
    """Greedy gives all to the best that is left; the log, which could draw it, leaves nothing unsupported."""
    answer = one(Candidate(policy=Policy(EPSILON_GREEDY, 0.0)), shown=("TEA", "EGGS"))
    assert answer.candidate.tolist() == [1, 0]
    assert answer.unsupported.tolist() == [0, 0]


def test_what_the_log_could_not_draw_is_unsupported() -> None:
    """A greedy log gives one thing a chance; what the candidate gives to the others is told."""
    answer = one(Candidate(policy=POLICY), shown=("TEA", "MILK"), policy=Policy(EPSILON_GREEDY, 0.0))
    assert answer.unsupported == pytest.approx(1 - answer.candidate)
    assert (answer.unsupported > 0.1).all()


def test_expected_inputs_are_those_of_the_pool_by_the_candidates_chances() -> None:
    """Values first, then the same as probabilities; what stands already is no part of them."""
    candidate = Candidate({"recency": 3.0})
    answer = one(candidate)
    chances = POLICY.chances(candidate.scores(FACTORS, VALUES), np.array([1, 0]))
    assert answer.expected[:, 0] == pytest.approx(chances @ VALUES, rel=1e-6)
    assert answer.expected[:, 1] == pytest.approx(chances @ (1 / (1 + np.exp(-VALUES))), rel=1e-6)
    assert answer.shown[:, 0] == pytest.approx(VALUES[[1, 0]])


def test_only_the_first_positions_are_kept_if_so_asked() -> None:
    """What stands behind them is no part of the decision, as is what stands behind the last of the pool."""
    (answer,), accounting = explored_answers([entry()], Asked(Candidate(), BEFORE, positions=1))
    assert (answer.ids, answer.logged.shape, accounting.rows) == (("MILK",), (1,), 1)
    more = entry(shown=POOL)
    beyond = msgspec.structs.replace(more, shown=(*more.shown, msgspec.structs.replace(more.shown[0], id="SALT")))
    assert more.explored is not None
    chances = more.explored.chances + np.array([1.0], dtype="<f8").tobytes()
    (answer,), _ = explored_answers([altered(beyond, chances=chances)], Asked(Candidate(), BEFORE))
    assert answer.ids == POOL


def test_every_entry_that_is_left_out_has_its_reason() -> None:
    """Estimated chances, chances that the policy does not give, and all that is not whole; the sum is what was read."""
    good = entry()
    explored = good.explored
    assert explored is not None
    wrong = (0.9 * np.frombuffer(explored.chances, "<f8")).tobytes()
    entries = [
        good,
        entry("r2", placement="checkout"),
        entry("r3", as_of=T - DAY_US),
        entry("r4", as_of=BEFORE),
        msgspec.structs.replace(entry("r5"), explored=None),
        altered(entry("r6"), policy=THOMPSON, is_exact=False),
        altered(entry("r7"), pool=POOL[:3]),
        altered(entry("r8"), policy="dice"),
        altered(entry("r9"), chances=wrong),
        altered(entry("r10"), pool=("A", "B", "C", "D")),
        msgspec.structs.replace(entry("r11"), factors=(("propensity", 1.0), ("age", 0.5))),
        good,
    ]
    asked = Asked(Candidate({"recency": 1.0}), BEFORE, since=T, placement="home")
    answers, accounting = explored_answers(entries, asked)
    assert [each.request_id for each in answers] == ["r1"]
    assert accounting.left_out == {
        "elsewhere": 1, "before --since": 1, "window not over": 1, "not explored": 1, "estimated chances": 1,
        "broken entry": 3, "factor without values": 1, "chances not of their policy": 1, "repeated request": 1,
    }  # fmt: skip
    assert accounting.read == 12 == accounting.used + sum(accounting.left_out.values())


def test_a_journal_of_nothing_usable_is_refused() -> None:
    """One sentence with counts: what was estimated by Thompson sampling, and what was not explored at all."""
    entries = [
        altered(entry("r1"), policy=THOMPSON, is_exact=False),
        msgspec.structs.replace(entry("r2"), explored=None),
    ]
    with pytest.raises(BadInput, match=r"of 2 served entries 0 are used \(1 not explored, 1 estimated chances\)"):
        explored_answers(entries, Asked(Candidate(), BEFORE))


def test_answers_of_other_lengths_and_factors_stand_in_one_table() -> None:
    """Beyond an answer's positions chances are 1; a factor that an answer was given without added 0 to it."""
    other = msgspec.structs.replace(
        entry("r2", user="bob", shown=("TEA",)), factors=(("propensity", 1.0), ("age", 0.5))
    )
    answers, _ = explored_answers([entry(), other], Asked(Candidate(), BEFORE))
    found = decisions_of(answers, np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (len(found), found.positions, found.user.tolist(), found.size.tolist()) == (2, 2, [0, 1], [2, 1])
    assert (found.logged[1, 1], found.candidate[1, 1]) == (1, 1)
    # age, propensity, recency: as values, then as probabilities.
    assert found.shown.shape == (2, 2, 6)
    assert found.shown[0, 0, :3].tolist() == pytest.approx([0.0, 0.2, 0.4])
    assert found.shown[1, 0, :3].tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_entries_of_before_are_read_and_have_not_been_explored() -> None:
    """The field is left out of an entry's bytes where it says nothing, and read back whole where it does."""
    plain = msgspec.structs.replace(entry(), explored=None)
    assert b"explored" not in encode(plain)
    assert decode(encode(plain)).explored is None
    assert isinstance(entry().explored, Explored)
