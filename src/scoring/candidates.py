"""What is ranked: what the request names, else the categories that all users together buy most."""

from dataclasses import dataclass

from behavior.aggregation import Aggregation
from behavior.errors import BadInput
from behavior.plan import Feature, Plan
from behavior.served import CATEGORY
from deployment.snapshot import Snapshot
from scoring.request import ScoreRequest

# The feature of category views that says how popular a category is, wherever the plan has it.
POPULARITY = Aggregation("count", "purchase", None, "30d")
POPULAR = 100
# Where candidates come from.
OF_REQUEST, OF_POPULAR = "request", "popular"


@dataclass(frozen=True, slots=True)
class Candidates:
    """n things of one kind to be ranked.

    kind         `category` or `item`
    ids          n ids, each once
    categories   n, the category of each: of a category itself; of an item of which nobody knows, empty
    source       where they come from
    """

    kind: str
    ids: tuple[str, ...]
    categories: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        """How many."""
        return len(self.ids)


def candidates_of(request: ScoreRequest, most_bought: tuple[str, ...]) -> Candidates:
    """The candidates of a request. Raises BadInput if it names none and nothing is known to be popular."""
    if request.ids:
        return Candidates(CATEGORY, request.ids, request.ids, OF_REQUEST)
    if not most_bought:
        raise BadInput(
            "nothing says which categories are popular (no purchase in 30 days): name the candidates, "
            "or restore history with `opportune up --rebuild`"
        )
    return Candidates(CATEGORY, most_bought, most_bought, OF_POPULAR)


def popular(snapshot: Snapshot) -> tuple[str, ...]:
    """The POPULAR categories with most purchases in 30 days, most first, ties by id.

    Empty if none was bought, or if no feature of the plan counts them.
    """
    feature = _popularity(snapshot.plan)
    if feature is None:
        return ()
    name = feature.ref.partition(":")[0]
    ids = snapshot.ids(name)
    counts = snapshot.lookup(name, ids)[feature.ref]
    bought = [
        (-int(count), category)
        for category, count, known in zip(ids, counts.values, counts.valid, strict=True)
        if known and count > 0
    ]
    return tuple(category for _, category in sorted(bought)[:POPULAR])


def _popularity(plan: Plan) -> Feature | None:
    for view in plan.of_entity("category"):
        for feature in view.features:
            if feature.aggregation == POPULARITY:
                return feature
    return None
