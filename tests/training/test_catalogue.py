"""The catalogue import: one plain view, merged, replaced whole."""

import datetime as dt
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from behavior.errors import BadInput
from training import catalogue
from training.catalogue import CATALOGUE, FILE_NAME, CatalogueReport, import_items, render
from training.mapping import SHIPPED, load_mapping
from training.mapping_form import CatalogueMapping

MAPPING = """
name = "shop_items"
timestamps_in = "Europe/Berlin"
[columns]
item = "sku"
category = "group"
available = "stock"
valid_from = "from"
created = "made"
[price]
column = "price"
"""
HEADER = "sku,group,stock,from,made,price\n"


class Shelf:
    """A folder with a catalogue mapping and the view."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = folder / "tables"
        self.rejects = folder / "rejects.jsonl"

    def run(self, lines: str, mapping: str = MAPPING, header: str = HEADER) -> CatalogueReport:
        (self.folder / "m.toml").write_text(mapping, encoding="utf-8")
        (self.folder / "items.csv").write_text(header + lines, encoding="utf-8")
        form = load_mapping(self.folder / "m.toml", CatalogueMapping)
        report = import_items(self.folder / "items.csv", form, tables=self.tables, rejects=self.rejects)
        assert report.received == report.accepted + report.duplicate + sum(report.rejected.values())
        return report

    def rows(self) -> list[tuple[object, ...]]:
        table = pq.read_table(self.tables / FILE_NAME)
        assert table.schema.equals(CATALOGUE)
        return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def test_rows_have_their_types_and_order(shelf: Shelf) -> None:
    """Prices are cents, availability a boolean, times instants; what is absent is null; rows are ordered by (item,
    ts).
    """
    shelf.run("b,,no,2024-07-01,2024-07-02,\na,tea,1,2024-01-01 12:00,2024-01-02,1.39\n")
    assert shelf.rows() == [
        ("a", "tea", 139, True, utc("2024-01-01T11:00:00"), utc("2024-01-01T23:00:00")),
        ("b", None, None, False, utc("2024-06-30T22:00:00"), utc("2024-07-01T22:00:00")),
    ]


def test_the_newest_created_wins_whatever_the_order(shelf: Shelf) -> None:
    """Of rows for one (item, valid from) the newest created stays, within a file and across imports; others change
    nothing.
    """
    old, new, newer = (f"a,{group},1,2024-01-01,2024-01-0{day},1\n" for group, day in (("x", 2), ("y", 3), ("z", 4)))
    first = shelf.run(new + old)
    assert (first.accepted, first.duplicate) == (1, 1)
    assert shelf.run(old).duplicate == 1
    assert shelf.rows()[0][1] == "y"
    assert shelf.run(newer).accepted == 1
    assert [row[1] for row in shelf.rows()] == ["z"]


def test_a_correction_with_equal_created_replaces(shelf: Shelf) -> None:
    """Equally new rows: the last imported stays, so that a corrected file can be imported; the same file changes
    nothing.
    """
    shelf.run("a,tea,1,2024-01-01,2024-01-02,1\n")
    assert shelf.run("a,,1,2024-01-01,2024-01-02,1\n").accepted == 1
    again = shelf.run("a,,1,2024-01-01,2024-01-02,1\n")
    assert (again.accepted, again.duplicate, again.rows) == (0, 1, 1)
    assert shelf.rows()[0][1] is None


def test_later_validity_adds_a_row(shelf: Shelf) -> None:
    """A new price from a later instant on leaves the past as it was."""
    shelf.run("a,tea,1,2024-01-01,2024-01-02,1\n")
    assert shelf.run("a,tea,1,2024-02-01,2024-02-01,2\n").rows == 2
    assert [row[2] for row in shelf.rows()] == [100, 200]


def test_broken_rows_are_rejected_one_by_one(shelf: Shelf) -> None:
    """Each broken row is listed with its line and reason, and the others are imported."""
    good = "{},tea,1,2024-01-01,2024-01-02,1\n"
    bad = {
        2: ("no_item", good.format("")),
        4: ("bad_value", "c,tea,maybe,2024-01-01,2024-01-02,1\n"),
        5: ("bad_value", "d,tea,1,someday,2024-01-02,1\n"),
        6: ("bad_value", "e,tea,1,2024-01-01,2024-01-02,cheap\n"),
        7: ("value_out_of_range", "f,tea,1,2024-01-01,2024-01-02,-1\n"),
        8: ("unreadable", "g,tea\n"),
        9: ("bad_time", "h,tea,1,1950-01-01,2024-01-02,1\n"),
        10: ("bad_time", "i,tea,1,2024-01-01,,1\n"),
        11: ("bad_item", good.format("x" * 257)),
    }
    report = shelf.run("".join(bad[line][1] if line in bad else good.format(line) for line in range(2, 13)))
    listed = [json.loads(line) for line in shelf.rejects.read_text().splitlines()]
    assert {each["line"]: each["reason"] for each in listed} == {line: reason for line, (reason, _) in bad.items()}
    assert (report.received, report.accepted) == (11, 2)


def test_created_defaults_to_valid_from_and_constants_hold(shelf: Shelf) -> None:
    """Without `created` a row counts as known from when it is valid; constants are the same on every row."""
    mapping = 'name = "x"\n[columns]\nitem = "sku"\n[constants]\navailable = true\nvalid_from = 2017-01-01T00:00:00Z\n'
    shelf.run("a\n", mapping, "sku\n")
    start = utc("2017-01-01T00:00:00")
    assert shelf.rows() == [("a", None, None, True, start, start)]


def test_a_constant_instant_needs_its_offset(shelf: Shelf) -> None:
    """A constant instant without offset is BadInput that shows how to write one."""
    with pytest.raises(BadInput, match="2017-01-01T00:00:00Z"):
        shelf.run("a\n", 'name = "x"\n[columns]\nitem = "sku"\n[constants]\nvalid_from = "2017-01-01"\n', "sku\n")


def test_a_failure_half_way_leaves_the_view_as_it_was(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """If writing fails the old view is still there, whole, and nothing else."""
    shelf.run("a,tea,1,2024-01-01,2024-01-02,1\n")
    before = (shelf.tables / FILE_NAME).read_bytes()

    def failing(*arguments: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(catalogue.pq, "write_table", failing)
    with pytest.raises(OSError, match="disk full"):
        shelf.run("b,tea,1,2024-01-01,2024-01-02,1\n")
    assert (shelf.tables / FILE_NAME).read_bytes() == before
    assert [path.name for path in shelf.tables.iterdir() if path.name.endswith(".parquet")] == [FILE_NAME]


def test_event_fields_do_not_belong_in_a_catalogue(shelf: Shelf) -> None:
    """A catalogue mapping that names a field of events is BadInput that names the known ones."""
    with pytest.raises(BadInput, match="'user_id'"):
        shelf.run("a\n", MAPPING.replace("item =", "user_id ="))


def test_the_report_is_printed(shelf: Shelf) -> None:
    """The table shows every count of the accounts and the size of the view."""
    console = Console(width=300, record=True, file=(shelf.folder / "out").open("w"))
    console.print(render(shelf.run("a,tea,1,2024-01-01,2024-01-02,1\nb,tea\n")))
    text = console.export_text()
    for words in ("received", "accepted", "duplicate", "rejected: unreadable", "rejects.jsonl", "1 rows"):
        assert words in text


def test_a_spill_that_was_left_is_removed_and_a_backfill_kept(shelf: Shelf) -> None:
    """The next import of a catalogue removes what a killed one spilled, and nothing that a backfill is using."""
    for name in (".import-spill-1-dead", ".spill-backfill"):
        (shelf.tables / name).mkdir(parents=True)
        (shelf.tables / name / "duckdb_temp_storage.tmp").touch()
    shelf.run("b,,no,2024-07-01,2024-07-02,\n")
    assert {path.name for path in shelf.tables.iterdir()} == {".import.lock", ".spill-backfill", FILE_NAME}


def test_shipped_mappings_say_how_to_call_them() -> None:
    """The command in each shipped mapping's head is one that the command takes: a catalogue's has --items-mapping."""
    for file in SHIPPED.glob("*.toml"):
        call = next(line for line in file.read_text(encoding="utf-8").splitlines() if "opportune import" in line)
        option = "--items-mapping" if "--items " in call else "--mapping"
        assert call.endswith(f" {option} {file.stem}"), file.name
