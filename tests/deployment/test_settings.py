"""The settings: where values come from, and what is refused in which words."""

from pathlib import Path

import pytest

from behavior.errors import BadInput
from deployment.setting_types import Property
from deployment.settings import Settings, load, reference


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "opportune.toml"
    path.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPPORTUNE_CONFIG")
    return path


def test_paths_lie_in_the_home_unless_set() -> None:
    """Moving `home` moves everything that is made, but not what was placed elsewhere on purpose."""
    settings = load(home=Path("/h"), bundles=Path("/b"))
    assert (settings.archive, settings.plan, settings.run) == (Path("/h/archive"), Path("/h/plan.json"), Path("/h/run"))
    assert settings.bundles == Path("/b")


def test_bundles_lie_at_a_path_or_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL stays as it was written, for this process and its children; `file://` is a path like any other."""
    monkeypatch.setenv("OPPORTUNE_BUNDLES", "s3://shop/bundles")
    assert load().bundles == "s3://shop/bundles"
    assert load().child_environment()["OPPORTUNE_BUNDLES"] == "s3://shop/bundles"
    assert load(bundles="file:///b").bundles == load(bundles="/b").bundles == Path("/b")


def test_the_stronger_source_wins(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument over environment over file over default, key by key."""
    settings_file.write_text('host = "file"\ncurrency = "EUR"\nzone = "Asia/Tokyo"\n')
    monkeypatch.setenv("OPPORTUNE_HOST", "environment")
    monkeypatch.setenv("OPPORTUNE_CURRENCY", "CHF")
    settings = load(host="argument")
    assert (settings.host, settings.currency, settings.zone, settings.port) == ("argument", "CHF", "Asia/Tokyo", 50051)


def test_a_settings_file_elsewhere_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPPORTUNE_CONFIG names the file; a name without a file is refused rather than ignored."""
    named = tmp_path / "other.toml"
    named.write_text("partitions = 8\n")
    monkeypatch.setenv("OPPORTUNE_CONFIG", str(named))
    assert load().partitions == 8
    named.unlink()
    with pytest.raises(BadInput, match=r"OPPORTUNE_CONFIG names .*other\.toml"):
        load()


def test_plain_redis_url_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """REDIS_URL, as hosting platforms set it, is used; our own variable is stronger."""
    monkeypatch.setenv("REDIS_URL", "redis://platform:6379/0")
    assert load().redis_url == "redis://platform:6379/0"
    monkeypatch.setenv("OPPORTUNE_REDIS_URL", "redis://ours:6379/0")
    assert load().redis_url == "redis://ours:6379/0"


@pytest.mark.parametrize(
    ("name", "hint"), [("OPPORTUNE_REDISURL", "OPPORTUNE_REDIS_URL"), ("OPPORTUNE_PARTITION", "OPPORTUNE_PARTITIONS")]
)
def test_an_unknown_variable_suggests_the_nearest_key(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is an error, never silently without effect."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(BadInput, match=rf"{name} in the environment is no setting; did you mean {hint}\?"):
        load()


def test_an_unknown_key_in_the_file_suggests_the_nearest(settings_file: Path) -> None:
    """A misspelt key in the file is an error that names the file."""
    settings_file.write_text("curency = 'EUR'\n")
    with pytest.raises(BadInput, match=r"curency in opportune\.toml is no setting; did you mean currency\?"):
        load()


def test_an_unreadable_file_is_refused(settings_file: Path) -> None:
    """A file that is no TOML is one clear sentence with the place of the mistake."""
    settings_file.write_text("host = \n")
    with pytest.raises(BadInput, match=r"opportune\.toml is not valid TOML: .*line 1"):
        load()


def test_a_wrong_value_says_where_it_stands(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the argument, the variable or the file that holds the wrong value."""
    with pytest.raises(BadInput, match=r"partitions"):
        load(partitions=0)
    settings_file.write_text("port = 70000\n")
    with pytest.raises(BadInput, match=r"opportune\.toml, key port"):
        load()
    settings_file.write_text("")
    monkeypatch.setenv("OPPORTUNE_ZONE", "Mars/Base")
    with pytest.raises(BadInput, match=r"OPPORTUNE_ZONE in the environment: no time zone is called 'Mars/Base'"):
        load()


