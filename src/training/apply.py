"""`opportune apply`: the feature definitions → Feast's registry → the plan.

Everything is checked before anything is written: the definitions are read and compiled first, then Feast applies them,
then the plan is compiled once more from what the registry holds and put in place.
"""

import contextlib
import importlib
import importlib.machinery
import io
import os
import sys
import traceback
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from feast import FeatureStore, FeatureView
from feast.feature_service import FeatureService
from feast.repo_contents import RepoContents
from feast.repo_operations import (
    _get_repo_contents,
    extract_objects_for_apply_delete,
    get_repo_files,
)

from behavior.errors import BadDefinition, OpportuneError
from behavior.event import HOUR_US
from behavior.plan import Plan, View, ViewDefinition
from behavior.view_checks import check_beside
from behavior.words import properties_of
from deployment.definition_tags import definition_of, is_behavior_view
from deployment.settings import Settings
from training.store import open_store


def apply(settings: Settings) -> Plan:
    """Apply the definitions of the feature repository and write the plan that they compile to.

    Raises BadDefinition, with nothing written, for a definition that cannot be compiled: the message names the file,
    the view and the feature.
    """
    store = open_store(settings)
    settings.registry.resolve().parent.mkdir(parents=True, exist_ok=True)
    with _definitions(settings.feature_repo.resolve(), store) as contents:
        _check(contents, settings)
        to_apply, to_delete, _, _ = extract_objects_for_apply_delete(  # type: ignore[no-untyped-call]
            store.project, store.registry, contents
        )
        with contextlib.redirect_stdout(io.StringIO()):
            store.apply(to_apply, objects_to_delete=to_delete, partial=False)
    plan = plan_from_registry(store)
    _replace(settings.plan, plan.encode())
    return plan


def plan_from_registry(store: FeatureStore) -> Plan:
    """The plan of the behavior views in the registry: views in the order of their names, since the registry keeps none;
    features in the order in which their view has them.
    """
    return _plan(store.list_feature_views())


def _plan(views: Iterable[FeatureView]) -> Plan:
    return Plan(_definition(view) for view in _behavior(views))


def _behavior(views: Iterable[FeatureView]) -> list[FeatureView]:
    return sorted((view for view in views if is_behavior_view(view.tags)), key=lambda view: view.name)


def _definition(view: FeatureView) -> ViewDefinition:
    if view.ttl:
        raise BadDefinition(f"view {view.name}: it has a ttl, which behavior views do not know; use `retention`")
    fields = [(field.name, field.description, field.tags) for field in view.features]
    definition = definition_of(view.name, view.tags, fields, owner=view.owner, description=view.description)
    if "_".join(view.entities) != definition.entity:
        entities = ", ".join(view.entities)
        raise BadDefinition(f"view {view.name}: its entities are {entities}, its tags say {definition.entity}")
    return definition


def _check(contents: RepoContents, settings: Settings) -> None:
    """Refuse what Feast would accept and we could not serve."""
    repo = settings.feature_repo
    if not contents.feature_views:
        raise BadDefinition(f"{repo} defines no feature view; applying it would delete all that are registered")
    names = [view.name for view in contents.feature_views]
    for view in contents.feature_views:
        with _told_where(repo, view.name):
            _refuse_twice(view.name, [field.name for field in view.features])
            if names.count(view.name) > 1:
                raise BadDefinition(f"view {view.name} is defined twice; rename one")
    compiled: list[View] = []
    for view in _behavior(contents.feature_views):
        with _told_where(repo, view.name):
            compiled.append(View(_definition(view)))
            check_beside(compiled[-1], compiled[:-1])
            _refuse_beyond_settings(compiled[-1], settings)
    for service in contents.feature_services:
        with _told_where(repo, service.name):
            _refuse_view_twice(service)


