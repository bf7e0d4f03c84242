"""What became of imported records: the report, and the file of those that were rejected."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from behavior.errors import BadInput
from training.source import Rejected

REJECTS = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("position", pa.int64()),
        pa.field("field", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: received = accepted + duplicate + Σ rejected + Σ dropped."""

    received: int
    accepted: int
    duplicate: int
    rejected: dict[str, int] = field(default_factory=dict)  # by reason
    dropped: dict[str, int] = field(default_factory=dict)  # by what was wanting
    rejects_file: Path | None = None
    batch: str | None = None  # None if nothing was accepted
    seconds: float = 0.0

    def adds_up(self) -> bool:
        """Whether every received record is accounted for once."""
        return self.received == self.accepted + self.duplicate + sum(self.rejected.values()) + sum(
            self.dropped.values()
        )

    def after(self, seconds: float) -> "ImportReport":
        """The report with the time that the import took."""
        return replace(self, seconds=seconds)


def render(report: ImportReport) -> Table:
    """The accounts as a table for the terminal."""
    rate = report.received / report.seconds if report.seconds else 0.0
    table = Table(
        title=f"import: {report.batch or 'nothing new'}", caption=f"{report.seconds:.1f} s, {rate:,.0f} records/s"
    )
    table.add_column("records")
    table.add_column("count", justify="right")
    table.add_row("received", f"{report.received:,}", end_section=True)
    table.add_row("accepted", f"{report.accepted:,}")
    table.add_row("duplicate", f"{report.duplicate:,}")
    for reason, count in report.rejected.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    for purpose, count in report.dropped.items():
        table.add_row(f"dropped: no {purpose}", f"{count:,}")
    if report.rejected and report.rejects_file is not None:
        table.add_section()
        table.add_row("rejected records are listed in", str(report.rejects_file))
    return table


def write_rejects(rejected: Iterable[Rejected], path: Path | None) -> None:
    """Write the list of rejected records to `path` (Parquet, or JSON lines for .jsonl), whole or not at all, ordered
    by place.

    An empty list is written too, so that an older one is not taken for this import's.
    """
    if path is None:
        return
    rows = [asdict(each) for each in sorted(rejected, key=lambda each: (each.file, each.line, each.position or 0))]
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows, schema=REJECTS), staging)
        else:
            staging.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise BadInput(f"the list of rejected records cannot be written to {path}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)
