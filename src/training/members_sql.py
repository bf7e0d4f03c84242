"""The SQL of what remembers members: how many texts there are, and which events came last."""

from behavior.window import hop_of
from training.chosen import BEFORE, SO_FAR, Chosen, bigint, select, text
from training.parts import Latest, Members


def members_changes(chosen: Chosen, members: Members, name: str) -> str:
    """How many texts there are: one row per life and instant at which their number changes, as `amount_1`."""
    changes = _by_window(chosen, members, members.over_us) if members.over_us else _for_ever(chosen, name)
    return f"""\
  SELECT life, instant, {bigint("sum(change) OVER so_far", "amount_1")}
  FROM (SELECT life, instant, {bigint("sum(change)", "change")} FROM (
{changes}
  ) AS changed GROUP BY life, instant) AS by_instant
  WINDOW so_far AS (PARTITION BY life ORDER BY instant {SO_FAR})"""


def _by_window(chosen: Chosen, members: Members, over_us: int) -> str:
    """A text counts while an event that has it is in the window.

    Events of one text that follow each other within the window are one stay: it begins with the first of them and ends
    when the last of them leaves. An event that comes too late for the window leaves as it enters.
    """
    leaves = f"greatest(max(e) - max(e) % {hop_of(over_us)} + {over_us}, k + 1)"
    by_member = "PARTITION BY life, member ORDER BY k"
    columns = [
        "life", "k", f"max(leaves) OVER ({by_member} {SO_FAR}) AS leaves",
        f"max(leaves) OVER ({by_member} {BEFORE}) AS left_before", f"lead(k) OVER ({by_member}) AS next_k",
    ]  # fmt: skip
    return f"""\
  WITH stays AS (
{select(columns)}
  FROM (
{select(["life", f"{members.member} AS member", "k", f"{leaves} AS leaves"])}
  {chosen.of_lives(members.match, f"{members.member} IS NOT NULL")}
  GROUP BY life, {members.member}, k
  ) AS occurred
  )
  SELECT life, {chosen.instant("k + 1")} AS instant, 1 AS change FROM stays
  WHERE left_before IS NULL OR left_before < k + 1
  UNION ALL
  SELECT life, {chosen.instant("leaves")}, -1 FROM stays
  WHERE next_k IS NULL OR next_k + 1 > leaves"""


def _for_ever(chosen: Chosen, name: str) -> str:
    """A text counts from its first event on."""
    came = f"  SELECT life, {chosen.instant('k + 1')} AS instant, 1 AS change FROM first_{name}"
    if chosen.since is None:
        return came
    known = f"coalesce(array_length({name}), 0)"
    return f"{came}\n  UNION ALL\n  SELECT life, {chosen.since}, {known} FROM {chosen.carried_lives()}"


def first_members(chosen: Chosen, members: Members, name: str) -> str:
    """Each text that a life has, with the admission of the first event that has it; not those that are carried."""
    first = f"""\
{select(["life", f"{members.member} AS member", "min(k) AS k"])}
  {chosen.of_lives(members.match, f"{members.member} IS NOT NULL", new=True)}
  GROUP BY life, {members.member}"""
    if chosen.since is None:
        return first
    return f"""\
  SELECT life, member, k
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