def _refuse_beyond_settings(view: View, settings: Settings) -> None:
    """Refuse what only the settings know to be wrong: properties that no event has, a retention that is too short."""
    for feature in view.features:
        where = f"view {view.name}, feature {feature.name}"
        for name, wanted in properties_of(feature.aggregation).items():
            declared = settings.properties.get(name)
            if declared is None:
                raise BadDefinition(f"{where}: the settings declare no property {name}; add it to `properties` there")
            if (declared.kind == "text") != (wanted is str):
                said = "text" if wanted is str else "number"
                raise BadDefinition(
                    f"{where}: it takes properties.{name} for a {said}, the settings for a {declared.kind}"
                )
    shortest_us = settings.lateness_horizon_h * HOUR_US + view.interval_us
    if view.is_snapshot and view.retention_us <= shortest_us:
        raise BadDefinition(
            f"view {view.name}: its retention must be longer than its interval and the setting lateness_horizon_h "
            f"({settings.lateness_horizon_h}) together; make it longer"
        )


def _refuse_twice(view: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadDefinition(f"view {view}, feature {name}: defined twice; remove one")


def _refuse_view_twice(service: FeatureService) -> None:
    """Feast would fail on it later with a TypeError, unless each has an alias of its own."""
    named = [(projection.name, projection.name_alias) for projection in service.feature_view_projections]
    for name, alias in named:
        same = [other for view, other in named if view == name]
        if len(same) > 1 and (None in same or same.count(alias) > 1):
            raise BadDefinition(
                f"service {service.name}: it lists the view {name} twice; remove one or give each an alias"
            )


@contextlib.contextmanager
def _told_where(repo: Path, name: str) -> Iterator[None]:
    """Put the file in which the name is defined before what is wrong with it."""
    try:
        yield
    except BadDefinition as error:
        named = [file for file in sorted(repo.rglob("*.py")) if _names(file, name)]
        raise BadDefinition(f"{named[0] if named else repo}: {error}") from None


def _names(file: Path, name: str) -> bool:
    text = file.read_text(encoding="utf-8")
    return f'"{name}"' in text or f"'{name}'" in text


@contextlib.contextmanager
def _definitions(repo: Path, store: FeatureStore) -> Iterator[RepoContents]:
    """The objects that the repository's files define, read as Feast reads them, and the process as it was afterwards.

    Feast imports the files by bare name from the working directory.
    """
    files = get_repo_files(repo)
    modules = [_module_of(file, repo) for file in files]
    for file, module in zip(files, modules, strict=True):
        _refuse_clash(file, module.partition(".")[0], repo)
    before, path, bytecode = Path.cwd(), list(sys.path), sys.dont_write_bytecode
    for module in modules:
        sys.modules.pop(module, None)  # of another repository, or read before it was edited
    try:
        os.chdir(repo)
        sys.path.insert(0, str(repo))
        importlib.invalidate_caches()
        contents = _read(repo, store)
        os.chdir(before)
        yield contents
    finally:
        os.chdir(before)
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        for module in modules:
            sys.modules.pop(module, None)


def _read(repo: Path, store: FeatureStore) -> RepoContents:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            contents: RepoContents = _get_repo_contents(repo, store.project, store.config)
            return contents
    except Exception as error:  # the files are Python: anything can happen in them
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(repo)
        ]
        where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else str(repo)
        kind = "" if isinstance(error, OpportuneError) else f"{type(error).__name__}: "
        raise BadDefinition(f"{where}: {kind}{error}") from None


def _module_of(file: Path, repo: Path) -> str:
    return ".".join(file.relative_to(repo).with_suffix("").parts)


def _refuse_clash(file: Path, name: str, repo: Path) -> None:
    """Feast would import an installed module of the same name instead, find no view in it, and delete all of ours."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != repo]
    found = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    if name in sys.builtin_module_names or name in sys.stdlib_module_names or (found is not None and found.origin):
        where = found.origin if found is not None else "Python itself"
        raise BadDefinition(f"{file}: {where} has the same name, and Feast would read that instead; rename the file")


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with staging.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
