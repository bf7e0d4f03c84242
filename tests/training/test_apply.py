"""`opportune apply` through the real Feast: what it compiles, what it refuses, and Feast's traps on the way."""

import os
import sys
from pathlib import Path

import pytest

from behavior.errors import BadDefinition
from behavior.plan import Plan
from deployment.settings import Settings
from tests.feast_plugin.repository import ROOT, deployment, write_repo
from training.apply import apply, plan_from_registry
from training.store import open_store

ONE_VIEW = """
user_activity = behavior_view(
    "user_activity", entity=user, owner="o", description="d", selects=("purchase",), retention="90d",
    features=[count("purchase", over="7d"), total("purchase.value"), age("purchase"), last("purchase.category")],
)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return deployment(tmp_path)


def with_views(settings: Settings, views: str, **files: str) -> Settings:
    write_repo(settings.feature_repo, views, **files)
    return settings


def test_the_shipped_definitions_compile(tmp_path: Path) -> None:
    """The repository that we ship is a plan of the six behavior views, in the order of their names."""
    settings = deployment(tmp_path, feature_repo=ROOT / "feature_repo")
    plan = apply(settings)
    names = [
        "all_activity", "category_activity", "item_activity", "user_activity", "user_campaigns", "user_category",
    ]  # fmt: skip
    assert [view.name for view in plan.views] == names
    assert plan.utc_offset is not None
    assert plan.utc_offset.ref == "user_activity:any_utc_offset_s_last"
    service = open_store(settings).get_feature_service("purchase_7d")
    offered = {f"{view.name}:{field.name}" for view in service.feature_view_projections for field in view.features}
    assert offered <= set(plan.features) - {plan.utc_offset.ref}
    assert {ref.partition(":")[0] for ref in offered} >= {"user_activity", "user_category", "category_activity"}


def test_definitions_survive_the_registry(settings: Settings) -> None:
    """What the plan says is what was written: order of features, spans, owner, kinds; and the file holds that plan."""
    plan = apply(with_views(settings, ONE_VIEW))
    (view,) = plan.views
    names = ["purchase_count_7d", "purchase_value_total", "purchase_age_s", "purchase_category_last"]
    assert [feature.name for feature in view.features] == names
    assert [feature.dtype for feature in view.features] == ["int64", "int64", "float32", "string"]
    assert view.definition.owner == "o"
    assert view.definition.description == "d"
    assert view.retention_us == 90 * 86_400_000_000
    assert Plan.decode(settings.plan.read_bytes()).fingerprints == plan.fingerprints


def test_applying_again_changes_nothing(settings: Settings) -> None:
    """The plan is a function of the definitions: a second apply gives the same bytes."""
    apply(with_views(settings, ONE_VIEW))
    first = settings.plan.read_bytes()
    apply(settings)
    assert settings.plan.read_bytes() == first


def test_the_process_is_as_it_was(settings: Settings) -> None:
    """Feast works in the repository's directory and imports by bare name; neither remains."""
    cwd, path = Path.cwd(), list(sys.path)
    apply(with_views(settings, ONE_VIEW))
    assert Path.cwd() == cwd
    assert sys.path == path
    assert "views" not in sys.modules


def test_an_edited_definition_is_read_again(settings: Settings) -> None:
    """A second apply in one process sees the edit, and a view that is gone leaves the plan and the registry."""
    apply(with_views(settings, ONE_VIEW + ONE_VIEW.replace("user_activity", "user_other")))
    plan = apply(with_views(settings, ONE_VIEW.replace('over="7d"', 'over="30d"')))
    assert next(iter(plan.features)) == "user_activity:purchase_count_30d"
    assert [view.name for view in plan.views] == ["user_activity"]
    assert [view.name for view in plan_from_registry(open_store(settings)).views] == ["user_activity"]


def test_relative_paths_mean_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative settings lie where the command was started, not in the repository that Feast changes into."""
    monkeypatch.chdir(tmp_path)
    settings = deployment(Path("a b"))
    apply(with_views(settings, ONE_VIEW))
    assert (tmp_path / "a b" / "my var" / "registry.db").is_file()
    assert (tmp_path / "a b" / "my var" / "plan.json").is_file()
    assert not (settings.feature_repo / "a b").exists()


def test_a_refusal_leaves_what_was_applied(settings: Settings) -> None:
    """A definition that went wrong does not cost the ones that were right."""
    apply(with_views(settings, ONE_VIEW))
    registry, plan = settings.registry.read_bytes(), settings.plan.read_bytes()
    with pytest.raises(BadDefinition):
        apply(with_views(settings, "nothing = 1\n"))
    assert (settings.registry.read_bytes(), settings.plan.read_bytes()) == (registry, plan)


@pytest.mark.parametrize("name", ["json", "redis"])
def test_a_file_named_like_an_installed_module_is_refused(settings: Settings, name: str) -> None:
    """Feast would import the installed module in its place, find nothing and delete everything that is registered."""
    with_views(settings, ONE_VIEW, **{name: "x = 1\n"})
    with pytest.raises(BadDefinition, match=f"{name}.py.*same name.*rename"):
        apply(settings)


def test_no_shipped_file_is_named_like_an_installed_module() -> None:
    """The guard of the same trap for our own repository and packages."""
    ours = {file.stem for file in (ROOT / "feature_repo").glob("*.py")}
    assert ours == {"entities", "views", "services"}
    assert not ours & sys.stdlib_module_names
    assert not ours & {folder.name for folder in (ROOT / "src").iterdir()}


def test_feast_still_collects_what_is_no_view_of_ours(settings: Settings) -> None:
    """Plain views are applied beside behavior views, and stay out of the plan."""
    plain = (
        "v = FeatureView(name='v', entities=[item], source=plain_source('v'), schema=[Field(name='a', dtype=Int64)])\n"
    )
    plan = apply(with_views(settings, ONE_VIEW + plain))
    assert [view.name for view in plan.views] == ["user_activity"]
    assert {view.name for view in open_store(settings).list_feature_views()} == {"user_activity", "v"}


def test_settings_reach_feast_through_the_configuration(settings: Settings) -> None:
    """The configuration names settings; they are filled in from the settings at hand, not from the environment."""
    apply(with_views(settings, ONE_VIEW))
    config = open_store(settings.replaced(redis_url="redis://somewhere:1", threads=3)).config
    assert config.online_store.redis_url == "redis://somewhere:1"
    assert config.offline_store.threads == 3
    assert config.offline_store.tables == settings.tables.resolve()
    assert config.online_store.partitions == 4
    assert not [name for name in os.environ if name.startswith("OPPORTUNE_") and name != "OPPORTUNE_CONFIG"]
