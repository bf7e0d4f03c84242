"""Reading change-point tables as their manifests say, and archives that grow, for the tests of backfills."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from behavior.event import DAY_US, Admitted
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from deployment.archive import Archive, to_table
from deployment.table_manifest import Manifest, read_manifest
from training.backfill import BackfillReport

T = 17_440 * DAY_US


def plan_of(*features: object, entity: str = "user") -> Plan:
    named = tuple(FeatureDefinition(each.name, each) for each in features)  # type: ignore[attr-defined]
    return Plan([ViewDefinition("v", entity, ("purchase",), named)])


def manifest_of(tables: Path, view: str = "v") -> Manifest:
    found = read_manifest(tables, view)
    assert found is not None
    return found


def table(tables: Path, view: str = "v") -> pa.Table:
    """The rows of a table by its manifest, in order of keys and instant."""
    manifest = manifest_of(tables, view)
    found = pa.concat_tables([pq.read_table(path, partitioning=None) for path in manifest.paths(tables)])
    assert found.num_rows == manifest.rows
    return found.sort_by([(name, "ascending") for name in found.column_names[: found.column_names.index("seen_e")]])


def rows(tables: Path, columns: str) -> list[tuple[object, ...]]:
    return duckdb.from_arrow(table(tables)).query("found", f"SELECT {columns} FROM found").fetchall()


def add_to_archive(archive: Archive, name: str, log: Sequence[Admitted]) -> None:
    """Another file of events."""
    file = archive.path / "import" / name / "p=000.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(to_table(log), file)


def done(report: BackfillReport) -> list[tuple[str, str]]:
    return [(each.done, each.why) for each in report.tables]
