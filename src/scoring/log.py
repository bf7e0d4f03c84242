"""Reading the log: ordered partitions of admitted events and served entries, each entry at its admission instant.

Nothing is known of it but partitions, order and offsets: an offset is the k of the last entry that was taken, and 0 is
before everything. Readers read on from the offsets that they keep with their own state.

    offset ──▶ stream ──▶ was anything after the offset trimmed away? ──no──▶ entries
                                        └─yes─▶ its events from the archive, then on with the stream

Nothing is skipped without a word: what has been trimmed is asked for after the entries have been read, so whatever the
stream did not show any more is seen to be missing. What was served is archived apart (`deployment.journal_archive`): of
that, a reader here is told only that it misses some.
"""

import logging
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from prometheus_client import Counter

from behavior import event as events
from behavior.errors import OpportuneError
from behavior.event import SECOND_US
from behavior.served import EVENT_ENTRY
from deployment.connections import is_cluster
from deployment.keys import Keys

if TYPE_CHECKING:
    from deployment.archive import Archive

_log = logging.getLogger("opportune.log")
# Entries that a reader takes at once, over all partitions: enough to amortise a commit, few enough to bound memory,
# since one served entry can have 20 kB.
READ_AT_ONCE = 4_096
_LEAST_OF_EACH = 16
# Archived events, over all partitions, that are held for a reader that fell behind: a file is not opened for each read.
_AHEAD = 65_536
# On a cluster, partitions in which nothing comes in are asked this often (s) whether something was trimmed before it
# could be read; one Redis is asked at every read.
_CHECK_IDLE_S = 1.0
# How long (s) a reader of a cluster, where nobody can wait on two nodes at once, waits before it asks again.
_POLL_S = 0.005
_LONGEST_POLL_S = 0.02
# An entry without a payload: at its k ends a stretch that was trimmed away, whose events have been given already.
GAP_ENTRY = b"g"

# Of the partitions that were trimmed beyond the offset of a reader: place, `trimmed` and `archived_event`.
_OVERTAKEN = """
local found = {}
for place, meta in ipairs(KEYS) do
  local known = redis.call('HMGET', meta, 'trimmed', 'archived_event')
  if tonumber(known[1] or 0) > tonumber(ARGV[place]) then
    found[#found + 1] = {place, known[1], known[2] or '0'}
  end
end
return found
"""

GAPS = Counter(
    "opportune_log_gaps",
    "Stretches read from the archive, trimmed before; their served entries are lost to the reader.",
)


class Entry(NamedTuple):
    """One entry of the log as readers get it: `type` is EVENT_ENTRY or SERVED_ENTRY of `behavior.served`, or GAP_ENTRY.

    A GAP_ENTRY has an empty payload and is there for its k only, which is an offset like any other.
    """

    partition: int
    k: int
    type: bytes
    payload: bytes


class _Trimmed(NamedTuple):
    """How far a partition's stream has been trimmed, and the last event that the archive had by then."""

    until: int
    archived_event: int


def waited_s(now: int, entries: Sequence[Entry]) -> float:
    """How long (seconds) the oldest of some entries had waited in the log at `now` (µs); 0 if there is none.

    >>> waited_s(3_000_000, [Entry(0, 1_000_000, b"e", b""), Entry(1, 2_000_000, b"e", b"")])
    2.0
    """
    return max(0.0, (now - min((entry.k for entry in entries), default=now)) / SECOND_US)


