"""DuckDB within bounds: the one way in which connections are opened and closed here.

Left by Ctrl-C in the middle of a query, DuckDB waits in `close()` for tasks that nobody told to end, and may wait for
ever: it is interrupted first.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


@contextmanager
def connected(
    *, memory_limit: str | None = None, threads: int | None = None, spill: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a database in memory, in UTC, until the block ends.

    memory_limit    memory that DuckDB may use, such as 1500MB
    threads         threads that it may use; all cores if None
    spill           directory for what does not fit into memory
    """
    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        for name, value in (("memory_limit", memory_limit), ("threads", threads), ("temp_directory", spill)):
            if value is not None:
                connection.execute(f"SET {name} = ?", [value])
        yield connection
    finally:
        connection.interrupt()
        connection.close()
