"""An answer made again from its journal entry and the bundle, and held against what the entry says, bit for bit.

    raw values ─▶ finalise ─▶ assemble ─▶ predict ─▶ calibrate ─▶ weigh ─▶ relevance
                                 │            │          │           │          │
                               vector      margins  propensities  factors    scores, order      equal?

The very functions of the request path. What the entry alone knows is taken from it: the learner's residuals (of the
version that it names), the persona, the weights of the factors, and the values of those factors that are made from how
things stood with everybody or from tables of the placement (`Factor.is_retraced`). An order that was drawn is drawn
again from what the entry says it was drawn from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from msgspec.structs import replace

from behavior.column import Column
from behavior.errors import Gone
from behavior.finals import finalise
from behavior.moment import Moment
from behavior.plan import Plan, View
from behavior.raw_rows import unpack
from behavior.served import CATEGORY, Basis, Served
from scoring.answer import Degradation, explained
from scoring.candidates import Candidates
from scoring.exploring import Position, as_journalled, drawn_again
from scoring.factors import FACTORS, Evidence, Weighed, relevance
from scoring.model import Bundle
from scoring.placements import Placement
from scoring.ranking import Ranking, Scored, propensity_of, rank
from scoring.request import ScoreRequest
from scoring.signals import signals_of
from scoring.standing import Standing


@dataclass(frozen=True, slots=True)
class Check:
    """Whether something made again equals what was journalled to the last bit; `detail` says where it does not."""

    name: str
    equal: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retraced:
    """An answer made again.

    ranked     what was shown, in the order of the entry, with everything as it is now
    checks     what was compared: vector, margins, propensities, factors, scores, order; exploration where it was drawn
    degraded   the reasons that the answer gave
    """

    ranked: Ranking
    checks: tuple[Check, ...]
    degraded: tuple[Degradation, ...]


def retrace(entry: Served, bundle: Bundle, plans: Mapping[str, Plan]) -> Retraced:
    """The answer of an entry made again with its bundle.

    plans      {fingerprint: plan}, those that the entry names

    Raises Gone if the entry is of a version that kept too little, or this version lacks a factor of it.
    """
    if entry.basis is None:
        raise Gone("the entry is of a version that did not keep what answers were made from; it cannot be made again")
    basis, candidates = entry.basis, candidates_of(entry)
    finals = final_columns(entry, basis, plans)
    moment = Moment(np.array([entry.as_of]), np.array([basis.utc_offset_s]))
    vector = bundle.assemble(finals, moment, candidates.categories)
    margins = bundle.predict(vector)
    believed = bundle.believed(margins)
    request = ScoreRequest(
        entry.user_id, candidates.ids, entry.placement, basis.utc_offset_s,
        kind=candidates.kind, device=basis.device, page=basis.page,
    )  # fmt: skip
    residuals = np.array([each.residual for each in entry.shown], dtype=np.float64)
    evidence = Evidence(
        request, Placement(), candidates, moment, entry.persona, finals, believed, residuals,
        signals_of(plans[basis.plan]), Standing(), bundle.tables,
    )  # fmt: skip
    weighed = _weighed(entry, evidence)
    scores = relevance(weighed, len(candidates))
    propensities = np.array([propensity_of(float(each)) for each in believed])
    shown = explained(bundle.inputs, finals, moment, candidates.categories)
    order = rank(scores, candidates.ids, 0)
    made = _Made(vector, margins, propensities, weighed, scores, order, drawn_again(entry))
    scored = Scored(candidates, vector, margins, believed, residuals, weighed, scores)
    m = len(candidates)
    ranking = scored.at(range(m), shown, marks=lambda *_: [()] * m, positions=[0] * m)
    ranking = replace(ranking, chances=[each.chance for each in made.drawn], explored=entry.explored)
    return Retraced(ranking, _checks(entry, made), tuple(Degradation(reason, "") for reason in entry.degraded))


def candidates_of(entry: Served) -> Candidates:
    """What was shown, in the order of positions."""
    ids = tuple(each.id for each in entry.shown)
    kind = entry.shown[0].kind if entry.shown else CATEGORY
    return Candidates(
        kind, ids, entry.categories or ids, tuple(entry.basis.candidates_from.split(",")) if entry.basis else ()
    )


def final_columns(entry: Served, basis: Basis, plans: Mapping[str, Plan]) -> dict[str, Column]:
    """Final values of every view that was read, at the instant that it was read for."""
    finals: dict[str, Column] = {}
    for rows in basis.raws:
        view, t = _view(rows.view, basis, plans), entry.as_of
        if view.is_snapshot:
            t = entry.s
        raw, seen_e = unpack(view, rows)
        finals |= finalise(view, raw, seen_e, np.full(len(seen_e), t - t % view.interval_us, dtype=np.int64))
    return finals


def _view(name: str, basis: Basis, plans: Mapping[str, Plan]) -> View:
    """The view as it was defined then; a view of the snapshot by the snapshot's plan."""
    of_states, of_snapshot = plans[basis.plan], plans[basis.snapshot_plan or basis.plan]
    view = of_states.view(name)
    return of_snapshot.view(name) if view.is_snapshot else view


