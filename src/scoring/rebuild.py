"""From the archive to fresh states in bulk: what `fold` would have made of the same events, without the log.

The very code that folds live events folds the archive, partition by partition; only the writing is in bulk. Afterwards
the log goes on after the last archived admission, and recent message ids are recognised as duplicates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from behavior.errors import BadInput
from behavior.event import HOUR_US
from behavior.plan import Plan
from deployment.archive import Archive, to_events
from deployment.keys import Keys
from scoring.agreement import REBUILDING, agree
from scoring.fold import write_snapshot
from scoring.partition_states import PartitionStates, encode_partials, encode_user
from scoring.publishing import Publisher

# Rows that are Python objects at once, and commands sent to Redis at once.
_ROWS = 50_000
_COMMANDS = 1_000


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild restored. `s` is the instant (µs) of the snapshot that it published."""

    events: int
    users: int
    s: int


def rebuild(
    client: Any,
    keys: Keys,
    archive: Archive,
    plan: Plan,
    *,
    until: int,
    lateness_us: int = 48 * HOUR_US,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Rebuilt:
    """Fill an empty Redis with the states of every archived event admitted before `until` (µs).

    Raises BadInput if Redis already holds a deployment under this prefix: nothing acknowledged is ever overwritten.
    """
    _begin(client, keys, archive.partitions)
    s = until - until % plan.interval_us
    at_s: list[PartitionStates] = []
    events = users = 0
    for number in range(archive.partitions):
        table = archive.read(number, until=until)
        early = pc.less(table["k"], s)
        states = PartitionStates(plan)
        _fold(states, table.filter(early))
        at_s.append(_partials_of(plan, states))
        _fold(states, table.filter(pc.invert(early)))
        last_k = max(pc.max(table["k"]).as_py() or 0, s - 1)
        _write(client, keys, plan, number, states, {"offset": last_k, "last_k": last_k, "s": s})
        _remember(client, keys, number, table, until, lateness_us)
        events, users = events + table.num_rows, users + len(states.users)
        progress(number + 1, archive.partitions)
    write_snapshot(client, keys, Publisher(plan).snapshot(s, at_s))
    client.hdel(keys.deployment(), REBUILDING)
    agree(client, keys, archive.partitions, plan)
    return Rebuilt(events, users, s)


def _begin(client: Any, keys: Keys, partitions: int) -> None:
    """Mark the states as unfinished; what an earlier rebuild left unfinished is cleared away first."""
    if client.hexists(keys.deployment(), REBUILDING):
        for key in client.scan_iter(f"{keys.prefix}:{{*", count=1_000):
            if key != keys.clock():
                client.unlink(key)
    if client.exists(keys.deployment()) or any(client.exists(keys.meta(number)) for number in range(partitions)):
        raise BadInput(
            f"Redis already holds states or a log under the prefix {keys.prefix}; "
            "rebuild into an empty Redis, or under another redis_prefix"
        )
    client.hset(keys.deployment(), REBUILDING, b"1")


def _fold(states: PartitionStates, table: pa.Table) -> None:
    for batch in table.to_batches(max_chunksize=_ROWS):
        for event in to_events(pa.Table.from_batches([batch])):
            states.add(event)


def _partials_of(plan: Plan, states: PartitionStates) -> PartitionStates:
    """The partials as they are now, apart from what is folded afterwards."""
    copy = PartitionStates(plan)
    copy.load_partials(encode_partials(plan, states))
    return copy


def _write(client: Any, keys: Keys, plan: Plan, number: int, states: PartitionStates, meta: Mapping[str, int]) -> None:
    with client.pipeline(transaction=False) as together:
        for user, fields in states.users.items():
            together.hset(keys.user(number, user), mapping=encode_user(plan, fields))
            together.pexpire(keys.user(number, user), plan.retention_us // 1000)
            if len(together) >= _COMMANDS:
                together.execute()
        partials = encode_partials(plan, states)
        if partials:
            together.hset(keys.partials(number), mapping=partials)
        together.hset(keys.meta(number), mapping=meta)
        together.execute()


def _remember(client: Any, keys: Keys, number: int, table: pa.Table, until: int, lateness_us: int) -> None:
    """Set the dedupe keys of messages that are younger than the lateness horizon, for the rest of their time."""
    young = table.filter(pc.greater(table["client_time"], until - lateness_us))
    columns = (young[name].to_pylist() for name in ("message_id", "client_time", "k"))
    with client.pipeline(transaction=False) as together:
        for message_id, client_time, k in zip(*columns, strict=True):
            together.set(keys.dedupe(number, message_id), k, px=(client_time + lateness_us - until) // 1000 + 1)
        together.execute()
