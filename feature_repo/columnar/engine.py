"""Batch engine: Arrow batches from the offline store straight into the columns of the online store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Literal, cast

import pyarrow as pa
from feast import FeatureView
from feast.data_source import DataSource
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.feature_builder import LocalFeatureBuilder
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from pydantic import PositiveInt

from feature_repo.columnar.job import PolarsRetrievalJob
from feature_repo.columnar.online import ColumnarOnlineStore

_log = logging.getLogger(__name__)

BATCH_ROWS = 16_384


class ColumnarEngineConfig(FeastConfigBaseModel):
    """`batch_engine` of `feature_store.yaml`."""

    type: Literal["feature_repo.columnar.engine.ColumnarEngine"] = "feature_repo.columnar.engine.ColumnarEngine"
    batch_rows: PositiveInt = BATCH_ROWS


class ColumnarEngine(LocalComputeEngine):
    """Materializes views into a `ColumnarOnlineStore` batch by batch; anything else is left to Feast's local engine.

    Each batch is a transaction of its own and the newest row of a key wins whatever the order, so a run that was
    interrupted is mended by running it again. Historical features are the offline store's and the local engine's.
    """

    def __init__(self, batch_rows: int = BATCH_ROWS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._batch_rows = batch_rows

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        if not (isinstance(self.online_store, ColumnarOnlineStore) and _is_plain(task.feature_view)):
            return super()._materialize_one(registry, task, **kwargs)
        job_id = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            rows = self._stream(registry, task, self.online_store)
        except Exception as error:
            return LocalMaterializationJob(job_id, MaterializationJobStatus.ERROR, error)
        _log.info("%s: %d rows read", task.feature_view.name, rows)
        return LocalMaterializationJob(job_id, MaterializationJobStatus.SUCCEEDED)

    def _stream(self, registry: BaseRegistry, task: MaterializationTask, online: ColumnarOnlineStore) -> int:
        """Write the latest row of each key in the task's time range; returns the number of rows read."""
        view, rows = task.feature_view, 0
        backend = self._get_backend(self.get_execution_context(registry, task))
        info = LocalFeatureBuilder(registry, task, backend).get_column_info(view)
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=cast(DataSource, view.batch_source),
            join_key_columns=info.join_keys,
            feature_name_columns=info.feature_cols,
            timestamp_field=info.ts_col,
            created_timestamp_column=info.created_ts_col,
            start_date=task.start_time,
            end_date=task.end_time,
        )
        renames = info.field_mapping or {}
        with closing(_progress(task.tqdm_builder)) as bar:
            for batch in _ahead(_batches(job, self._batch_rows)):
                named = batch.rename_columns([renames.get(name, name) for name in batch.schema.names])
                online.write_arrow(self.repo_config, view, named)
                rows += batch.num_rows
                bar.update(batch.num_rows)
        online.optimise(self.repo_config, view, rows)
        return rows


def _is_plain(view: FeatureView) -> bool:
    """Whether the view's rows go online as its source has them."""
    return (
        view.online
        and not view.offline
        and view.batch_source is not None
        and not view.source_views
        and not getattr(view, "feature_transformation", None)
        and not getattr(view, "aggregations", None)
        and not getattr(view, "enable_validation", False)
    )


def _batches(job: RetrievalJob, rows: int) -> Iterator[pa.RecordBatch]:
    """The job's rows in batches of at most `rows`: streamed where the offline store can, else out of one table."""
    if isinstance(job, PolarsRetrievalJob):
        yield from job.to_arrow_batches(rows)
    else:
        yield from job.to_arrow().to_batches(max_chunksize=rows)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same; the next one is read while the caller is at work on the last."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


class _Silent:
    """Progress that nobody watches."""

    def update(self, rows: int) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing to end."""


def _progress(builder: Callable[[Any], Any] | None) -> Any:
    return builder(None) if builder else _Silent()
