"""Reading the published snapshot into memory: whole, or by what changed since.

The commands and what their answers mean are here; who sends them, blocking or in an event loop, is the caller's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from behavior.plan import Plan
from deployment.keys import Keys
from deployment.snapshot import Snapshot, SnapshotView

_changes = msgspec.msgpack.Decoder(dict[str, dict[bytes, bytes]])


def ask_whole(pipeline: Any, keys: Keys, generation: int, plan: Plan) -> None:
    """Queue the commands whose answers `whole` takes."""
    pipeline.hget(keys.snapshot(generation), "s")
    for view in plan.snapshot_views:
        pipeline.hgetall(keys.rows(generation, view.name))
    pipeline.hget(keys.snapshot(generation), "s")


def whole(plan: Plan, answers: Sequence[Any]) -> Snapshot | None:
    """The snapshot; None if none was published yet, or the next one was meanwhile: then it is asked again."""
    s, *hashes, still = answers
    if s is None or s != still:
        return None
    views = {
        view.name: SnapshotView.of(view, {entity.decode(): row for entity, row in rows.items()})
        for view, rows in zip(plan.snapshot_views, hashes, strict=True)
    }
    return Snapshot(int(s), plan, views)


def brought_up(snapshot: Snapshot, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> Snapshot | None:
    """The snapshot with the changes that were published since; None if they do not connect, and all must be read.

    entries    of the stream of changes, those after the snapshot's instant
    """
    rows: dict[str, dict[str, bytes]] = {}
    s = snapshot.s
    for entry_id, fields in entries:
        if int(fields[b"from"]) != s or not fields[b"b"]:
            return None
        s = int(entry_id.partition(b"-")[0])
        for name, changed in _changes.decode(fields[b"b"]).items():
            rows.setdefault(name, {}).update({entity.decode(): row for entity, row in changed.items()})
    if s == snapshot.s:
        return None
    plan = snapshot.plan
    views = {
        name: part.updated(plan.view(name), rows[name]) if rows.get(name) else part
        for name, part in snapshot.views.items()
    }
    return Snapshot(s, plan, views)
