"""Where the journal keeps an answer: in its partition of the log, or in the archive when the log has let it go.

An entry is appended at k >= as_of, later by what the journal was behind: it is looked for from there on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from behavior.errors import Altered, NotFound
from behavior.event import MINUTE_US
from behavior.served import SERVED_ENTRY
from deployment.journal_seal import JournalSeal
from deployment.keys import Keys
from scoring.request_id import Located, located

# How far behind an answer its entry is looked for: the journal is drained within seconds, or the entry is lost.
LONGEST_US = 10 * MINUTE_US
# Entries of the log that are in memory at once.
_PAGE = 256
LOG, ARCHIVE = "log", "archive"


class Found(NamedTuple):
    """An entry's bytes, intact, its admission instant, and where it was found: `log` or `archive`."""

    payload: bytes
    k: int
    place: str


class EntrySearch:
    """Finds entries by their request id.

    archive  the archive's directory; one that is not there holds nothing
    """

    def __init__(self, client: Any, keys: Keys, archive: Path, seal: JournalSeal) -> None:
        self._client = client
        self._keys = keys
        self._archive = archive
        self._seal = seal

    async def find(self, request_id: str) -> Found:
        """The entry of an answer.

        Raises BadInput if that is no request id, NotFound if there is no such entry, Altered if what is there is not
        what was written, redis.RedisError.
        """
        where = located(request_id, self._keys.partitions)
        altered: list[int] = []
        async for k, payload in self._log(where):
            if self._is(request_id, k, payload, altered):
                return Found(payload, k, LOG)
        for k, payload in await asyncio.to_thread(self._archived, where):
            if self._is(request_id, k, payload, altered):
                return Found(payload, k, ARCHIVE)
        if altered:
            raise Altered(
                f"the journal holds no intact entry of {request_id}, and one beside it (partition {where.partition}, "
                f"k = {altered[0]}) has been changed since it was written, or was sealed with another key"
            )
        raise NotFound(
            f"there is no entry of {request_id} in the journal: the server did not answer so, the entry was lost "
            "(opportune_served_lost_total), or the archive is another one"
        )

    def _is(self, request_id: str, k: int, payload: bytes, altered: list[int]) -> bool:
        """Whether it is the entry, which must be intact; one beside it that is not is remembered."""
        intact, wanted = self._seal.is_intact(payload), request_id.encode() in payload
        if wanted and not intact:
            raise Altered(
                f"the entry of {request_id} (k = {k}) has been changed since it was written, or was sealed with "
                f"another key than {self._seal.key_id}"
            )
        if not intact:
            altered.append(k)
        return wanted

    async def _log(self, where: Located) -> AsyncIterator[tuple[int, bytes]]:
        after, until = f"{where.as_of}-0", f"{where.as_of + LONGEST_US}-0"
        while True:
            page = await self._client.xrange(self._keys.stream(where.partition), after, until, count=_PAGE)
            for entry_id, fields in page:
                after = f"({entry_id.decode()}"
                if fields[b"t"] == SERVED_ENTRY:
                    yield int(entry_id.partition(b"-")[0]), fields[b"b"]
            if len(page) < _PAGE:
                return

    def _archived(self, where: Located) -> Iterable[tuple[int, bytes]]:
        # Not before an answer is asked for that the log has let go: a server needs no Parquet otherwise.
        from deployment.journal_archive import JournalArchive

        archive = JournalArchive(self._archive, self._keys.partitions)
        return archive.read(where.partition, where.as_of - 1, where.as_of + LONGEST_US)
