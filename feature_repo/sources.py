"""Where the offline rows of each view lie: Parquet in the workspace."""

from __future__ import annotations

from feast import FileSource
from feast.data_format import ParquetFormat

from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir


def scalar_source(settings: Settings, view: str) -> FileSource:
    """`features/<view>/`, as `statistics.py` writes it."""
    return FileSource(
        name=f"{view}_source",
        path=str(settings.features_dir / view),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )


def embedding_source(settings: Settings, embedding: str, spec_digest: str) -> FileSource:
    """The partitions of one spec, as the runner writes them."""
    return FileSource(
        name=f"{embedding}_source",
        path=str(vectors_dir(settings, embedding, spec_digest)),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
