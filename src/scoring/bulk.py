"""From the archive to the states of a generation in bulk: what `fold` would have made of the same events.

    events with k < s0   ──▶ user states, whole states of snapshot views (in the order of k over all partitions)
    events from s0 on    ──▶ user states, and deltas of the intervals that are still to be published

The very code that folds live events folds the archive; only the writing is in bulk. Afterwards an ordinary fold goes on
from each partition's offset, and an ordinary publisher from s0.

The two are apart from each other: `snapshot_apart` fills the snapshot in a process of its own, which is this module as
a program, while the caller fills the partitions.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from behavior import state
from behavior.errors import OpportuneError
from behavior.event import Admitted
from behavior.plan import Plan
from behavior.state import State
from deployment.archive import Archive, to_events
from deployment.connections import connect
from deployment.database import connected
from deployment.generations import Plans
from deployment.keys import Keys
from deployment.leash import leashed
from deployment.settings import Settings, load
from scoring.partition_states import PartitionStates, field_of
from scoring.publishing import Wholes

# Rows that are Python objects at once, and commands sent to Redis at once.
_ROWS = 50_000
_COMMANDS = 1_000
_MEMORY = "1GB"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Filled:
    """What was filled: events and users of one partition, and the last admission instant among them (0 if none)."""

    events: int
    users: int
    last_k: int


def fill_partition(
    client: Any, keys: Keys, generation: int, plan: Plan, number: int, table: pa.Table, s0: int
) -> Filled:
    """Write the user states of a partition's events, its deltas from s0 on, and its place; `table` is in log order."""
    states = PartitionStates(plan)
    for event in _events(table.filter(pc.less(table["k"], s0))):
        states.add_to_user(event)
    for event in _events(table.filter(pc.greater_equal(table["k"], s0))):
        states.add(event)
    last_k = max(pc.max(table["k"]).as_py() or 0, s0 - 1)
    with client.pipeline(transaction=False) as together:
        for user, fields in states.encoded_users().items():
            key = keys.user(number, generation, user)
            together.hset(key, mapping=fields)
            together.pexpire(key, plan.retention_us // 1000)
            if len(together) >= _COMMANDS:
                together.execute()
        deltas = states.encoded_deltas()
        if deltas:
            together.hset(keys.deltas(number, generation), mapping=deltas)
        together.hset(keys.place(number, generation), mapping={"offset": last_k, "s": s0})
        together.execute()
    return Filled(table.num_rows, len(states.users), last_k)


def fill_snapshot(
    client: Any, keys: Keys, generation: int, plan: Plan, archive: Archive, s0: int, progress: Progress
) -> None:
    """Write the snapshot at s0: whole states and rows of every event with k < s0."""
    wholes: dict[bytes, State] = {}
    for event in _in_order(archive, s0, progress):
        for view in plan.snapshot_views:
            if state.belongs(view, event):
                name = field_of(view, event.event)
                wholes[name] = state.fold(view, wholes.get(name), event)
    names = sorted(wholes)
    made = Wholes(plan)
    encoded = state.encode_all([(plan.lettered(name), wholes[name]) for name in names]) if names else []
    made.stored.update(zip(names, encoded, strict=True))
    rows = made.rows_at(s0, names)
    with client.pipeline(transaction=False) as together:
        for name in names:
            view, entity = plan.lettered(name), name[1:]
            together.hset(keys.whole(generation, view.name), entity, made.stored[name])
            together.hset(keys.rows(generation, view.name), entity, rows[name])
            if len(together) >= _COMMANDS:
                together.execute()
        together.hset(keys.snapshot(generation), "s", s0)
        together.execute()


@contextmanager
def snapshot_apart(settings: Settings, generation: int, s0: int, progress: Progress) -> Iterator[None]:
    """Fill the snapshot in another process while the block runs; it is filled when the block has ended.

    `settings` are those of the deployment that is rebuilt. Raises OpportuneError if the other process fails.
    """
    program = [sys.executable, "-m", "scoring.bulk", str(generation), str(s0)]
    child = subprocess.Popen(
        leashed(program), env=settings.child_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        yield
        for line in child.stdout or ():
            done, total = line.split()
            progress("restoring items", int(done), int(total))
    except BaseException:
        child.kill()
        raise
    finally:
        code = child.wait()
    if code:
        raise OpportuneError(f"the snapshot could not be filled (exit code {code}); run the rebuild again")


def _main() -> None:
    settings = load()
    keys, generation = Keys(settings.redis_prefix, settings.partitions), int(sys.argv[1])
    archive = Archive(settings.archive, settings.partitions)
    with connect(settings) as client:
        plan = Plans(keys).of(client, generation)
        fill_snapshot(
            client, keys, generation, plan, archive, int(sys.argv[2]),
            lambda step, done, total: print(done, total, flush=True),
        )  # fmt: skip


def _in_order(archive: Archive, until: int, progress: Progress) -> Iterator[Admitted]:
    """All events with k < until, in the order of k: only so can be told when an entity that many share was missing."""
    with connected(memory_limit=_MEMORY) as connection:
        archive.create_view(connection)
        counted = connection.execute(f"SELECT count(*) FROM events WHERE k < {until}").fetchone()
        total = counted[0] if counted else 0
        reader = connection.execute(f"SELECT * FROM events WHERE k < {until} ORDER BY k").to_arrow_reader(_ROWS)
        done = 0
        for batch in reader:
            yield from to_events(pa.Table.from_batches([batch]))
            done += batch.num_rows
            progress("restoring items", done, total)


def _events(table: pa.Table) -> Iterator[Admitted]:
    for batch in table.to_batches(max_chunksize=_ROWS):
        yield from to_events(pa.Table.from_batches([batch]))


if __name__ == "__main__":
    _main()
