"""What an answer was made from, as its journal entry keeps it: the raw values of what was shown, and the moment."""

from collections.abc import Sequence

from behavior.finals import KeptBlock
from behavior.moment import Moment
from behavior.plan import Plan
from behavior.served import Basis
from scoring.candidates import Candidates
from scoring.ranking import Ranking
from scoring.request import ScoreRequest


def basis_of(
    request: ScoreRequest,
    candidates: Candidates,
    moment: Moment,
    ranked: Ranking,
    blocks: Sequence[KeptBlock],
    plans: tuple[Plan, Plan],
) -> Basis:
    """The basis of an answer that shows `ranked`, of all candidates; `plans` are those of the states, the snapshot."""
    of_states, of_snapshot = (plan.fingerprint for plan in plans)
    return Basis(
        utc_offset_s=int(moment.utc_offset_s[0]),
        plan=of_states,
        raws=tuple(block.raw_rows(ranked.places) for block in blocks),
        snapshot_plan="" if of_snapshot == of_states else of_snapshot,
        candidates_from=",".join(candidates.sources),
        device=request.device,
        page=request.page,
    )
