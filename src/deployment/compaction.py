"""Fewer, larger files of the log: neighbours become one file that holds the same events.

Every flush of the archiver leaves a small file per partition, and many of them make readers slow. Going back from the
newest, a file joins the run if it is no larger than all newer ones of the run together, so that an event is written
anew a logarithmic number of times only. The merged file appears whole before anything is removed; which files have
become superfluous follows from the names (`log_files`), and removing them is left to the caller: somebody may be
reading them.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deployment.log_files import GROUP_ROWS, Stretch, log_files, stretches, write_log_file

# A flush writes fewer rows than that per partition; files of that size are merged whatever their neighbours' is.
SMALL_ROWS = 10_000
# A run is a table in memory, about 100 MB at this size.
MOST_ROWS = 250_000


def merge_neighbours(
    folder: Path, epoch: int, *, small: int = SMALL_ROWS, most: int = MOST_ROWS, group_rows: int = GROUP_ROWS
) -> int:
    """Merge runs of neighbouring files of one partition; how many files have been made superfluous.

    For who holds the partition's lease with this epoch, so that two writers never choose one name for two contents.
    Raises FileNotFoundError if another process removes files meanwhile: then the lease has been lost.
    """
    merged = 0
    for run in _runs(stretches(log_files(folder)), small, most):
        table = pa.concat_tables([_taken(stretch) for stretch in run])
        write_log_file(folder, epoch, run[0].first, run[-1].last, table, group_rows)
        merged += len(run)
    return merged


def _runs(found: Sequence[Stretch], small: int, most: int) -> list[list[Stretch]]:
    """Neighbours to merge, each run in reading order."""
    runs: list[list[Stretch]] = [[]]
    rows = 0
    for stretch in reversed(found):
        more = int(pq.read_metadata(stretch.path).num_rows)
        if runs[-1] and (more > max(rows, small) or rows + more > most):
            runs.append([])
            rows = 0
        runs[-1].insert(0, stretch)
        rows += more
    complete = [_from_whole(run) for run in runs]
    return [run for run in complete if len(run) > 1]


def _from_whole(run: Sequence[Stretch]) -> list[Stretch]:
    """The run from its first file that overlaps nothing before it.

    From there on the run has every file that may hold an event, so what is made of it is a complete copy as well.
    """
    start = next((place for place, stretch in enumerate(run) if stretch.whole), len(run))
    return list(run[start:])


def _taken(stretch: Stretch) -> pa.Table:
    table = pq.ParquetFile(stretch.path).read()
    return table if stretch.whole else table.filter(pc.greater(table["k"], stretch.after))
