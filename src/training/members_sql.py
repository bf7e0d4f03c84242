"""The SQL of what remembers members: which texts come and go, and which events came last."""

from behavior.window import hop_of
from training.chosen import BEFORE, SO_FAR, Chosen, select, text
from training.parts import Latest, Members


def members_relation(chosen: Chosen, members: Members, name: str) -> tuple[str, str]:
    """The relation that says when texts come (and go), its name first.

    Its columns are `life`, `k` and `e` of an event, and `comes`, 1 if a text comes with it that was not there.
    """
    if members.over_us is None:
        return f"first_{name}", _first(chosen, members, name)
    return f"stays_{name}", _stays(chosen, members, members.over_us)


def _stays(chosen: Chosen, members: Members, over_us: int) -> str:
    """A text stays while an event that has it is in the window; it goes at `leaves` if `goes` is 1.

    Events of one text that follow each other within the window are one stay: it comes with the first of them and goes
    when the last of them leaves. An event that is too late for the window leaves as it enters.
    """
    leaves = f"greatest(max(e) - max(e) % {hop_of(over_us)} + {over_us}, k + 1)"
    by_member = "PARTITION BY life, member ORDER BY k"
    columns = [
        "life", "k", "e", f"max(leaves) OVER ({by_member} {SO_FAR}) AS leaves",
        f"max(leaves) OVER ({by_member} {BEFORE}) AS left_before", f"lead(k) OVER ({by_member}) AS next_k",
    ]  # fmt: skip
    return f"""\
  SELECT life, k, e, leaves, CASE WHEN left_before >= k + 1 THEN 0 ELSE 1 END AS comes,
         CASE WHEN next_k + 1 <= leaves THEN 0 ELSE 1 END AS goes
  FROM (
{select(columns)}
  FROM (
{select(["life", f"{members.member} AS member", "k", "max(e) AS e", f"{leaves} AS leaves"])}
  {chosen.of_lives(members.match, f"{members.member} IS NOT NULL")}
  GROUP BY life, {members.member}, k
  ) AS occurred
  ) AS followed"""


def _first(chosen: Chosen, members: Members, name: str) -> str:
    """A text counts from the first event that has it on; those that are carried count already."""
    first = f"""\
{select(["life", f"{members.member} AS member", "min(k) AS k", "min_by(e, k) AS e", "1 AS comes"])}
  {chosen.of_lives(members.match, f"{members.member} IS NOT NULL", new=True)}
  GROUP BY life, {members.member}"""
    if chosen.since is None:
        return first
    return f"""\
  SELECT life, member, k, e, comes
  FROM (
{first}
  ) AS came
  LEFT JOIN (SELECT life, {name} AS known FROM {chosen.carried_lives()}) AS remembered USING (life)
  WHERE NOT coalesce(list_contains(known, member), FALSE)"""


def recent_lists(chosen: Chosen, latest: Latest, name: str) -> str:
    """The last events of a life as it stood after each admission, newest first: one row per life and k."""
    newest_first = "PARTITION BY life ORDER BY k DESC, message_id DESC"
    said = "kind || '|' || CAST(e AS VARCHAR) || '|' || coalesce(item, '') AS said"
    kinds = f"kind IN ({', '.join(text(kind) for kind in latest.kinds)})"
    reach = f"ROWS BETWEEN CURRENT ROW AND {latest.size - 1} FOLLOWING"
    listed = [f"list(said) OVER ({newest_first} {reach}) AS recent", f"lag(k) OVER ({newest_first}) AS later_k"]
    lists = f"""\
  SELECT life, k, recent AS {name}
  FROM (
{select(["life", "k", *listed])}
  FROM (
{select(["life", "k", "message_id", said])}
  {chosen.of_lives(kinds, new=True)}
  ) AS told
  ) AS lists
  WHERE later_k IS NULL OR later_k <> k"""
    if chosen.since is None:
        return lists
    whole = f"array_slice(list_concat({name}, coalesce(known, CAST([] AS VARCHAR[]))), 1, {latest.size}) AS {name}"
    return f"""\
  WITH remembered AS (SELECT life, {name} AS known FROM {chosen.carried_lives()})
  SELECT life, k, {whole}
  FROM (
{lists}
  ) AS came
  LEFT JOIN remembered USING (life)
  UNION ALL
  SELECT life, {chosen.read_from}, known FROM remembered"""
