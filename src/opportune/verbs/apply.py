"""`opportune apply`: the feature definitions into Feast's registry and the plan."""

from rich.table import Table

from deployment.settings import load


def apply() -> None:
    """Compile the definitions in `feature_repo/` into Feast's registry and the plan that everything else reads.

    Run it after each change of a definition. A definition that cannot be computed is refused with view and feature,
    and nothing is changed.
    """
    from training.apply import apply as compile_plan

    settings = load()
    plan = compile_plan(settings)
    table = Table(
        "view", "entity", "features", "kinds of events", title=f"plan {plan.fingerprint}", title_justify="left"
    )
    for view in plan.views:
        table.add_row(view.name, view.entity, str(len(view.features)), ", ".join(sorted(view.selects)))
    from rich.console import Console

    Console().print(table)
