"""The request path: from a user and candidates to a ranked, explained answer.

`score` is the whole of it, to be read aloud; every name in it is a function below or a room of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from behavior.column import Column
from behavior.event import SECOND_US
from behavior.moment import Moment, choose_offset
from behavior.personas import Personas, assign
from behavior.plan import ALL_ID, Feature, Plan
from behavior.raw_rows import RawMatrix
from deployment.clock import AsyncClock
from deployment.snapshot import Snapshot
from deployment.user_state import UserState
from deployment.zone import offsets_at
from scoring.answer import Answer, Degradation, Scored, explained
from scoring.basis import basis_of
from scoring.candidates import Candidates, candidates_of
from scoring.factors import Evidence, relevance, weigh
from scoring.held_personas import fits
from scoring.journal import Journal
from scoring.memory import Held, Memory
from scoring.model import Bundle
from scoring.request import ScoreRequest
from scoring.states import States

# A snapshot that lags by more of its intervals than this is declared stale.
STALE_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scoring needs: where states are read, what is held in memory, where answers are recorded."""

    states: States
    clock: AsyncClock
    memory: Memory
    journal: Journal


async def score(request: ScoreRequest, deps: Scoring) -> Answer:
    """The answer to a request; what was shown is on its way to the log when this returns.

    Raises BadInput for a request that cannot be answered, NotReady without bundle or snapshot, redis.RedisError.
    """
    held = deps.memory.held()  # one bundle, snapshot, learner and configuration for the whole answer
    placement = held.placements.of(request.placement)
    read = await deps.states.read(request.user_id)  # one round trip
    as_of = max(await deps.clock.now(), read.offset + 1)  # states answer from here on
    candidates = candidates_of(request, held.popular)

    finals, raws = final_columns(held, read.state, candidates, as_of)
    moment = moment_of(request, read.state.plan, held.bundle, finals, as_of)
    persona = persona_of(held.personas, read.state.plan, finals)
    vector = held.bundle.assemble(finals, moment, candidates.categories)
    margins = held.bundle.predict(vector)
    believed = held.bundle.believed(margins)
    residuals = held.residuals.lookup(candidates.categories)
    weighed = weigh(Evidence(request, placement, candidates, moment, persona, finals, believed, residuals))
    scored = Scored(candidates, vector, margins, believed, residuals, weighed, relevance(weighed))

    shown = explained(held.bundle.inputs, finals, moment, candidates.categories) if request.explain else {}
    ranked = scored.ranked(request.top_k, shown)
    answer = Answer(
        request_id=deps.journal.request_id(request.user_id, as_of),
        user_id=request.user_id,
        placement=request.placement,
        as_of=as_of,
        offset=read.offset,
        s=held.snapshot.s,
        bundle_id=held.bundle.bundle_id,
        target=held.bundle.target,
        calibration=held.bundle.calibration,
        learner_version=held.residuals.version,
        ranked=ranked,
        degraded=tuple(degradations(read.state, held.snapshot, as_of)),
        persona=persona,
        basis=basis_of(request, candidates, moment, ranked, raws, (read.state.plan, held.snapshot.plan)),
    )
    deps.journal.record(answer)
    return answer


def final_columns(
    held: Held, state: UserState, candidates: Candidates, as_of: int
) -> tuple[dict[str, Column], list[RawMatrix]]:
    """Final values of every view that the bundle, personas or the moment need; one row for what all candidates share.

    Beside them the raw values of the same views.

    States are read under the plan of their own generation. While a rebuild moves partitions to the next one, that may
    be another than the snapshot's; the bundle's features are the same in both.
    """
    offset = state.plan.utc_offset
    finals: dict[str, Column] = {}
    raws: list[RawMatrix] = []
    wanted = held.bundle.views | ({_view_of(offset)} if offset else set())
    if held.personas is not None:
        wanted = wanted | held.personas.views
    for view in state.plan.user_views:
        if view.name in wanted:
            found, raw = state.found(view, candidates.categories, as_of)
            finals |= found
            raws.append(raw)
    for view in held.snapshot.plan.snapshot_views:
        if view.name in wanted:
            asked = {"all": (ALL_ID,), "category": candidates.categories, "item": candidates.ids}[view.entity]
            found, raw = held.snapshot.found(view.name, asked)
            finals |= found
            raws.append(raw)
    return finals, raws


def moment_of(request: ScoreRequest, plan: Plan, bundle: Bundle, finals: Mapping[str, Column], as_of: int) -> Moment:
    """The request's instant and offset: stated, else the user's last known, else the zone that the model learned in."""
    t = np.array([as_of], dtype=np.int64)
    stated = request.utc_offset_s
    if stated is None and request.zone is not None:
        stated = int(offsets_at(request.zone, t)[0])
    last_known = finals[plan.utc_offset.ref] if plan.utc_offset else Column.of([None], "int64")
    return Moment(t, choose_offset(Column.of([stated], "int64"), last_known, offsets_at(bundle.zone, t)))


def persona_of(personas: Personas | None, plan: Plan, finals: Mapping[str, Column]) -> str:
    """The name of the user's persona; empty without personas, or while a rebuild moves to other definitions."""
    if personas is None or not fits(personas, plan):
        return ""
    return personas.name_of(int(assign(personas, finals)[0]))


def degradations(state: UserState, snapshot: Snapshot, as_of: int) -> list[Degradation]:
    """What the answer has to do without."""
    found = []
    if not state.fields:
        found.append(Degradation("unknown_user", "nothing is known of this user; ranked by what is known of all"))
    lag_us = as_of - snapshot.s
    if lag_us > STALE_INTERVALS * snapshot.plan.interval_us:
        found.append(Degradation("snapshot_stale", f"values of categories are {lag_us / SECOND_US:.0f} s old"))
    return found


def _view_of(feature: Feature) -> str:
    return feature.ref.partition(":")[0]
