"""The manifest of a change-point table: which files hold the rows of a behavior view, and what they were made of.

    <tables>/<view>.json       the manifest; replaced at once when everything that it names is on disk
    <tables>/<view>/part-*     rows that are final: `after` < ts <= `upto`
    <tables>/<view>/tail-*     rows after the boundary: what is known of the future as windows empty, made anew each run
    <tables>/<view>/carry-*    one row per entity as of the boundary, from which the next run goes on

The columns of parts and tail are the join keys (text), `ts` (timestamp µs UTC), `seen_e` (int64 µs) and the raw columns
of the view; (join keys, ts) is unique over all of them together.
"""

import json
from hashlib import sha256
from pathlib import Path

import msgspec

from behavior.errors import BadInput
from behavior.plan import View
from deployment.durable import flush

# Raise it when tables or what is carried change their meaning: then they are made anew.
FORMAT = 1


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file in the view's directory, with how many rows it has."""

    file: str
    rows: int


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Final rows: those with `after` < ts <= `upto` (µs); each file has some of the entities."""

    files: tuple[TableFile, ...]
    after: int
    upto: int

    @property
    def rows(self) -> int:
        """Rows of all its files."""
        return sum(each.rows for each in self.files)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the table of one view is made of.

    fingerprint     of the view's definition and raw columns
    features        the fingerprint of each feature by name
    boundary        instant (µs) up to which rows are final, and as of which the carry stands
    until           only events with k < until went in; None for all
    events_before   how many events of the archive have k < boundary, whatever their view
    archive         files of the archive that went in, relative to it, with their sizes in bytes
    former          files that only the manifest before this one names; readers may still hold that
    """

    format: int
    view: str
    fingerprint: str
    features: dict[str, str]
    boundary: int
    until: int | None
    parts: tuple[Part, ...]
    tail: tuple[TableFile, ...]
    carry: TableFile
    events_before: int
    archive: tuple[tuple[str, int], ...]
    former: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """Every file that the manifest names."""
        return [*(each.file for each in self._of_rows), self.carry.file]

    @property
    def rows(self) -> int:
        """Rows of the whole table."""
        return sum(each.rows for each in self._of_rows)

    @property
    def _of_rows(self) -> list[TableFile]:
        return [*(each for part in self.parts for each in part.files), *self.tail]

    def paths(self, tables: Path) -> list[Path]:
        """The files that together are the table."""
        return [tables / self.view / each.file for each in self._of_rows]


def manifest_path(tables: Path, view: str) -> Path:
    """Where the manifest of a view lies."""
    return tables / f"{view}.json"


def read_manifest(tables: Path, view: str) -> Manifest | None:
    """The manifest of a view, or None if there is none.

    Raises BadInput if it cannot be read or is of another format; `opportune backfill` makes it anew.
    """
    path = manifest_path(tables, view)
    try:
        said = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        if json.loads(said).get("format") == FORMAT:
            return msgspec.json.decode(said, type=Manifest)
    except (ValueError, AttributeError, msgspec.DecodeError):
        pass
    raise BadInput(f"view {view}: {path} is no manifest that this version can read; run `opportune backfill`")


def write_manifest(tables: Path, manifest: Manifest) -> None:
    """Replace the view's manifest at once; what it names must be on disk before."""
    target = manifest_path(tables, manifest.view)
    staging = target.with_name(f".{target.name}")
    staging.write_bytes(msgspec.json.encode(manifest))
    flush(staging)
    staging.replace(target)
    flush(tables)


def fingerprint_of(view: View) -> str:
    """Of all that a view's table depends on: a table with another fingerprint is made anew."""
    features = [(feature.name, feature.fingerprint) for feature in view.features]
    raws = [(raw.name, raw.dtype) for raw in view.raws]
    return sha256(msgspec.json.encode([FORMAT, view.name, view.join_keys, features, raws])).hexdigest()[:16]
