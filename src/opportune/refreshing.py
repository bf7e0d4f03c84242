"""What a refresh does at each of its steps, put together from the deployment's rooms."""

from datetime import datetime
from typing import TYPE_CHECKING

from deployment.bundles import Bundles
from deployment.plan_file import load_plan
from deployment.settings import Settings
from opportune.progress import Tell
from opportune.warehouse import archive_of

if TYPE_CHECKING:
    import duckdb

    from training.refresh import Work
    from training.targets import Target


def work_of(settings: Settings, target: "Target", events: "duckdb.DuckDBPyConnection", tell: Tell) -> "Work":
    """The steps for a target; `events` has the archive as the view `events`."""
    from scoring.model import load_bundle
    from training.backfill import backfill
    from training.bundle import point
    from training.judging import judge_bundle
    from training.refresh import Work
    from training.store import open_store
    from training.train import Learning, train

    plan, bundles = load_plan(settings.plan), Bundles.of(settings)
    learning = Learning(events, open_store(settings), plan, settings.zone, settings.thread_count)

    def fill() -> None:
        backfill(
            plan, archive_of(settings), settings.tables, memory_limit=settings.memory_limit,
            threads=settings.thread_count, progress=tell,
        )  # fmt: skip

    def learn(created: datetime, until: int) -> str:
        return train(learning, target, bundles, until=until, created=created, progress=tell).bundle_id

    def load(challenger: str) -> None:
        # Servers rank categories: of other targets a bundle is read and checked, which is what they would do first.
        if target.entity == "user_category":
            load_bundle(bundles, challenger, plan, target.name)
        else:
            bundles.read(challenger)

    return Work(
        backfill=fill,
        train=learn,
        judge=lambda challenger, current, cutoffs: judge_bundle(
            learning, target, bundles, challenger, current, cutoffs, tell
        ),
        canary=lambda challenger: point(bundles, "canary", challenger),
        load=load,
        promote=lambda challenger: point(bundles, "current", challenger),
    )
