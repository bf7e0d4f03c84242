"""SQL expressions that a mapping file may hold: parsed by DuckDB itself, walked node by node against an allow-list,
and only then
rendered again from the checked tree, so that what runs is what was checked.

Allowed are columns, constants, comparisons, AND/OR/NOT, IN over values, BETWEEN, IS NULL, COALESCE, CASE, casts to
plain types
and the functions in `FUNCTIONS`. There is no way to a subquery, an aggregate, a lambda, a file, a setting or the
clock: none of
those node classes or function names is on the list. Imports besides close the connection to every other file
(`training.tables.connect`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from behavior.errors import BadInput
from deployment.database import connected

FUNCTIONS = frozenset(
    [
        "||",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "~~",
        "!~~",
        "~~*",
        "!~~*",
        "regexp_full_match",
        "abs",
        "contains",
        "date_part",
        "date_trunc",
        "ends_with",
        "floor",
        "ceil",
        "greatest",
        "least",
        "left",
        "length",
        "lower",
        "ltrim",
        "nullif",
        "prefix",
        "regexp_extract",
        "regexp_matches",
        "regexp_replace",
        "replace",
        "right",
        "round",
        "rtrim",
        "sign",
        "split_part",
        "starts_with",
        "strip_accents",
        "substr",
        "substring",
        "suffix",
        "trim",
        "try_strptime",
        "upper",
    ]
)
CAST_TYPES = frozenset(
    [
        "BIGINT",
        "BOOLEAN",
        "DATE",
        "DECIMAL",
        "DOUBLE",
        "FLOAT",
        "HUGEINT",
        "INTEGER",
        "SMALLINT",
        "TIME",
        "TIMESTAMP",
        "TINYINT",
        "VARCHAR",
    ]
) | {"TIMESTAMP WITH TIME ZONE"}
OPERATORS = frozenset(
    {"OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "COMPARE_IN", "COMPARE_NOT_IN"}
)
PLAIN_CLASSES = frozenset({"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "CASE", "BETWEEN"})

_PREFIX, _SUFFIX = "SELECT ", " FROM records"
_ONLY_THESE = frozenset({"type", "select_list", "from_table", "cte_map", "aggregate_handling"})


def references(sql: str, where: str) -> tuple[str, ...]:
    """Names of the columns that `sql` reads, in order of first use; nested members are written `a.b`.

    Raises BadInput, naming `where`, if `sql` is not one scalar expression made of what this module allows.
    """
    names = dict.fromkeys(".".join(node["column_names"]) for node in _columns(_checked(sql, where)))
    return tuple(names)


def rewritten(sql: str, columns: Mapping[str, str], where: str) -> str:
    """The expression as SQL over `columns` (name in the mapping → `column` or `relation.column`), null where it
    fails on a row.
    """
    statement = _parsed(sql, where)
    expression = _checked(sql, where, statement)
    for node in _columns(expression):
        node["column_names"] = columns[".".join(node["column_names"])].split(".")
    with connected() as connection:
        row = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(statement)]).fetchone()
    text = str(row[0]) if row else ""
    if not (text.startswith(_PREFIX) and text.endswith(_SUFFIX)):
        raise BadInput(f"{where}: the expression cannot be rendered; write it more simply")
    return f"TRY({text[len(_PREFIX) : -len(_SUFFIX)]})"


def _parsed(sql: str, where: str) -> Any:
    with connected() as connection:
        row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT {sql}\nFROM records"]).fetchone()
    statement = json.loads(row[0]) if row else {"error": True}
    if statement["error"]:
        raise BadInput(f"{where}: not an SQL expression: {' '.join(str(statement.get('error_message')).split())}")
    return statement


def _checked(sql: str, where: str, statement: Any = None) -> Any:
    """The one expression of a parsed SELECT, after every node of it was found on the allow-lists."""
    statements = (statement or _parsed(sql, where))["statements"]
    node = statements[0]["node"]
    extra = [key for key, value in node.items() if key not in _ONLY_THESE and value not in (None, [], {})]
    plain = node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1 and not node["cte_map"]["map"]
    source = node.get("from_table", {})
    plain = plain and (source.get("type"), source.get("table_name"), source.get("alias")) == (
        "BASE_TABLE",
        "records",
        "",
    )
    if len(statements) != 1 or extra or not plain or node["select_list"][0]["alias"]:
        raise BadInput(f"{where}: must be one scalar expression over the file's columns, nothing more")
    for inner in _nodes(node["select_list"]):
        if (refused := _refused(inner)) is not None:
            raise BadInput(
                f"{where}: {refused} is not allowed in a mapping; use scalar expressions over the file's columns"
            )
    return node["select_list"][0]


def _refused(node: dict[str, Any]) -> str | None:
    """What is wrong with one node of the tree, or None."""
    kind, detail = node["class"], node["type"]
    if kind in PLAIN_CLASSES:
        return None
    if kind == "OPERATOR":
        return None if detail in OPERATORS else detail.lower()
    if kind == "CAST":
        return None if node["cast_type"]["id"] in CAST_TYPES else f"a cast to {node['cast_type']['id']}"
    if kind != "FUNCTION":
        return str(kind).lower()
    odd = node["filter"] or node["order_bys"]["orders"] or node["distinct"] or node["schema"] or node["catalog"]
    return f"the function {node['function_name']}" if odd or node["function_name"].lower() not in FUNCTIONS else None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _columns(tree: Any) -> Iterator[dict[str, Any]]:
    return (node for node in _nodes(tree) if node["class"] == "COLUMN_REF")
