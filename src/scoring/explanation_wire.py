"""From an explanation to the message that Explain answers."""

import numpy as np

from behavior.event import Admitted
from scoring.explaining import Explanation
from scoring.ranking import Ranked
from scoring.v1 import scoring_pb2 as wire
from scoring.wire import set_instant, write_exploration, write_ranked


def write_explanation(explanation: Explanation) -> wire.ExplainResponse:
    """The explanation as a message."""
    entry, retraced = explanation.entry, explanation.retraced
    response = wire.ExplainResponse(
        request_id=entry.request_id,
        user=entry.user_id,
        bundle_id=entry.bundle_id,
        learner_version=entry.learner_version,
        placement=entry.placement or "",
        persona=entry.persona,
        degraded=[wire.Degradation(reason=each.reason, detail=each.detail) for each in retraced.degraded],
        found_in=explanation.found.place,
        equal=all(check.equal for check in retraced.checks),
        checks=[wire.Check(name=each.name, equal=each.equal, detail=each.detail) for each in retraced.checks],
        shown=[_shown(place, each, explanation) for place, each in enumerate(retraced.ranked, 1)],
        events=[_event(each) for each in explanation.events or ()],
    )
    if entry.basis is not None:
        basis = entry.basis
        response.utc_offset_s, response.device, response.page = basis.utc_offset_s, basis.device, basis.page
        response.candidates_from = basis.candidates_from
    if entry.explored is not None:
        response.exploration.CopyFrom(write_exploration(entry.explored))
    set_instant(response.as_of, entry.as_of)
    set_instant(response.snapshot_instant, entry.s)
    if entry.offset:
        set_instant(response.folded_until, entry.offset)
    return response


def _shown(position: int, ranked: Ranked, explanation: Explanation) -> wire.Shown:
    return wire.Shown(
        ranked=write_ranked(position, ranked, explanation.target, explanation.calibrated),
        margin=ranked.margin,
        residual=ranked.residual,
        vector=np.frombuffer(ranked.vector, dtype="<f4").tolist(),
    )


def _event(event: Admitted) -> wire.PastEvent:
    said = event.event
    message = wire.PastEvent(
        message_id=said.message_id, kind=said.kind, item=said.item, category=said.category, value_minor=said.value
    )
    set_instant(message.event_time, event.e)
    set_instant(message.admitted_at, event.k)
    return message
