"""Who is ranked when a request names nobody: the categories that all users together buy most."""

from behavior.aggregation import Aggregation
from behavior.plan import Feature, Plan
from deployment.snapshot import Snapshot

# The feature of category views that says how popular a category is, wherever the plan has it.
POPULARITY = Aggregation("count", "purchase", None, "30d")
POPULAR = 100


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
