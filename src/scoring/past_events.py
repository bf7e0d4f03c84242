"""The events behind an answer: those of its user that the states knew, from the log and the archive, newest first."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from behavior.event import Admitted, admit, decode
from behavior.plan import Plan
from behavior.served import EVENT_ENTRY, Served
from behavior.state import belongs
from deployment.keys import Keys

_PAGE = 512
# Entries of the log that are looked at, of all users of the partition; what is older is in the archive sooner or later.
_MOST_LOOKED_AT = 50_000


async def events_behind(
    client: Any, keys: Keys, archive: Path, entry: Served, plans: Mapping[str, Plan], most: int
) -> tuple[Admitted, ...]:
    """The newest events of the user, at most so many, with k up to the offset that entered a view; newest first.

    Raises redis.RedisError, BadInput if the archive has another number of partitions.
    """
    partition = keys.partition_of(entry.user_id)
    views = [view for plan in plans.values() for view in plan.views]

    def counts(event: Admitted) -> bool:
        return event.event.user_id == entry.user_id and any(belongs(view, event) for view in views)

    found = await _from_log(client, keys.stream(partition), entry.offset, counts, most)
    archived = await asyncio.to_thread(_from_archive, archive, keys.partitions, partition, entry, most)
    by_id = {each.event.message_id: each for each in (*archived, *found) if counts(each)}
    newest = sorted(by_id.values(), key=lambda each: (each.k, each.event.message_id), reverse=True)
    return tuple(newest[:most])


async def _from_log(client: Any, stream: bytes, upto: int, counts: Any, most: int) -> list[Admitted]:
    found: list[Admitted] = []
    until, looked_at = f"{upto}-0", 0
    while len(found) < most and looked_at < _MOST_LOOKED_AT:
        page = await client.xrevrange(stream, until, "-", count=_PAGE)
        for entry_id, fields in page:
            until = f"({entry_id.decode()}"
            if fields[b"t"] == EVENT_ENTRY:
                event = admit(decode(fields[b"b"]), int(entry_id.partition(b"-")[0]))
                found += [event] if counts(event) else []
        looked_at += len(page)
        if len(page) < _PAGE:
            break
    return found


def _from_archive(path: Path, partitions: int, partition: int, entry: Served, most: int) -> list[Admitted]:
    # Only when events are asked for: a server needs no Parquet otherwise.
    from deployment.archive import Archive

    return Archive(path, partitions).newest_of(partition, entry.user_id, entry.offset, 2 * most)
