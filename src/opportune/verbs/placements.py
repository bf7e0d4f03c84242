"""`opportune placements`: the placements of a file, checked as a server checks them."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from behavior.plan import Plan
from deployment.plan_file import load_plan
from deployment.settings import Settings, load
from opportune.output import console, show
from scoring.placement_file import read_bytes, read_placements, unmade
from scoring.placements import Placement, Placements


def placements(file: Path | None = None, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Show the placements, and check their file before it is rolled out.

    What is wrong is said in a sentence, with exit status 2: a server would refuse the file in the same words.

    Parameters
    ----------
    file
        The file to check. Default: the setting `placements`; without one the built-in default is shown.
    as_json
        Print one JSON object instead of a table.
    """
    settings = load()
    path = file or settings.placements
    found = Placements() if path is None else read_placements(path, read_bytes(path))
    plan = _plan(settings)
    left_out = [] if plan is None else unmade(found, plan)
    everything = {"placements_id": found.placements_id, "default": found.default, "placements": found.named}
    show(_table(found), everything | {"left_out": left_out}, as_json=as_json)
    if not as_json:
        for each in left_out:
            console().print(Text(each))


def _plan(settings: Settings) -> Plan | None:
    """The plan, if `apply` has made one."""
    return load_plan(settings.plan) if settings.plan.exists() else None


def _table(found: Placements) -> Table:
    table = Table(
        "placement", "kind", "candidates", "weights", "else", title=f"placements {found.placements_id}".strip()
    )
    for name, placement in {"(default)": found.default, **found.named}.items():
        sources = ", ".join(f"{each.source} {each.most}" for each in placement.candidates)
        weights = ", ".join(f"{factor} {weight:g}" for factor, weight in placement.weights.items())
        cells = (name, placement.kind, sources, weights or "the factors' own", ", ".join(_rest(placement)))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _rest(placement: Placement) -> list[str]:
    said = [f"{placement.deadline_ms} ms"]
    if placement.diversity is not None:
        said.append(f"mixed over {placement.diversity.over} by {placement.diversity.relevance:g}")
    tables = {"boosts": placement.boosts, "devices": placement.devices, "pages": placement.pages}
    return said + [f"{len(table)} {name}" for name, table in tables.items() if table]
