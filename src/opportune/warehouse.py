"""What the offline verbs open: the archive in DuckDB, the feature store, the plan."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployment.archive import Archive
from deployment.settings import Settings

if TYPE_CHECKING:
    import duckdb


def archive_of(settings: Settings) -> Archive:
    """The archive that the settings name."""
    return Archive(settings.archive, settings.partitions)


@contextmanager
def events_of(settings: Settings) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A DuckDB connection within the settings' bounds that has the whole archive as the view `events`."""
    from deployment.database import connected

    with connected(memory_limit=settings.memory_limit, threads=settings.thread_count) as connection:
        archive_of(settings).create_view(connection)
        yield connection


def local_midnight(day: str, settings: Settings) -> int:
    """The instant (µs UTC) at which a local date such as 2017-09-25 begins in the settings' zone."""
    from training.rows import local_midnights

    return local_midnights(day, day, settings.zone)[0]
