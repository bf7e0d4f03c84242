"""Rows of plain views in Redis: one hash per entity, replaced whole by a newer row and by no other.

<prefix>:plain:<view>:<entity key>  ":ts" and ":created" in µs, and one serialised `feast.types.Value` for each
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from behavior.event import SECOND_US
from deployment.keys import Keys

FeastRow = tuple[datetime | None, dict[str, Value] | None]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A feature's name has no colon, so these two never meet one.
_TS, _CREATED = b":ts", b":created"
_KEY_FORMAT = 3
_BATCH = 1000

# Newer wins, in one step: reading first and writing afterwards would let two writers overtake each other. Microseconds
# since 1970 are exact in Lua's doubles until the year 2255.
WRITE = """
local ts = tonumber(redis.call('HGET', KEYS[1], ':ts') or '-1')
local created = tonumber(redis.call('HGET', KEYS[1], ':created') or '-1')
local new_ts, new_created = tonumber(ARGV[1]), tonumber(ARGV[2])
if ts > new_ts or (ts == new_ts and created > new_created) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], ':ts', ARGV[1], ':created', ARGV[2], unpack(ARGV, 3))
return 1
"""


@dataclass(frozen=True, slots=True)
class PlainRow:
    """One row that Feast pushes or materializes; instants without a zone are UTC."""

    values: Mapping[str, Value]
    event_time: datetime
    created: datetime | None


def plain_key(keys: Keys, view: str, entity: EntityKey) -> bytes:
    """Where the row of an entity is."""
    return _prefix(keys, view) + serialize_entity_key(entity, entity_key_serialization_version=_KEY_FORMAT)


def arguments(row: PlainRow) -> list[bytes]:
    """The arguments of the script that writes the row."""
    event_us = _microseconds(row.event_time)
    created_us = event_us if row.created is None else _microseconds(row.created)
    packed = [str(event_us).encode(), str(created_us).encode()]
    for name, value in row.values.items():
        packed += [name.encode(), value.SerializeToString()]
    return packed


def row_of(stored: Mapping[bytes, bytes], wanted: Sequence[str], ttl: timedelta | None, now: int) -> FeastRow:
    """What Feast is answered for a stored hash; a row older than the view's ttl is missing, as it is offline."""
    if _TS not in stored:
        return None, None
    ts = int(stored[_TS])
    if ttl and now - ts > round(ttl.total_seconds() * SECOND_US):
        return None, None
    values = {}
    for name in wanted:
        values[name] = Value()
        values[name].ParseFromString(stored.get(name.encode(), b""))
    return EPOCH + timedelta(microseconds=ts), values


def forget_view(client: "redis.Redis", keys: Keys, view: str) -> None:
    """Remove all rows of a view."""
    pattern = _glob_escaped(_prefix(keys, view)) + b"*"
    found: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=_BATCH):
        found.append(key)
        if len(found) == _BATCH:
            client.unlink(*found)
            found.clear()
    if found:
        client.unlink(*found)


def _prefix(keys: Keys, view: str) -> bytes:
    return keys.plain(view, b"")


def _glob_escaped(text: bytes) -> bytes:
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\" else bytes([byte]) for byte in text)


def _microseconds(instant: datetime) -> int:
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)
