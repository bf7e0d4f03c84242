"""The snapshot: category and `all` values of the whole deployment at one instant, made from all partitions."""

from collections.abc import Mapping, Sequence

from behavior import state
from behavior.column import Column
from behavior.plan import Plan, View
from behavior.state import State
from deployment.snapshot import Snapshot, SnapshotView
from scoring.partition_states import PartitionStates, merged


class Publisher:
    """Merges the partials of all partitions, again only where something changed since the last time."""

    def __init__(self, plan: Plan) -> None:
        self._views = [view for view in plan.views if view.is_snapshot]
        self._merged: dict[bytes, State] = {}

    def snapshot(self, s: int, partitions: Sequence[PartitionStates]) -> Snapshot:
        """The values at instant s; every partition must have folded all that lies before s, and nothing after."""
        touched = set[bytes]().union(*(partition.unpublished for partition in partitions))
        by_name = {view.name: view for view in self._views}
        for name in touched:
            view = by_name[name.partition(b"|")[0].decode()]
            whole = merged(view, (partition.partials.get(name, []) for partition in partitions))
            if whole is not None:
                self._merged[name] = whole
        for partition in partitions:
            partition.unpublished.clear()
        return Snapshot(s, {view.name: _columns(view, self._of(view), s) for view in self._views})

    def _of(self, view: View) -> dict[str, State]:
        prefix = f"{view.name}|".encode()
        names = sorted(name for name in self._merged if name.startswith(prefix))
        return {name[len(prefix) :].decode(): self._merged[name] for name in names}


def _columns(view: View, states: Mapping[str, State], s: int) -> SnapshotView:
    rows = [state.raw_at(view, each, s) for each in states.values()]
    raw = {
        feature.name: Column.of([row[place] for row in rows], feature.raw_dtype)
        for place, feature in enumerate(view.features)
    }
    return SnapshotView(list(states), raw, Column.of([each.seen_e for each in states.values()], "int64"))
