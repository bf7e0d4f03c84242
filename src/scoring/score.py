"""The request path: from a user and candidates to a ranked, explained answer.

`score` is the whole of it, to be read aloud; every name in it is a function below or a room of its own.
"""

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from behavior.column import Column
from behavior.finals import Finals, KeptBlock
from behavior.moment import Moment
from behavior.personas import assign
from behavior.plan import ALL_ID, Plan, View
from behavior.served import ITEM, Basis
from deployment.clock import AsyncClock
from deployment.zone import offset_at
from scoring.answer import Answer, explained
from scoring.basis import basis_of
from scoring.budget import budget_of
from scoring.candidates import Candidates, candidates_of
from scoring.cross_keys import Context, local_words
from scoring.degradation import Circumstances, degradations
from scoring.exploring import Drawing, Rates
from scoring.factors import Evidence, views_read
from scoring.held_personas import fits
from scoring.journal import Journal
from scoring.memory import Held, Memory
from scoring.placements import Placement
from scoring.ranking import Ranking, Scored
from scoring.recall import Known, Recall
from scoring.request import ScoreRequest
from scoring.signals import signals_of, view_of
from scoring.stages import timed
from scoring.states import States


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scoring needs: where states are read, what is held and remembered, where answers are recorded."""

    states: States
    clock: AsyncClock
    memory: Memory
    journal: Journal
    recall: Recall = field(default_factory=Recall)


class Case(msgspec.Struct, frozen=True, eq=False):
    """What one answer is about: who asks what, where, of what is known of them and held, for the instant `as_of` (µs).

    due    when the answer must be out, an instant of `time.monotonic`
    """

    request: ScoreRequest
    held: Held
    placement: Placement
    known: Known
    as_of: int
    candidates: Candidates
    due: float


async def score(request: ScoreRequest, deps: Scoring, deadline: float | None = None) -> Answer:
    """The answer to a request; what was shown is on its way to the log when this returns.

    deadline    the caller's, as an instant of `time.monotonic`; None for the placement's

    Raises BadInput for a request that cannot be answered, NotReady without bundle or snapshot.
    """
    held = deps.memory.held()  # one bundle, snapshot, learner and configuration for the whole answer
    placement = held.placements.of(request.placement)  # an unknown one is refused before anything is read
    budget = budget_of(time.monotonic(), deadline, placement.deadline_ms)
    known = await deps.recall.know(request.user_id, budget, held.snapshot.plan, deps.states, deps.clock)
    as_of = max(known.now, known.offset + 1)  # states answer from here on
    candidates = candidates_of(request, placement, held.standing, known.state, as_of)
    case = Case(request, held, placement, known, as_of, candidates, budget.deadline)

    signals = signals_of(known.state.plan)
    blocks = blocks_of(case, views_read(placement, signals))
    finals = Finals(blocks)
    moment = moment_of(case, finals)
    persona = persona_of(case, finals)
    vector = held.bundle.assemble(finals, moment, candidates.categories)
    margins = held.bundle.predict(vector)
    believed, residuals = held.bundle.believed(margins), residuals_of(case, persona, moment)
    evidence = Evidence(
        request, placement, candidates, moment, persona, finals, believed, residuals, signals, held.standing,
        held.bundle.tables,
    )  # fmt: skip
    scored = Scored.of(evidence, vector, margins)

    shown = explained(held.bundle.inputs, finals, moment, candidates.categories) if request.explain else {}
    request_id = deps.journal.request_id(request.user_id, as_of)
    drawing = drawing_of(case, request_id, persona)
    ranked = scored.ranked(request.top_k, shown, held.standing, placement.diversity, drawing)
    basis = basis_of(request, candidates, moment, ranked, blocks, (known.state.plan, held.snapshot.plan))
    answer = answer_of(case, request_id, vector, persona, ranked, basis)
    deps.recall.tell(request.user_id, known, persona)
    deps.journal.record(answer)
    return answer


def answer_of(case: Case, request_id: str, vector: np.ndarray, persona: str, ranked: Ranking, basis: Basis) -> Answer:
    """What is answered and journalled, with what it had to do without."""
    held = case.held
    return Answer(
        request_id=request_id,
        user_id=case.request.user_id,
        placement=case.request.placement,
        as_of=case.as_of,
        offset=case.known.offset,
        s=held.snapshot.s,
        bundle_id=held.bundle.bundle_id,
        target=held.bundle.target,
        calibration=held.bundle.calibration,
        learner_version=held.residuals.version,
        ranked=ranked,
        degraded=degradations(
            Circumstances(
                case.known, held.snapshot, case.placement, case.as_of, vector, held.residuals.is_resting(persona)
            )
        ),
        persona=persona,
        candidates_from=case.candidates.sources,
        placements_id=held.placements.placements_id,
        due=case.due,
        basis=basis,
    )


def drawing_of(case: Case, request_id: str, persona: str) -> Drawing | None:
    """How the order is drawn; None where the placement does not explore."""
    said = case.placement.exploration
    return None if said is None else Drawing(request_id, said, rates_of(case, persona))


def rates_of(case: Case, persona: str) -> Rates:
    """What the learners know of the rates of candidates at some places: of items in the placement, of categories."""
    candidates, residuals = case.candidates, case.held.residuals

    def rates(places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        ids = [candidates.ids[place] for place in places]
        if candidates.kind == ITEM:
            return residuals.block_rates(persona, case.request.placement or "", ids, case.as_of)
        return residuals.rates(persona, ids, case.as_of)

    return rates


@timed("columns")
def blocks_of(case: Case, views: Set[str] = frozenset()) -> Sequence[KeptBlock]:
    """Final values of every view that is needed, and the raw values that they are made from.

    views   what is needed beside the views of the bundle, the personas and the moment: the factors'

    States are read under the plan of their own generation. While a rebuild moves partitions to the next one, that may
    be another than the snapshot's; the bundle's features are the same in both.
    """
    held, state, candidates, as_of = case.held, case.known.state, case.candidates, case.as_of
    of_personas = frozenset() if held.personas is None else held.personas.views
    wanted = _wanted(state.plan, held.snapshot.plan, held.bundle.views, of_personas, frozenset(views))
    blocks: list[KeptBlock] = [state.rows(view, candidates.categories, as_of) for view in wanted.of_user]
    for view in wanted.of_snapshot:
        asked = {"all": (ALL_ID,), "category": candidates.categories, "item": candidates.ids}[view.entity]
        blocks.append(held.snapshot.rows(view.name, asked))
    return blocks


class _Wanted(NamedTuple):
    """The views that an answer is made from."""

    of_user: tuple[View, ...]
    of_snapshot: tuple[View, ...]


@lru_cache(maxsize=64)  # placements weigh different factors
def _wanted(of_states: Plan, of_snapshot: Plan, *names: frozenset[str]) -> _Wanted:
    """The views of these names, and the one that says the user's offset."""
    offset = of_states.utc_offset
    wanted = frozenset({view_of(offset.ref)} if offset else ()).union(*names)
    return _Wanted(
        tuple(view for view in of_states.user_views if view.name in wanted),
        tuple(view for view in of_snapshot.snapshot_views if view.name in wanted),
    )


