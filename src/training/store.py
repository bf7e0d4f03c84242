"""Feast's store with the deployment's settings filled in: the one way in which training opens it.

`feature_store.yaml` names settings as `${OPPORTUNE_<KEY>}`. Feast itself would take them from the environment; here
they come from the settings at hand, with absolute paths: neither the environment nor the working directory matters.
"""

import re
from pathlib import Path
from typing import Any

import yaml  # comes with Feast
from feast import FeatureStore, RepoConfig
from feast.errors import FeastError

from behavior.errors import BadInput
from deployment.settings import Settings

_SETTING = re.compile(r"\$\{OPPORTUNE_([A-Z_]+)\}")


def open_store(settings: Settings) -> FeatureStore:
    """The feature store of the deployment. Raises BadInput if its configuration cannot be read."""
    config = repo_config(settings)
    return FeatureStore(repo_path=str(config.repo_path), config=config)


def repo_config(settings: Settings) -> RepoConfig:
    """Feast's configuration from `feature_store.yaml`, with the settings filled in."""
    file = settings.feature_repo.resolve() / "feature_store.yaml"
    try:
        # Filled in after parsing, so that no path can change what the file says.
        said = _filled_in(yaml.safe_load(file.read_text(encoding="utf-8")), settings, file)
        config = RepoConfig(**said)
    except FileNotFoundError:
        raise BadInput(f"there is no {file}; set feature_repo to the directory of the feature definitions") from None
    except (yaml.YAMLError, FeastError, ValueError, TypeError) as error:
        raise BadInput(f"{file} is no configuration of Feast: {' '.join(str(error).split())}") from None
    config.repo_path = file.parent
    return config


def _filled_in(value: Any, settings: Settings, file: Path) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each, settings, file) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, settings, file) for each in value]
    if isinstance(value, str):
        return _SETTING.sub(lambda match: _setting(match[1].lower(), settings, file), value)
    return value


def _setting(key: str, settings: Settings, file: Path) -> str:
    if key not in Settings.model_fields:
        raise BadInput(f"{file}: OPPORTUNE_{key.upper()} is no setting; docs/reference/settings.md lists them all")
    value = getattr(settings, key)
    if isinstance(value, Path):
        return str(value.resolve())
    return "" if value is None else str(value)
