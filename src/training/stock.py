"""What the archive holds when a backfill begins, and whether what earlier tables were made of is still all there is."""

from functools import lru_cache
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from behavior.event import DAY_US
from deployment.archive import Archive
from deployment.table_manifest import Manifest


class Stock:
    """The archive's events as the view `events` of a connection.

    until    only events with k < until count; None for all
    files    the size of each file of the archive by its path relative to it
    events   how many events count
    """

    def __init__(self, archive: Archive, connection: duckdb.DuckDBPyConnection, until: int | None) -> None:
        self._archive = archive.path
        self._connection = connection
        self.until = until
        # Listed before they are opened: a file that comes in between is opened, and taken for new by the next run.
        self.files = {str(path.relative_to(archive.path)): path.stat().st_size for path in archive.files()}
        archive.create_view(connection)
        self.events = self._number("count(*)")
        self._last_k = self._number("max(k)")

    @property
    def boundary(self) -> int:
        """The start (UTC) of the day before that of the last event: what other partitions still archive comes later."""
        return max(0, self._last_k - self._last_k % DAY_US - DAY_US)

    def events_before(self, boundary: int) -> int:
        """How many events there are with k < boundary."""
        return self._number(f"count(*) FILTER (k < {boundary})")

    def has_changed_before(self, manifest: Manifest) -> bool:
        """Whether events with k < boundary came or went since the manifest.

        Files never change and mostly come one after the other, so it is enough to look at when new ones begin. Only if
        some are gone, or begin before the boundary (as when small files were merged into one), events are counted.
        """
        known = dict(manifest.archive)
        gone = any(self.files.get(file) != size for file, size in known.items())
        if not gone and all(self._first_k(file) >= manifest.boundary for file in self.files.keys() - known.keys()):
            return False
        return self.events_before(manifest.boundary) != manifest.events_before

    def _number(self, aggregate: str) -> int:
        limit = "" if self.until is None else f" WHERE k < {self.until}"
        row = self._connection.execute(f"SELECT {aggregate} FROM events{limit}").fetchone()
        return 0 if row is None or row[0] is None else int(row[0])

    def _first_k(self, file: str) -> int:
        return _first_k(self._archive / file)


@lru_cache(maxsize=65_536)
def _first_k(path: Path) -> int:
    """The least admission instant in a file of the archive, from the statistics of its groups of rows; 0 if unknown."""
    metadata = pq.read_metadata(path)
    place = metadata.schema.names.index("k")
    bounds = [metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)]
    return min((0 if each is None or not each.has_min_max else int(each.min) for each in bounds), default=2**63 - 1)