@timed("moment")
def moment_of(case: Case, finals: Mapping[str, Column]) -> Moment:
    """The request's instant and offset: stated, else the user's last known, else the zone that the model learned in."""
    t = np.array([case.as_of], dtype=np.int64)
    return Moment(t, np.array([_offset(case, finals)], dtype=np.int64))


def _offset(case: Case, finals: Mapping[str, Column]) -> int:
    request, plan = case.request, case.known.state.plan
    if request.utc_offset_s is not None:
        return request.utc_offset_s
    if request.zone is not None:
        return offset_at(request.zone, case.as_of)
    last_known = finals[plan.utc_offset.ref] if plan.utc_offset else None
    if last_known is not None and last_known.valid[0]:
        return int(last_known.values[0])
    return offset_at(case.held.bundle.zone, case.as_of)


def residuals_of(case: Case, persona: str, moment: Moment) -> np.ndarray:
    """What the learner corrects the candidates' margins by, float64[n]."""
    request, candidates = case.request, case.candidates
    daypart, weekday = local_words(case.as_of, int(moment.utc_offset_s[0]))
    context = Context(daypart, weekday, request.device, request.page, request.placement or "")
    return case.held.residuals.lookup(persona, context, candidates.kind, candidates.ids, candidates.categories)


@timed("persona")
def persona_of(case: Case, finals: Mapping[str, Column]) -> str:
    """The name of the user's persona; empty without personas, or while a rebuild moves to other definitions.

    Without the user's state it is the remembered one, if there still is a persona of that name.
    """
    personas, known = case.held.personas, case.known
    if personas is None or not fits(personas, known.state.plan):
        return ""
    if known.persona in personas.names:
        return known.persona
    return personas.name_of(int(assign(personas, finals)[0]))
