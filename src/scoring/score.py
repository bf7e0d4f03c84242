"""The request path: from a user and candidates to a ranked, explained answer.

`score` is the whole of it, to be read aloud; every name in it is a function below or a room of its own.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np

from behavior.column import Column
from behavior.moment import Moment, choose_offset
from behavior.personas import Personas, assign
from behavior.plan import ALL_ID, Feature, Plan
from deployment.clock import AsyncClock
from deployment.user_state import UserState
from deployment.zone import offsets_at
from scoring.answer import Answer, Scored, explained
from scoring.budget import budget_of
from scoring.candidates import Candidates, candidates_of
from scoring.degradation import Circumstances, degradations
from scoring.factors import Evidence, relevance, weigh
from scoring.held_personas import fits
from scoring.journal import Journal
from scoring.memory import Held, Memory
from scoring.model import Bundle
from scoring.recall import Known, Recall
from scoring.request import ScoreRequest
from scoring.states import States


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scoring needs: where states are read, what is held and remembered, where answers are recorded."""

    states: States
    clock: AsyncClock
    memory: Memory
    journal: Journal
    recall: Recall = field(default_factory=Recall)


async def score(request: ScoreRequest, deps: Scoring, deadline: float | None = None) -> Answer:
    """The answer to a request; what was shown is on its way to the log when this returns.

    deadline    the caller's, as an instant of `time.monotonic`; None for the placement's

    Raises BadInput for a request that cannot be answered, NotReady without bundle or snapshot.
    """
    held = deps.memory.held()  # one bundle, snapshot, learner and configuration for the whole answer
    placement = held.placements.of(request.placement)
    budget = budget_of(time.monotonic(), deadline, placement.deadline_ms)
    known = await deps.recall.know(request.user_id, budget, held.snapshot.plan, deps.states, deps.clock)
    as_of = max(known.now, known.offset + 1)  # states answer from here on
    candidates = candidates_of(request, held.popular)

    finals = final_columns(held, known.state, candidates, as_of)
    moment = moment_of(request, known.state.plan, held.bundle, finals, as_of)
    persona = persona_of(held.personas, known, finals)
    vector = held.bundle.assemble(finals, moment, candidates.categories)
    margins = held.bundle.predict(vector)
    believed = held.bundle.believed(margins)
    residuals = held.residuals.lookup(candidates.categories)
    weighed = weigh(Evidence(request, placement, candidates, moment, persona, finals, believed, residuals))
    scored = Scored(candidates, vector, margins, believed, residuals, weighed, relevance(weighed))

    shown = explained(held.bundle.inputs, finals, moment, candidates.categories) if request.explain else {}
    answer = Answer(
        request_id=uuid4().hex,
        user_id=request.user_id,
        placement=request.placement,
        as_of=as_of,
        offset=known.offset,
        s=held.snapshot.s,
        bundle_id=held.bundle.bundle_id,
        target=held.bundle.target,
        calibration=held.bundle.calibration,
        learner_version=held.residuals.version,
        ranked=scored.ranked(request.top_k, shown),
        degraded=degradations(Circumstances(known, held.snapshot, placement, as_of, vector)),
        persona=persona,
        due=budget.deadline,
    )
    deps.recall.tell(request.user_id, known, persona)
    deps.journal.record(answer)
    return answer


def final_columns(held: Held, state: UserState, candidates: Candidates, as_of: int) -> dict[str, Column]:
    """Final values of every view that the bundle, personas or the moment need; one row for what all candidates share.

    States are read under the plan of their own generation. While a rebuild moves partitions to the next one, that may
    be another than the snapshot's; the bundle's features are the same in both.
    """
    offset = state.plan.utc_offset
    finals: dict[str, Column] = {}
    wanted = held.bundle.views | ({_view_of(offset)} if offset else set())
    if held.personas is not None:
        wanted = wanted | held.personas.views
    for view in state.plan.user_views:
        if view.name in wanted:
            finals |= state.columns(view, candidates.categories, as_of)
    for view in held.snapshot.plan.snapshot_views:
        if view.name in wanted:
            asked = {"all": (ALL_ID,), "category": candidates.categories, "item": candidates.ids}[view.entity]
            finals |= held.snapshot.lookup(view.name, asked)
    return finals


def moment_of(request: ScoreRequest, plan: Plan, bundle: Bundle, finals: Mapping[str, Column], as_of: int) -> Moment:
    """The request's instant and offset: stated, else the user's last known, else the zone that the model learned in."""
    t = np.array([as_of], dtype=np.int64)
    stated = request.utc_offset_s
    if stated is None and request.zone is not None:
        stated = int(offsets_at(request.zone, t)[0])
    last_known = finals[plan.utc_offset.ref] if plan.utc_offset else Column.of([None], "int64")
    return Moment(t, choose_offset(Column.of([stated], "int64"), last_known, offsets_at(bundle.zone, t)))


def persona_of(personas: Personas | None, known: Known, finals: Mapping[str, Column]) -> str:
    """The name of the user's persona; empty without personas, or while a rebuild moves to other definitions.

    Without the user's state it is the remembered one, if there still is a persona of that name.
    """
    if personas is None or not fits(personas, known.state.plan):
        return ""
    if known.persona in personas.names:
        return known.persona
    return personas.name_of(int(assign(personas, finals)[0]))


def _view_of(feature: Feature) -> str:
    return feature.ref.partition(":")[0]