def share_of_each(partitions: int) -> int:
    """How many entries a reader of so many partitions takes of each at once.

    >>> share_of_each(64)
    64
    """
    return max(_LEAST_OF_EACH, READ_AT_ONCE // max(partitions, 1))


class Log:
    """Reads the log on from given offsets; for processes that own partitions.

    `archive` is where events are read from that the log does not hold any more.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, archive: "Archive | None" = None) -> None:
        self._client = client
        self._keys = keys
        self._archive = archive
        # By partition: the offset that they follow, and entries from the archive that have been read ahead.
        self._ahead: dict[int, tuple[int, list[Entry]]] = {}
        # The offsets of the last read, beyond which nothing had been trimmed.
        self._checked: dict[int, int] = {}
        self._next_check = 0.0

    def read(self, offsets: Mapping[int, int], block_ms: int, count: int) -> list[Entry]:
        """The next entries after the offset of each partition, at most `count` of each, in order within each.

        Waits up to `block_ms` for the first one if there are none (0 does not wait); the client's socket timeout
        must be longer. Raises redis.RedisError, and OpportuneError if the log was trimmed beyond an offset and there is
        no archive that has the rest.
        """
        if not offsets:
            time.sleep(block_ms / 1000)
            return []
        found = self._from_ahead(offsets)
        others = {partition: offset for partition, offset in offsets.items() if partition not in found}
        fresh, trimmed_away = self._stream(others, 0 if found else block_ms, count)
        for partition, trimmed in trimmed_away.items():
            if trimmed.until > offsets[partition]:
                # What the stream showed beyond the gap is read again when the gap is closed.
                fresh[partition] = self._fill(
                    partition, offsets[partition], trimmed, max(count, _AHEAD // len(offsets))
                )
        found |= fresh
        return [entry for partition in offsets for entry in found.get(partition, ())[:count]]

    def _from_ahead(self, offsets: Mapping[int, int]) -> dict[int, list[Entry]]:
        """What had been read ahead of the archive and follows the offsets."""
        found = {}
        for partition, (after, entries) in list(self._ahead.items()):
            offset = offsets.get(partition, -1)
            rest = entries[bisect_right(entries, offset, key=attrgetter("k")) :]
            if after <= offset and rest:
                found[partition] = rest
            else:
                del self._ahead[partition]
        return found

    def _suspects(self, offsets: Mapping[int, int], fresh: Mapping[int, list[Entry]]) -> Collection[int]:
        """Whom to ask for what was trimmed: where something came, where we begin or go back, and at times all."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_IDLE_S
            self._checked = {}
        unchecked = {number for number, offset in offsets.items() if offset < self._checked.get(number, offset + 1)}
        self._checked = dict(offsets)
        return fresh.keys() | unchecked

    def _trimmed(self, partitions: Collection[int]) -> dict[int, _Trimmed]:
        if not partitions:
            return {}
        with self._client.pipeline(transaction=False) as together:
            for partition in partitions:
                together.hmget(self._keys.meta(partition), "trimmed", "archived_event")
            answers = together.execute()
        return {
            partition: _Trimmed(*(int(value or 0) for value in values))
            for partition, values in zip(partitions, answers, strict=True)
        }

    def _fill(self, partition: int, offset: int, trimmed: _Trimmed, limit: int) -> list[Entry]:
        """At most `limit` entries of the archive for what was trimmed after the offset."""
        where = f"the log of partition {partition} was trimmed up to {trimmed.until}, a reader stands at {offset}"
        if self._archive is None:
            raise OpportuneError(f"{where}; what lies between is only in the archive: give the reader the archive")
        if self._archive.covered_until(partition) < trimmed.archived_event:
            raise OpportuneError(
                f"{where}, and {self._archive.path} lacks events up to {trimmed.archived_event}; "
                "set `archive` to the directory that the archiver writes"
            )
        found = self._archive.read_log(partition, offset, trimmed.until, limit)
        GAPS.inc()
        _log.warning("%s; reading %d events from the archive, served entries are lost", where, len(found))
        entries = [Entry(partition, each.k, EVENT_ENTRY, events.encode(each.event)) for each in found]
        if len(found) < limit and (not found or found[-1].k < trimmed.until):
            entries.append(Entry(partition, trimmed.until, GAP_ENTRY, b""))
        self._ahead[partition] = offset, entries
        return entries

    def _stream(
        self, offsets: Mapping[int, int], block_ms: int, count: int
    ) -> tuple[dict[int, list[Entry]], dict[int, _Trimmed]]:
        """What the streams hold after the offsets, partitions with nothing left out; and what was trimmed by then."""
        if not offsets:
            return {}, {}
        if is_cluster(self._client):
            fresh = _entries(self._poll(offsets, block_ms, count))
            return fresh, self._trimmed(self._suspects(offsets, fresh))
        raw, trimmed = self._wait(offsets, block_ms, count)
        return _entries(raw), trimmed

    def _wait(
        self, offsets: Mapping[int, int], block_ms: int, count: int
    ) -> tuple[dict[int, Any], dict[int, _Trimmed]]:
        """Both in one round trip: what is sent behind an XREAD is answered after it, however long that waits."""
        partitions = {self._keys.stream(partition): partition for partition in offsets}
        wanted: dict[Any, Any] = {
            stream: f"{offsets[partition]}-{2**64 - 1}" for stream, partition in partitions.items()
        }
        metas = [self._keys.meta(partition) for partition in offsets]
        with self._client.pipeline(transaction=False) as together:
            together.xread(wanted, count=count, block=block_ms or None)
            together.execute_command("EVAL", _OVERTAKEN, len(metas), *metas, *offsets.values())
            found, overtaken = together.execute()
        streams: Any = found.items() if isinstance(found, dict) else found
        numbers = list(offsets)
        return (
            {partitions[stream]: _flat(entries) for stream, entries in streams},
            {numbers[place - 1]: _Trimmed(int(until), int(event)) for place, until, event in overtaken},
        )

    def _poll(self, offsets: Mapping[int, int], block_ms: int, count: int) -> dict[int, Any]:
        """As `_wait`, for a cluster, which refuses to read two slots in one command."""
        deadline, pause = time.monotonic() + block_ms / 1000, _POLL_S
        while True:
            with self._client.pipeline(transaction=False) as together:
                for partition, offset in offsets.items():
                    together.xrange(self._keys.stream(partition), min=f"{offset + 1}-0", count=count)
                answers = together.execute()
            found = {partition: entries for partition, entries in zip(offsets, answers, strict=True) if entries}
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_POLL_S)


def _entries(raw: Mapping[int, Any]) -> dict[int, list[Entry]]:
    return {
        partition: [
            Entry(partition, int(entry_id.partition(b"-")[0]), fields[b"t"], fields[b"b"])
            for entry_id, fields in entries
        ]
        for partition, entries in raw.items()
    }


def _flat(entries: Any) -> Any:
    """redis-py nests the entries once more when the server speaks RESP3."""
    return entries[0] if entries and isinstance(entries[0], list) else entries
