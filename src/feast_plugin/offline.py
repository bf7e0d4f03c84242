"""Feast's offline store over change-point tables: point-in-time joins by ASOF, values finalised at each row's instant.

Feast's own DuckDB store pairs every entity row with every earlier row of the table, which explodes on change points.
Here a behavior view is one `ASOF LEFT JOIN`, and the raw values that it finds go through the very function that serving
uses. Plain views (pushed or imported) are joined the same way, as they were known at the row's instant.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb
import pandas as pd
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry

from behavior.errors import BadInput
from deployment.definition_tags import is_behavior_view
from deployment.table_manifest import Manifest, manifest_path, read_manifest
from feast_plugin.configuration import OptionalNumber, OptionalPath, OptionalText, required
from feast_plugin.entity_rows import EntityRows
from feast_plugin.joins import behavior_columns, plain_columns
from feast_plugin.retrieval import FinalValues, Retrieval


class ChangePointOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """The `offline_store` section of `feature_store.yaml`.

    tables         directory of the tables; relative paths of file sources lie in it
    memory_limit   memory that DuckDB may use, such as 1500MB
    threads        threads that DuckDB may use; all cores if empty
    """

    type: Literal["feast_plugin.offline.ChangePointOfflineStore"] = "feast_plugin.offline.ChangePointOfflineStore"
    tables: OptionalPath = None
    memory_limit: OptionalText = None
    threads: OptionalNumber = None


class ChangePointOfflineStore(DuckDBOfflineStore):
    """Feast loads this class by its dotted path; all methods are static, as Feast calls them."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
        **dates: Any,
    ) -> RetrievalJob:
        """Final values of the features at each entity row's instant, as a job whose `to_arrow` computes them.

        Entity rows keep their order and their duplicates. A value that became known only after the row's instant is
        never used, whatever `filter_by_created_timestamp` says. Raises BadInput for entity rows that cannot be joined
        and for tables that are not there.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise BadInput("get_historical_features needs a pandas data frame of entity rows, not SQL or dates alone")
        rows = EntityRows.of(entity_df)
        views = [_Joined(view, _features_of(view, feature_refs)) for view in feature_views]
        for joined in views:
            joined.check(config, rows)

        def compute() -> FinalValues:
            with _connected(config) as connection:
                columns = [joined.columns(connection, config, rows, full_feature_names) for joined in views]
            return [column for of_view in columns for column in of_view]

        return Retrieval(
            rows=rows,
            compute=compute,
            full_names=full_feature_names,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            known=RetrievalMetadata(feature_refs, rows.keys, *rows.span),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """What Feast materializes of a plain view; as the parent, with the source's path resolved."""
        return DuckDBOfflineStore.pull_latest_from_table_or_query(
            config, _plain(config, data_source), join_key_columns, feature_name_columns,
            timestamp_field, created_timestamp_column, start_date, end_date,
        )  # fmt: skip

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """The rows of a source as they are; as the parent, with the source's path resolved."""
        return DuckDBOfflineStore.pull_all_from_table_or_query(
            config, _plain(config, data_source), join_key_columns, feature_name_columns,
            timestamp_field, created_timestamp_column, start_date, end_date,
        )  # fmt: skip


class _Joined:
    """One view of a retrieval, with the features that are asked of it."""

    def __init__(self, view: FeatureView, features: Sequence[str]) -> None:
        self.view = view
        self.features = features

    @property
    def keys(self) -> dict[str, str]:
        """Join key of the view -> column of the entity rows."""
        mapped = self.view.projection.join_key_map
        return {key: mapped.get(key, key) for key in self.view.join_keys}

    def check(self, config: RepoConfig, rows: EntityRows) -> None:
        """Refuse what cannot be joined, before anything is computed."""
        for column in self.keys.values():
            if column not in rows.table.column_names:
                raise BadInput(f"view {self.view.name}: the entity rows have no column {column}; add it")
        path = self._path(config)
        if is_behavior_view(self.view.tags):
            self._manifest(path)
        elif not path.exists():
            raise BadInput(f"view {self.view.name}: its table {path} is not there; run `opportune import --items`")

    def columns(
        self, connection: duckdb.DuckDBPyConnection, config: RepoConfig, rows: EntityRows, full_names: bool
    ) -> FinalValues:
        """(name, values) of each feature, in the order in which they are asked for."""
        path = self._path(config)
        if is_behavior_view(self.view.tags):
            manifest = self._manifest(path)
            values = behavior_columns(connection, self.view, self.features, manifest, path.parent, rows, self.keys)
        else:
            values = plain_columns(connection, self.view, self.features, path, rows, self.keys)
        prefix = f"{_name_in_use(self.view)}__" if full_names else ""
        return [(f"{prefix}{name}", values[name]) for name in self.features]

    def _path(self, config: RepoConfig) -> Path:
        """The file of a plain view; beside the file that a behavior view names lies its manifest."""
        return Path(_located(config, self.view.batch_source).path)

    def _manifest(self, path: Path) -> Manifest:
        manifest = read_manifest(path.parent, self.view.name)
        if manifest is None:
            missing = manifest_path(path.parent, self.view.name)
            raise BadInput(f"view {self.view.name}: its table {missing} is not there; run `opportune backfill`")
        return manifest


def _name_in_use(view: FeatureView) -> str:
    """The view's name in references: its alias, if the retrieval gave it one."""
    return str(view.projection.name_alias or view.projection.name)


def _features_of(view: FeatureView, feature_refs: Sequence[str]) -> list[str]:
    name = _name_in_use(view)
    return [ref.partition(":")[2] for ref in feature_refs if ref.partition(":")[0] == name]


def _plain(config: RepoConfig, source: DataSource) -> FileSource:
    """The file of a plain view, located. Raises BadInput for a view that is computed from events: it has none."""
    located = _located(config, source)
    if "://" not in located.path and not Path(located.path).exists():
        raise BadInput(
            f"source {source.name}: {located.path} is not there; it has to be imported, or if the view is computed "
            "from events, its rows come from get_historical_features alone"
        )
    return located


def _located(config: RepoConfig, source: DataSource | None) -> FileSource:
    """The file source with an absolute path: relative ones lie in the directory of tables, whatever the cwd is."""
    if not isinstance(source, FileSource):
        raise BadInput(f"the source {source.name if source else None} is no file; this offline store reads files only")
    if "://" in source.path or Path(source.path).is_absolute():
        return source
    tables = required(config.offline_store.tables, "tables")
    return FileSource(
        name=source.name,
        path=str((tables / source.path).resolve()),
        file_format=source.file_format,
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column,
        field_mapping=source.field_mapping,
    )


@contextmanager
def _connected(config: RepoConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    with TemporaryDirectory(prefix="opportune-spill-") as spill, duckdb.connect() as connection:
        connection.execute("SET temp_directory = ?", [spill])
        _configure(connection, config.offline_store)
        yield connection


def _configure(connection: duckdb.DuckDBPyConnection, options: ChangePointOfflineStoreConfig) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    # DuckDB does not know how many rows an Arrow table has, takes them for few, and would join them one by one.
    connection.execute("SET asof_loop_join_threshold = 0")
    if options.memory_limit is not None:
        connection.execute("SET memory_limit = ?", [options.memory_limit])
    if options.threads is not None:
        connection.execute("SET threads = ?", [options.threads])
