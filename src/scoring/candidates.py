"""What is ranked: what the request names, else what the placement offers, from one source after the other."""

from collections.abc import Sequence

import msgspec
import numpy as np

from behavior.errors import BadInput
from behavior.served import CATEGORY
from deployment.user_state import UserState
from scoring.placements import OF_CONFIGURATION, OF_REQUEST, OF_USER, Placement, Source
from scoring.request import ScoreRequest
from scoring.signals import signals_of, view_of
from scoring.standing import Standing


class Candidates(msgspec.Struct, frozen=True):
    """n things of one kind to be ranked.

    kind         `category` or `item`
    ids          n ids, each once
    categories   n, the category of each: of a category itself; of an item of which nobody knows, empty
    sources      where they come from: those that had something to offer
    """

    kind: str
    ids: tuple[str, ...]
    categories: tuple[str, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        """How many."""
        return len(self.ids)


def candidates_of(
    request: ScoreRequest, placement: Placement, standing: Standing, state: UserState, as_of: int
) -> Candidates:
    """The candidates of a request. Raises BadInput if it names none and no source of the placement has any."""
    kind, ids = request.kind, request.ids
    sources: tuple[str, ...] = (OF_REQUEST,)
    if not ids:
        kind = placement.kind
        ids, sources = _offered(placement, standing, state, as_of)
    if kind == CATEGORY:
        return Candidates(kind, ids, ids, sources)
    stated = request.categories
    return Candidates(kind, ids, tuple(stated.get(each) or standing.category_of(each) for each in ids), sources)


def own_categories(state: UserState, as_of: int) -> list[str]:
    """The categories that the user is drawn to, most first, ties by id: by the plan's affinity, else by purchases."""
    ref = signals_of(state.plan).taste
    if ref is None:
        return []
    categories = state.categories()
    column = state.columns(state.plan.view(view_of(ref)), categories, as_of)[ref]
    drawn = np.where(column.valid, column.values, 0)
    order = np.argsort(-drawn, kind="stable")  # the categories are in the order of their ids
    return [categories[place] for place in order.tolist() if drawn[place] > 0]


def _offered(
    placement: Placement, standing: Standing, state: UserState, as_of: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    offered: dict[str, None] = {}
    sources = []
    for source in placement.candidates:
        new = [each for each in _from(source, placement, standing, state, as_of) if each not in offered][: source.most]
        if new:
            offered |= dict.fromkeys(new)
            sources.append(source.source)
    if not offered:
        raise BadInput(
            "nothing says which "
            f"{'categories' if placement.kind == CATEGORY else 'items'} to rank (no purchase in 30 days): name the "
            "candidates, or restore history with `opportune up --rebuild`"
        )
    return tuple(offered), tuple(sources)


def _from(source: Source, placement: Placement, standing: Standing, state: UserState, as_of: int) -> Sequence[str]:
    if source.source == OF_CONFIGURATION:
        return placement.ids
    if source.source == OF_USER:
        return own_categories(state, as_of)
    return standing.popular.get(placement.kind, ())
