"""One frozen `Settings`, read from the environment (`LARDER_*`); `LARDER_HOME` is the workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from feature_repo.errors import ConfigurationError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "int8", "compile"]


class Settings(BaseSettings):
    """Where things are and how large they may be. Every field is a variable, e.g. `LARDER_EMBEDDINGS=minilm`."""

    model_config = SettingsConfigDict(env_prefix="LARDER_", frozen=True, extra="forbid")

    home: Path = Field(Path(".larder"), description="the workspace: everything Larder writes lies below it")
    catalog_url: str = Field("", description="SQLAlchemy URL of the catalog; empty: SQLite in the workspace")
    embeddings: Annotated[tuple[str, ...], NoDecode] = Field(
        ("efficientnet_lite0", "minilm"), description="embedders to run, separated by commas"
    )
    models: Annotated[Mapping[str, str], NoDecode] = Field(
        default_factory=dict, description="models of hub embedders, by family: clip=ViT-B-32@TAG,bert=/folder"
    )
    fitted: Annotated[Mapping[str, str], NoDecode] = Field(
        default_factory=dict, description="fits to use instead of the newest, by encoder: aligned=VERSION"
    )
    tokens: Annotated[Mapping[str, NonNegativeInt], NoDecode] = Field(
        default_factory=dict, description="tokens kept beside the vectors, by embedding: minilm=16"
    )
    device: Device = Field("auto", description="where encoders run; cuda: on all GPUs")
    precision: Precision = Field("auto", description="what encoders compute in; checked against float32 before use")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="decoding threads")
    batch_size: int = Field(32, ge=1, le=4096, description="contents per forward pass, at most")
    batch_mb: int = Field(0, ge=0, description="MiB of a batch's widest layer; 0: what the device does best with")
    partition_size: int = Field(512, ge=1, le=1_000_000, description="contents per Parquet partition")
    max_pixels: int = Field(50_000_000, ge=1, description="pictures above this many pixels are refused")
    media_seconds: float = Field(30.0, gt=0, description="seconds that decoding one sound or clip may take")
    recall_gate: float = Field(0.95, ge=0.0, le=1.0, description="least recall@10 of an index that is published")
    seed: int = Field(0, ge=0, description="seed of every random choice")
    tracking: str = Field(
        "",
        pattern=r"^$|^off$|^[\w+]+://.",
        description="MLflow server that trainings are told to, by URL; empty: SQLite in the workspace; off: none",
    )
    host: str = Field("127.0.0.1", description="address that the server binds")
    port: int = Field(50051, ge=0, le=65535, description="port that the server binds; 0: any free one")
    max_candidates: int = Field(1000, ge=1, description="contents a Predict request may name")
    max_k: int = Field(1000, ge=1, description="neighbours a Similar request may ask for")
    max_waiting: int = Field(64, ge=1, description="calls that may wait for a thread before more are refused")
    max_payload_bytes: int = Field(8 * 2**20, ge=1024, description="largest message that the server accepts")

    @field_validator("embeddings", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value

    @field_validator("models", "fitted", "tokens", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        named = {name.strip(): said.strip() for name, _, said in pairs}
        if len(named) < len(pairs) or not all(name and said for name, said in named.items()):
            raise ValueError("write NAME=VALUE, separated by commas, each name once")
        return named

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def catalog(self) -> str:
        """SQLAlchemy URL of the catalog."""
        return self.catalog_url or f"sqlite:///{self.home / 'catalog.db'}"

    @property
    def interactions_dir(self) -> Path:
        """Parquet segments of the event log."""
        return self.home / "interactions"

    @property
    def features_dir(self) -> Path:
        """Parquet of the scalar feature views, one folder each."""
        return self.home / "features"

    @property
    def embeddings_dir(self) -> Path:
        """Parquet of vectors: `<name>/<spec digest>/<partition>.parquet`."""
        return self.home / "embeddings"

    @property
    def indexes_dir(self) -> Path:
        """FAISS versions: `<embedding>/<version>/`."""
        return self.home / "indexes"

    @property
    def models_dir(self) -> Path:
        """Predictor versions: `<predictor>/<version>/`."""
        return self.home / "models"

    @property
    def releases_dir(self) -> Path:
        """Release manifests."""
        return self.home / "releases"


def load_settings(**overrides: object) -> Settings:
    """`Settings` from the environment and `overrides` (None: not given). Raises ConfigurationError naming the field."""
    given = {k: v for k, v in overrides.items() if v is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"setting {name} (LARDER_{name.upper()}): {first['msg']}, got {first['input']!r}"
        ) from error


@cache
def current_settings() -> Settings:
    """The settings of this process, read once; for code that Feast imports and cannot hand anything."""
    return load_settings()
