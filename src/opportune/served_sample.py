"""The served entries that the log holds, the newest first: what the parity check takes its sample from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from behavior.served import SERVED_ENTRY, Served, decode
from deployment.keys import Keys

# Entries that are read of each partition at once: few at first, since one served entry may have 20 kB; more where
# events lie between them.
_FIRST_PAGE = 16
_LARGEST_PAGE = 1024
_NOT_YET = 2**63


@dataclass(frozen=True, slots=True)
class Sample:
    """Served entries as (k, entry) in the order of k, and up to which k each partition was looked at."""

    entries: tuple[tuple[int, Served], ...]
    seen: Mapping[int, int]


def newest_served(client: Any, keys: Keys, most: int, after: Mapping[int, int]) -> Sample:
    """The newest served entries, at most so many, of those that each partition took after a k (µs).

    A partition is read back for as long as it may hold one of them. Raises redis.RedisError.
    """
    found: list[tuple[int, Served]] = []
    seen = dict(after)
    page = _FIRST_PAGE
    # How far back each partition has been read; those that have been read to the end are gone.
    reached = dict.fromkeys(after, _NOT_YET)
    while unread := [number for number, k in reached.items() if k > _oldest_wanted(found, most)]:
        with client.pipeline(transaction=False) as together:
            for number in unread:
                until = "+" if reached[number] == _NOT_YET else f"({reached[number]}-0"
                together.xrevrange(keys.stream(number), max=until, min=f"{after[number] + 1}-0", count=page)
            answers = together.execute()
        for number, entries in zip(unread, answers, strict=True):
            for entry_id, fields in entries:
                reached[number] = int(entry_id.partition(b"-")[0])
                seen[number] = max(seen[number], reached[number])
                if fields[b"t"] == SERVED_ENTRY:
                    found.append((reached[number], decode(fields[b"b"])))
            if len(entries) < page:
                del reached[number]
        found = sorted(found, key=_order)[-most:]
        page = min(2 * page, _LARGEST_PAGE)
    return Sample(tuple(found), seen)


def _oldest_wanted(found: list[tuple[int, Served]], most: int) -> int:
    """The k that an entry must exceed to be among the newest, given in order; -1 for any."""
    return -1 if len(found) < most else found[0][0]


def _order(entry: tuple[int, Served]) -> tuple[int, str]:
    return entry[0], entry[1].request_id
