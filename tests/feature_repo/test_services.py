from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from feast import FeatureView, Field, FileSource
from feast.types import Float32

from feature_repo.contracts import ENGAGEMENT_FITTED
from feature_repo.entities import content
from feature_repo.services import INTEREST_VIEWS, feature_services
from feature_repo.vectors import tokens_column


def view(name: str) -> FeatureView:
    source = FileSource(name=name, path=str(Path("nowhere.parquet")), timestamp_field="event_timestamp")
    return FeatureView(
        name=name, entities=[content], ttl=timedelta(0), schema=[Field(name=name, dtype=Float32)], source=source
    )


def test_vectors_that_know_labels_are_in_the_service_of_their_predictor_alone() -> None:
    scalar = {name: view(name) for name in INTEREST_VIEWS}
    embeddings = {name: view(name) for name in ("minilm", *ENGAGEMENT_FITTED)}
    tokens = {name: view(name) for name in map(tokens_column, embeddings)}
    services = feature_services(scalar, embeddings, tokens, {})
    served = {name: {p.name for p in service.feature_view_projections} for name, service in services.items()}
    fitted = {*ENGAGEMENT_FITTED, *map(tokens_column, ENGAGEMENT_FITTED)}
    assert served.pop("end_to_end") == {"content_meta", *fitted}
    for name, views in served.items():
        assert "minilm" in views, name
        assert not views & fitted, name
    assert "minilm_tokens" in served["fusion"]
