"""The benchmark of backfills stands on definitions that compile; what it measures is not a matter of tests."""

from pathlib import Path

from rich.console import Console

from tests.benchmarks.backfill import VIEWS, BackfillBench, render
from tests.feast_plugin.repository import deployment, write_repo
from training.apply import apply


def test_its_catalogue_has_70_features_in_5_views(tmp_path: Path) -> None:
    """All kinds of features are among them, on all kinds of entities."""
    settings = deployment(tmp_path)
    write_repo(settings.feature_repo, "")
    (settings.feature_repo / "views.py").write_text(VIEWS, encoding="utf-8")
    plan = apply(settings)
    assert sorted(view.entity for view in plan.views) == ["all", "category", "item", "user", "user_category"]
    assert len(plan.features) == 70
    assert len({feature.kind.name for feature in plan.features.values()}) == 11


def test_its_figures_are_told_with_their_units() -> None:
    """Seconds and gigabytes stand beside what they are of."""
    figures = dict.fromkeys(BackfillBench.__dataclass_fields__, 7)
    text = Console(width=120)
    with text.capture() as said:
        text.print(render(BackfillBench(**figures)))  # type: ignore[arg-type]
    assert "one day more" in said.get()
    assert "7.0 GB" in said.get()
