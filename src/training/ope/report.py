"""An off-policy evaluation for people: tables and sentences."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.evaluation import Estimate
from training.ope.evaluation import Evaluated


def render(found: Evaluated) -> Group:
    """The values, the weights they rest on, and what to beware of."""
    parts: list[RenderableType] = [_values(found), _weights(found)]
    if found.accounting is not None:
        parts.append(Text(f"{str(found.accounting).capitalize()}."))
    return Group(*parts, *(Text(f"· {each}") for each in found.caveats))


def _values(found: Evaluated) -> Table:
    rewards = ", ".join(f"{kind} {reward:g}" for kind, reward in found.rewards.items())
    title = (
        f"{found.candidate}\nrewards per answer ({rewards}): {found.answers:,} answers to {found.users:,} users; "
        "95 % intervals over users"
    )
    table = Table("", title=title, title_justify="left")
    for heading in ("value", "", "candidate − log", ""):
        table.add_column(heading, justify="right")
    table.add_row("the log", *_cells(found.logged, ""), "", "")
    for each in found.values:
        table.add_row(each.estimator, *_cells(each.value, ""), *_cells(each.difference, "+"))
    return table


def _weights(found: Evaluated) -> Table:
    known = found.diagnostics
    table = Table("weights up to", title="candidate / logged chances", title_justify="left")
    for heading in ("answers", "of equal weight", "share", "greatest", "mean"):
        table.add_column(heading, justify="right")
    for each in known.positions:
        table.add_row(
            f"position {each.position}", f"{each.answers:,}", f"{each.effective:,.0f}",
            f"{each.effective / each.answers:.1%}", f"{each.greatest:,.1f}", f"{each.mean:.3f} ± {each.error:.3f}",
        )  # fmt: skip
    return table


def _cells(estimate: Estimate, sign: str) -> tuple[str, str]:
    return f"{estimate.value:{sign}.4f}", f"\\[{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
