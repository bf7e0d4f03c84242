"""Every event that there is, as one relation in DuckDB: what is archived, and what the log holds beyond it.

An event that is not archived yet is no difference between online and offline. Whatever was trimmed from the log before
it was read here had been archived before that, so the archive is opened last; what it has meanwhile taken over is not
taken twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from behavior.event import Admitted, admit, decode
from behavior.served import EVENT_ENTRY
from deployment.archive import Archive, to_table
from deployment.keys import Keys
from deployment.settings import Settings
from opportune.warehouse import archive_of

if TYPE_CHECKING:
    import duckdb

EVENTS = "events"
EVERYTHING = 2**63 - 1
# Entries that are taken of each partition at once: served entries lie between the events, up to 20 kB each.
_PAGE = 256


@dataclass(frozen=True, slots=True)
class History:
    """The relation `events` of a connection, with the archive's columns, and how far it reaches.

    archived     per partition k (µs) of the last event of the log that is archived, 0 if none is
    from_log     how many events were taken from the log, beyond what is archived
    known_until  per partition: every event with k up to this is there; EVERYTHING if none is missing
    """

    connection: "duckdb.DuckDBPyConnection"
    archived: Mapping[int, int]
    from_log: int
    known_until: Mapping[int, int]

    def of_users(self, users: list[str], name: str = "theirs") -> str:
        """A relation with the events of some users only, read once; its name."""
        self.connection.register("some_users", pa.table({"user_id": pa.array(users, pa.string())}))
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {EVENTS} SEMI JOIN some_users USING (user_id)"
        )
        self.connection.unregister("some_users")
        return name


@contextmanager
def history(settings: Settings, client: Any = None, keys: Keys | None = None) -> Iterator[History]:
    """The archive of the settings with what the log of a deployment adds; the archive alone without a client.

    Raises redis.RedisError if Redis does not answer, BadInput if the archive has another number of partitions.
    """
    from deployment.database import connected

    archive = archive_of(settings)
    archived = {number: archive.covered_until(number) for number in range(settings.partitions)}
    unarchived: list[Admitted] = []
    known = dict.fromkeys(archived, EVERYTHING)
    if client is not None and keys is not None:
        unarchived = _beyond(client, keys, archived)
        known = _known_until(client, keys, archive)
    with connected(memory_limit=settings.memory_limit, threads=settings.thread_count) as connection:
        archive.create_view(connection, "archived")
        added = _add(connection, unarchived)
        connection.execute(f"CREATE TEMP VIEW {EVENTS} AS FROM archived UNION ALL FROM unarchived")
        yield History(connection, archived, added, known)


def _add(connection: "duckdb.DuckDBPyConnection", events: Sequence[Admitted]) -> int:
    """The table `unarchived`, without what has been archived since the events were read; how many there are."""
    connection.register("logged", to_table(events))
    since = min((each.k for each in events), default=EVERYTHING)
    meanwhile = f"(SELECT user_id, k, message_id FROM archived WHERE k >= {since})"
    connection.execute(
        f"CREATE TEMP TABLE unarchived AS FROM logged ANTI JOIN {meanwhile} AS m USING (user_id, k, message_id)"
    )
    connection.unregister("logged")
    (added,) = connection.execute("SELECT count(*) FROM unarchived").fetchone() or (0,)
    return int(added)


def _beyond(client: Any, keys: Keys, archived: Mapping[int, int]) -> list[Admitted]:
    """The events that the log holds after what is archived."""
    events: list[Admitted] = []
    after = dict(archived)
    while after:
        with client.pipeline(transaction=False) as together:
            for number, k in after.items():
                together.xrange(keys.stream(number), min=f"{k + 1}-0", count=_PAGE)
            answers = together.execute()
        pages = dict(zip(after, answers, strict=True))
        for number, page in pages.items():
            for entry_id, fields in page:
                after[number] = int(entry_id.partition(b"-")[0])
                if fields[b"t"] == EVENT_ENTRY:
                    events.append(admit(decode(fields[b"b"]), after[number]))
            if len(page) < _PAGE:
                del after[number]
    return events


def _known_until(client: Any, keys: Keys, archive: Archive) -> dict[int, int]:
    """Up to where no event can be missing: to the end, unless the archive lacks what the log has let go of."""
    with client.pipeline(transaction=False) as together:
        for number in range(keys.partitions):
            together.hmget(keys.meta(number), "trimmed", "archived_event")
        answers = together.execute()
    known = {}
    for number, (trimmed, event) in enumerate(answers):
        covered = archive.covered_until(number)
        is_whole = int(trimmed or 0) <= covered or int(event or 0) <= covered
        known[number] = EVERYTHING if is_whole else covered
    return known
