"""Served entries as decisions: which of them can be evaluated, and what the candidate would have done.

entries, one at a time ──▶ usable? ──▶ chances of what was shown, logged and of the candidate ──▶ Decisions
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.calibration import propensities
from behavior.errors import BadInput
from behavior.served import Explored, Served
from training.journal_rows import Accounting
from training.ope.candidate import Candidate, logged_policy
from training.ope.decisions import Decisions, compared
from training.ope.policies import Policy, of_drawn

# Why an entry is left out, in the order in which it is asked.
ELSEWHERE, TOO_EARLY, OPEN = "elsewhere", "before --since", "window not over"
NOT_EXPLORED, ESTIMATED, BROKEN = "not explored", "estimated chances", "broken entry"
UNWEIGHED, OTHERWISE, REPEATED = "factor without values", "chances not of their policy", "repeated request"
REASONS = (ELSEWHERE, TOO_EARLY, OPEN, NOT_EXPLORED, ESTIMATED, BROKEN, UNWEIGHED, OTHERWISE, REPEATED)
# Relative, for chances that are computed anew: sums of a few hundred rounded numbers.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Asked:
    """What is evaluated: the candidate, on answers of since <= as_of < before (µs).

    placement   answers of this one only; None takes all
    positions   the first ones of each answer, and what came of them; None takes all that were drawn
    """

    candidate: Candidate
    before: int
    since: int = 0
    placement: str | None = None
    positions: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is kept of an entry of m positions and f factors; the arrays are those of `Decisions`, inputs [m, 2, f]."""

    request_id: str
    user_id: str
    as_of: int
    kind: str
    ids: tuple[str, ...]
    factors: tuple[str, ...]
    pool: int
    logged: np.ndarray
    candidate: np.ndarray
    unsupported: np.ndarray
    shown: np.ndarray
    expected: np.ndarray
    expected_of_log: np.ndarray


def explored_answers(entries: Iterable[Served], asked: Asked) -> tuple[list[Answer], Accounting]:
    """The entries that can be evaluated, and what became of the others; of a repeated request the first.

    Raises BadInput with the reasons if there is none.
    """
    answers: dict[str, Answer] = {}
    left_out, read = Counter[str](), 0
    for entry in entries:
        read += 1
        reason = REPEATED if entry.request_id in answers else _unfit(entry, asked)
        found = reason or _answer(entry, asked)
        if isinstance(found, Answer):
            answers[entry.request_id] = found
        else:
            left_out[found] += 1
    told = {reason: left_out[reason] for reason in REASONS if left_out[reason]}
    accounting = Accounting(read, len(answers), sum(len(each.ids) for each in answers.values()), told)
    if not answers:
        raise BadInput(
            f"the journal has nothing to evaluate by: {accounting}; answers must have been explored with "
            "epsilon-greedy or plackett-luce, whose chances are exact, and their window must be over"
        )
    return list(answers.values()), accounting


def decisions_of(answers: Sequence[Answer], rewards: np.ndarray) -> Decisions:
    """The answers as arrays; `rewards` float64[n, m] are of their positions, 0 beyond."""
    n, m = rewards.shape
    factors = sorted({name for each in answers for name in each.factors})
    place = {name: number for number, name in enumerate(factors)}
    users = np.unique([each.user_id for each in answers], return_inverse=True)[1]
    logged, candidate, unsupported = np.ones((n, m)), np.ones((n, m)), np.zeros((n, m))
    told = np.zeros((3, n, m, 2, len(factors)), dtype=np.float32)
    for row, each in enumerate(answers):
        own, columns = slice(len(each.ids)), [place[name] for name in each.factors]
        logged[row, own], candidate[row, own] = each.logged, each.candidate
        unsupported[row, own] = each.unsupported
        # A factor that an answer was given without added nothing: 0.
        told[:, row, own][..., columns] = (each.shown, each.expected, each.expected_of_log)
    size = np.array([len(each.ids) for each in answers], dtype=np.int64)
    return Decisions(users.astype(np.int64), size, rewards, logged, candidate, unsupported, *told.reshape(3, n, m, -1))


def _unfit(entry: Served, asked: Asked) -> str:
    """The reason why an entry is not one of those that are asked for, or cannot be used whatever it holds."""
    if asked.placement is not None and entry.placement != asked.placement:
        return ELSEWHERE
    if entry.as_of < asked.since:
        return TOO_EARLY
    if entry.as_of >= asked.before:
        return OPEN
    if entry.explored is None or not entry.shown:
        return NOT_EXPLORED
    return "" if entry.explored.is_exact else ESTIMATED


def _answer(entry: Served, asked: Asked) -> Answer | str:
    """What an explored entry says if it can be used, else the reason why not."""
    explored = entry.explored
    assert explored is not None
    policy = logged_policy(explored.policy, explored.strength)
    found = _arrays(entry, explored)
    if policy is None or found is None:
        return BROKEN
    drawn, chances, values = found
    candidate = asked.candidate
    if candidate.unknown(entry.factors):
        return UNWEIGHED
    kept = policy.chances(Candidate().scores(entry.factors, values), drawn)
    if (np.abs(of_drawn(kept, drawn) - chances) > _SAME * chances).any():
        return OTHERWISE
    first = slice(asked.positions)
    return _compared(entry, candidate, candidate.policy or policy, (drawn[first], chances[first], kept[first]), values)


def _compared(
    entry: Served,
    candidate: Candidate,
    policy: Policy,
    of_log: tuple[np.ndarray, np.ndarray, np.ndarray],
    values: np.ndarray,
) -> Answer:
    drawn, chances, kept = of_log
    would = policy.chances(candidate.scores(entry.factors, values), drawn)
    # Values are logits: as probabilities too, a linear model can follow both.
    inputs = np.hstack([values, propensities(values)])
    unsupported, *told = compared(kept, would, inputs, drawn)
    m, names = len(drawn), tuple(name for name, _ in entry.factors)
    return Answer(
        entry.request_id, entry.user_id, entry.as_of, entry.shown[0].kind, tuple(each.id for each in entry.shown[:m]),
        names, len(values), chances, of_drawn(would, drawn), unsupported, *(each.reshape(m, 2, -1) for each in told),
    )  # fmt: skip


def _arrays(entry: Served, explored: Explored) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What was drawn int64[m], by which chances float64[m], and the pool's values float64[p, f]; None if not whole.

    What stands behind the last of the pool was not drawn, and is no part of the decision.
    """
    pool, factors = explored.pool, len(entry.factors)
    m = min(len(entry.shown), len(pool))
    place = {name: number for number, name in enumerate(pool)}
    ids = [each.id for each in entry.shown[:m]]
    sizes = len(explored.chances) == 8 * len(entry.shown) and len(explored.values) == 8 * len(pool) * factors
    if not (sizes and m and factors) or not set(ids) <= set(place) or len(set(ids)) < m or len(place) < len(pool):
        return None
    chances = np.frombuffer(explored.chances, "<f8")[:m]
    values = np.frombuffer(explored.values, "<f8").reshape(len(pool), factors)
    if not (np.isfinite(values).all() and (chances > 0).all() and (chances <= 1).all()):
        return None
    return np.array([place[each] for each in ids], dtype=np.int64), chances, values
