"""`opportune segment`: what kinds of customers there are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.output import show
from opportune.progress import progress
from opportune.warehouse import events_of, local_midnight

if TYPE_CHECKING:
    from training.personas import Made


def segment(
    *,
    at: str | None = None,
    plot: Path | None = None,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Group the active users into personas and name them, or refresh the personas so that names stay.

    Users who were active within 60 days are told by recency, orders and spend of 30 days, and by what else is known.
    The same data has the same personas: running it again changes nothing.

    Parameters
    ----------
    at
        Local date (2017-12-01) at whose beginning users are looked at. Default: the last event.
    plot
        Draw the personas into this file, an `.svg` or a `.png`.
    dry_run
        Print them, and keep the current ones.
    as_json
        Print one JSON object instead of a table.
    """
    from deployment.bundle_store import store_at
    from deployment.current_personas import current_personas
    from training.persona_plot import draw, file_kind
    from training.personas import make, write
    from training.rows import latest
    from training.store import open_store

    settings = load()
    if plot is not None:
        file_kind(plot)  # a wrong name is told before the work, not after
    kept = store_at(settings.bundles)
    with progress() as tell, events_of(settings) as events:
        instant = latest(events) + 1 if at is None else local_midnight(at, settings)
        before = current_personas(kept)
        made = make(events, open_store(settings), load_plan(settings.plan), instant, before=before, progress=tell)
    if not dry_run:
        write(kept, made.personas)
    if plot is not None:
        draw(made.personas, plot)
    was = None if before is None else before.personas_id
    show(
        Group(_table(made), Text(_told(made, was, dry_run=dry_run))), _json(made, was, dry_run=dry_run), as_json=as_json
    )


# The columns by role: how they are headed and written.
_COLUMNS = {
    "recency": ("last order, days ago", "{:,.1f}"),
    "orders": ("orders", "{:,.1f}"),
    "spend": ("spend", "{:,.2f}"),
    "views": ("views", "{:,.1f}"),
    "carts": ("carts", "{:,.1f}"),
}


def _table(made: "Made") -> Table:
    """One line per persona; the figures are those of the typical user, at the centre."""
    from training.persona_names import meaning_of
    from training.personas import shares, typicals

    roles = [role for role in _COLUMNS if role in {each.role for each in made.personas.inputs}]
    table = Table("persona", title=f"personas {made.personas.personas_id}", title_justify="left")
    for header in ("users", "share", *(_COLUMNS[role][0] for role in roles)):
        table.add_column(header, justify="right")
    table.add_column("what it means")
    for persona, share, user in zip(made.personas.personas, shares(made), typicals(made.personas), strict=True):
        figures = [_COLUMNS[role][1].format(user.of(role)) for role in roles]
        table.add_row(persona.name, f"{persona.size:,}", f"{share:.1%}", *figures, meaning_of(persona.name))
    return table


def _told(made: "Made", was: str | None, *, dry_run: bool) -> str:
    choice = made.personas.choice
    days = made.personas.window_us / 86_400e6
    how = (
        f"{choice.clusters} groups by {choice.method}: silhouette {choice.silhouette:.2f}, stability "
        f"{choice.stability:.2f} of 1; orders and spend of {days:.0f} days"
    )
    fate = "nothing was kept" if dry_run else "they are current"
    if was is None:
        return f"{how}; {fate}"
    if was == made.personas.personas_id:
        return f"{how}; they are what they were"
    if made.changed is None:
        return f"{how}; those before, {was}, were told by other features; {fate}"
    return f"{how}; {made.changed:.1%} of the users have another persona than under {was}; {fate}"


def _json(made: "Made", was: str | None, *, dry_run: bool) -> dict[str, object]:
    from training.persona_names import meaning_of
    from training.personas import shares, typicals

    return {
        "personas_id": made.personas.personas_id,
        "before": was,
        "changed_share": made.changed,
        "kept": not dry_run,
        "users": len(made.assigned),
        "window_days": made.personas.window_us / 86_400e6,
        "choice": made.personas.choice.method,
        "clusters": made.personas.choice.clusters,
        "considered": made.considered,
        "personas": [
            {"name": persona.name, "users": persona.size, "share": share, "meaning": meaning_of(persona.name)}
            | dict(user.values)
            for persona, share, user in zip(
                made.personas.personas, shares(made), typicals(made.personas), strict=True
            )
        ],
    }  # fmt: skip