def _weighed(entry: Served, evidence: Evidence) -> list[Weighed]:
    """The entry's factors with its weights, made again where they can be, else with the values that were journalled."""
    factors = {factor.name: factor for factor in FACTORS}
    columns = np.frombuffer(entry.values, dtype="<f8").reshape(len(entry.shown), -1).T if entry.factors else ()
    weighed = []
    for (name, weight), journalled in zip(entry.factors, columns, strict=False):
        if name not in factors:
            raise Gone(f"this version has no factor {name}; explain the answer with the version that gave it")
        made = factors[name].of(evidence) if factors[name].is_retraced else journalled
        if made is None:
            raise Gone(f"there is nothing to make the factor {name} from any more; restore the bundle that had it")
        weighed.append(Weighed(name, weight, made, weight * made))
    return weighed


@dataclass(frozen=True, slots=True)
class _Made:
    """Everything made again of m candidates."""

    vector: np.ndarray
    margins: np.ndarray
    propensities: np.ndarray
    weighed: Sequence[Weighed]
    scores: np.ndarray
    order: Sequence[int]
    drawn: Sequence[Position]


def _checks(entry: Served, made: _Made) -> tuple[Check, ...]:
    """What was made again beside what was journalled, as bytes: so NaN equals NaN, and 0 is not -0."""
    shown, m = entry.shown, len(entry.shown)
    values = np.stack([each.values for each in made.weighed], axis=1) if made.weighed else np.zeros((m, 0))
    names = tuple((each.name, each.weight) for each in made.weighed)
    pairs: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("vector", [row.astype("<f4").tobytes() for row in made.vector], [each.vector for each in shown]),
        ("margins", _bits(made.margins), _bits([each.margin for each in shown])),
        ("propensities", _bits(made.propensities), _rows(entry.propensities, m)),
        ("factors", [(names, row) for row in _rows(_float64(values), m)],
         [(entry.factors, row) for row in _rows(entry.values, m)]),
        ("scores", _bits(made.scores), _bits([each.score for each in shown])),
        ("order", list(made.order), _order_by_score(entry)),
    ]  # fmt: skip
    if entry.explored is not None:
        pairs.append(("exploration", made.drawn, as_journalled(entry)))
    return tuple(starmap(_check, pairs))


def _order_by_score(entry: Served) -> list[int]:
    """The places of what was shown as the scores alone had them; what mixes a ranking is no part of the scores."""
    positions = entry.relevance_positions or range(len(entry.shown))
    return sorted(range(len(entry.shown)), key=positions.__getitem__)


def _check(name: str, made: Sequence[object], journalled: Sequence[object]) -> Check:
    if len(made) != len(journalled):
        return Check(name, False, f"{len(journalled)} were journalled, {len(made)} are made")
    wrong = [place for place, pair in enumerate(zip(made, journalled, strict=True), 1) if pair[0] != pair[1]]
    return Check(name, not wrong, f"at position {', '.join(map(str, wrong))}" if wrong else "")


def _float64(values: "np.ndarray | Sequence[float]") -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def _bits(values: "np.ndarray | Sequence[float]") -> list[bytes]:
    return _rows(_float64(values), len(values))


def _rows(data: bytes, m: int) -> list[bytes]:
    """m equal parts; one part that equals nothing if there are none such."""
    if m == 0 or len(data) % m:
        return [data] if data else []
    width = len(data) // m
    return [data[place * width : (place + 1) * width] for place in range(m)]
