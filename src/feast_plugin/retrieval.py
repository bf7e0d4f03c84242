"""Feast's retrieval job: computes once it is asked, and answers with final values in Feast's dtypes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import OnDemandFeatureView
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.saved_dataset import SavedDatasetStorage

from behavior.errors import BadInput
from feast_plugin.entity_rows import EntityRows

FinalValues = list[tuple[str, pa.Array]]


class Retrieval(RetrievalJob):
    """The entity rows in their order, with one column per feature behind their own."""

    def __init__(
        self,
        *,
        rows: EntityRows,
        compute: Callable[[], FinalValues],
        full_names: bool,
        on_demand: Sequence[OnDemandFeatureView],
        known: RetrievalMetadata,
    ) -> None:
        self._rows = rows
        self._compute = compute
        self._full_names = full_names
        self._on_demand = list(on_demand)
        self._known = known

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named `view__feature`."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from the others."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        """What was asked for."""
        return self._known

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        table = self._rows.table
        for name, values in self._compute():
            if name in table.column_names:
                raise BadInput(f"two columns would be called {name}; ask with full_feature_names=True")
            table = table.append_column(name, values)
        return table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        # Integers with nulls become float64 here: pandas has no other dtype that Feast's users would expect.
        return self._to_arrow_internal(timeout).to_pandas()

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result as one Parquet file."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise BadInput("a saved data set of this store must be a file; use SavedDatasetFileStorage")
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        pq.write_table(self.to_arrow(timeout=timeout), path)
