"""Mapping files: what is wrong in them is said in one line, before any data file is opened."""

from pathlib import Path

import pytest

from behavior.errors import BadInput
from training.expression import references, rewritten
from training.mapping import SHIPPED, load_mapping
from training.mapping_form import CatalogueMapping, EventMapping
from training.mapping_page import page

GOOD = """
name = "shop"
timestamps_in = "offset"
consent = ["personalization"]
[columns]
user_id = "u"
client_time = "t"
[constants]
kind = "purchase"
"""


def loaded(folder: Path, text: str) -> EventMapping:
    file = folder / "m.toml"
    file.write_text(text, encoding="utf-8")
    return load_mapping(file, EventMapping)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("timestamps_in", "timestamp_in"), ["'timestamp_in'", "did you mean", "timestamps_in"]),
        (("[columns]", "[colums]"), ["'colums'", "did you mean", "columns"]),
        (("user_id =", "userid ="), ["'userid'", "[columns]", "user_id"]),
        (("[constants]", "[money]\ncolum = 'v'\n[constants]"), ["'colum'", "[money]", "did you mean", "column"]),
        (("[constants]", "[[joins]]\nfile='f'\non='a'\ncolumn=['b']\n[constants]"), ["[joins]", "columns"]),
        (("[constants]", "[properties.x]\ncol='v'\n[constants]"), ["'col'", "[properties.x]", "column"]),
        (('"offset"', '"America/New_Yrok"'), ["America/New_York", "timestamps_in"]),
        (('timestamps_in = "offset"', ""), ["timestamps_in is missing"]),
        (('user_id = "u"', ""), ["user_id or anonymous_id"]),
        (('kind = "purchase"', ""), ["kind is missing"]),
        (('kind = "purchase"', 'kind = "a"\n[expressions]\nkind = "x"'), ["[constants] and in [expressions]"]),
        (('["personalization"]', '["advertising"]'), ["consent"]),
        (('["personalization"]', '{ column = "a", expression = "b" }'), ["either column or expression"]),
        (("[constants]", "[money]\nunit = 'major'\n[constants]"), ["either column or expression"]),
        (("[constants]", "[money]\ncolumn='v'\ncurrency = 'dollars'\n[constants]"), ["currency"]),
        (("[constants]", "[message_id]\ncolumns = []\n[constants]"), ["message_id"]),
        (("name =", "name"), ["is not TOML"]),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    """A mistake in a mapping is BadInput: one line that names the file, the key and the nearest known one."""
    with pytest.raises(BadInput) as caught:
        loaded(tmp_path, GOOD.replace(*change))
    message = str(caught.value)
    assert "\n" not in message
    assert "m.toml" in message
    for word in words:
        assert word in message


def test_a_good_mapping_is_read(tmp_path: Path) -> None:
    """The text that the mistakes are made in is itself right."""
    assert loaded(tmp_path, GOOD).columns == {"user_id": "u", "client_time": "t"}


def test_an_absent_mapping_names_the_shipped_ones() -> None:
    """A mapping that is not there is BadInput which says what could be used."""
    with pytest.raises(BadInput, match="cdnow, click_log, complete_journey"):
        load_mapping("no_such_mapping", EventMapping)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_mappings_load_by_name(file: Path) -> None:
    """Each shipped mapping is valid and is found by its bare name, which is the name in it."""
    form = CatalogueMapping if file.stem.endswith("_items") else EventMapping
    assert load_mapping(file.stem, form).name == file.stem


@pytest.mark.parametrize(
    "sql",
    [
        "(SELECT 1)", "EXISTS (SELECT 1)", "a IN (SELECT b)", "read_text('/etc/hostname')", "getenv('HOME')",
        "current_setting('threads')", "sum(a)", "row_number() OVER ()", "*", "columns('a')", "$1",
        "list_transform([1], x -> x)",
        "a; DROP TABLE events", "a FROM b", "1, 2", "a AS b", "random()", "now()", "repeat(a, 1000000)", "a::json",
        "#1",
        "DISTINCT a", "a COLLATE nocase", "main.upper(a)", "nextval('s')", "query('SELECT 1')",
        "upper(a) FILTER (WHERE b)",
        "", "a b c",
    ],
)  # fmt: skip
def test_expressions_cannot_reach_beyond_the_record(tmp_path: Path, sql: str) -> None:
    """Anything but a scalar expression over the record's columns is refused when the mapping is read."""
    with pytest.raises(BadInput, match=r"m\.toml") as caught:
        loaded(tmp_path, GOOD + f"[expressions]\nitem = '''{sql}'''\n")
    assert "\n" not in str(caught.value)


def test_expressions_name_their_columns() -> None:
    """The columns that an expression reads are found wherever they stand in it, nested members with their dots."""
    sql = "CASE WHEN \"a b\" = 'x' AND e.type IN ('p', q) THEN upper(c) || coalesce(d, '-') ELSE e.type END"
    assert set(references(sql, "here")) == {"a b", "e.type", "q", "c", "d"}


def test_expressions_run_as_checked() -> None:
    """What runs is rendered from the checked tree over our own column names, so no text of the mapping reaches
    DuckDB.
    """
    text = rewritten("upper(\"x\"\"; drop\") /* gone */ || 'it''s'", {'x"; drop': "c7"}, "here")
    assert text == "TRY((upper(c7) || 'it''s'))"


def test_the_reference_page_is_current() -> None:
    """docs/reference/mapping.md is what the structs say."""
    stored = Path(__file__).parents[2] / "docs" / "reference" / "mapping.md"
    assert stored.read_text(encoding="utf-8") == page()
    for key in (*EventMapping.__struct_fields__, *CatalogueMapping.__struct_fields__):
        assert f"| `{key}` |" in page()