@pytest.mark.parametrize(
    "wrong", [{"memory_limit": "much"}, {"currency": "euro"}, {"redis_prefix": "a b"}, {"threads": 0}]
)
def test_values_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    """What would fail later, far from its cause, fails at load."""
    with pytest.raises(BadInput, match=next(iter(wrong))):
        load(**wrong)


def test_production_refuses_a_replay() -> None:
    """Nobody sets the clock of a deployment in production."""
    with pytest.raises(BadInput, match="exclude each other"):
        load(production=True, replay=True)


def test_properties_are_scaled_numbers_or_texts(settings_file: Path) -> None:
    """The allow-list declares each property's scale, or that it is a text, and nothing half-way."""
    settings_file.write_text('[properties]\nprice = {scale = 2}\nshelf = {kind = "text"}\n')
    assert load().properties == {"price": Property(scale=2), "shelf": Property(kind="text")}
    settings_file.write_text('[properties]\nprice = {kind = "text", scale = 2}\n')
    with pytest.raises(BadInput, match=r"properties\.price"):
        load()


def test_outcomes_have_rewards_and_the_learned_one_is_among_them(settings_file: Path) -> None:
    """Each kind of outcome says what it earns, from 0 to 1; what only says that something was shown is none."""
    settings_file.write_text('learned_outcome = "click"\n[rewards]\nclick = 0.1\npurchase = 1\n')
    assert load().rewards == {"click": 0.1, "purchase": 1.0}
    for wrong in ("Click = 1", "click = 1.5", "click = nan", "purchase = 1", "click = 1\nimpression = 0.1"):
        settings_file.write_text(f'learned_outcome = "click"\n[rewards]\n{wrong}\n')
        with pytest.raises(BadInput, match=r"learned_outcome|rewards"):
            load()


def test_the_password_comes_from_a_file_and_is_shown_nowhere(tmp_path: Path) -> None:
    """The URL that is used holds the password; what is printed does not, and neither does an error."""
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    settings = load(redis_url="redis://redis:6379/0", redis_password_file=secret)
    assert settings.redis_url == "redis://:p%40ss%2Fword@redis:6379/0"
    assert "p%40ss" not in repr(settings) + str(settings) + settings.redis_address
    assert settings.redis_address == "redis://redis:6379/0"
    with pytest.raises(BadInput, match="redis_password_file"):
        load(redis_url="redis://redis:6379/0", redis_password_file=tmp_path / "absent")


def test_a_child_sees_exactly_these_settings(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process started with the child environment loads equal settings, whatever file lies around, from anywhere."""
    parent = load(
        port=1234, replay=True, properties={"price": Property(scale=2)}, rewards={"purchase": 1}, home=Path("a b")
    )
    settings_file.write_text("partitions = 3\n")
    environment = parent.child_environment()
    assert environment["PATH"]
    for name, value in environment.items():
        if name.startswith("OPPORTUNE_"):
            monkeypatch.setenv(name, value)
    paths = {key: value.resolve() for key, value in parent if isinstance(value, Path)}
    monkeypatch.chdir("/")
    assert load() == parent.replaced(**paths)


def test_settings_cannot_be_changed_in_place() -> None:
    """Frozen: a changed copy is another object, validated like the first, and knows what was chosen."""
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    assert not settings.chosen("port")
    changed = settings.replaced(port=1)
    assert (changed.port, changed.chosen("port"), settings.port) == (1, True, 50051)
    with pytest.raises(BadInput, match="port"):
        settings.replaced(port=-1)


def test_every_key_is_documented() -> None:
    """Each key has a description, and the reference page in the repository is the one that the code prints."""
    assert all(field.description for field in Settings.model_fields.values())
    page = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
    assert page.read_text(encoding="utf-8") == reference(), "run `make reference`"
