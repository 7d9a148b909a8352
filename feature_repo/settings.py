"""One frozen `Settings`, read from the environment (`LARDER_*`); `LARDER_HOME` is the workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, SecretStr, ValidationError, field_validator
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
    http_port: int | None = Field(
        None, ge=0, le=65535, description="port of the HTTP/JSON gateway; 0: any free one; none: no gateway"
    )
    http_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="web origins whose pages may call the gateway, separated by commas: https://feed.example"
    )
    tls_cert: Path | None = Field(None, description="certificate chain of the server, PEM; none: no TLS")
    tls_key: Path | None = Field(None, description="key of that certificate, PEM, without a passphrase")
    tls_client_ca: Path | None = Field(
        None, description="authority that callers' certificates must be of, PEM; none: they need no certificate"
    )
    callers_file: Path | None = Field(
        None, description="who may call, as `larder token` writes it; none: callers in the workspace, once it is there"
    )
    callers: str = Field("", description="more lines as in that file, separated by semicolons")
    allow_insecure: bool = Field(
        False, description="let other machines reach a server without TLS, or without a list of callers"
    )
    token: SecretStr = Field(SecretStr(""), description="bearer token of the commands that ask a server")
    token_file: Path | None = Field(None, description="file that holds that token instead")
    ca: Path | None = Field(
        None, description="authority that the asked server's certificate must be of, PEM; none: no TLS"
    )
    client_cert: Path | None = Field(None, description="certificate that those commands show, PEM")
    client_key: Path | None = Field(None, description="key of that certificate, PEM")
    max_candidates: int = Field(1000, ge=1, description="contents a Predict request may name")
    max_k: int = Field(1000, ge=1, description="neighbours a Similar request may ask for")
    max_waiting: int = Field(64, ge=1, description="calls that may wait to be worked on before more are refused")
    max_waiting_s: float = Field(0.5, gt=0, description="seconds of work that may wait before more is refused")
    max_at_door: int | None = Field(
        None,
        ge=1,
        description="calls left unseen while enough others wait, more are cancelled unseen; none: see to all",
    )
    lock_memory: bool = Field(False, description="keep what a server has read of store and index from being paged out")
    raw_seconds: float = Field(2.0, gt=0, description="seconds that embedding a request's raw contents may take")
    clips_dir: Path | None = Field(None, description="folder below which callers may name clips; none: no clips")
    max_clip_mb: int = Field(256, ge=1, description="MiB of a clip that callers may name")
    max_payload_bytes: int = Field(8 * 2**20, ge=1024, description="largest message that the server accepts")
    max_streams: int = Field(256, ge=1, description="calls under way that one connection may have")
    max_connections: int = Field(10_000, ge=1, description="connections that one process accepts")
    connection_idle_s: float = Field(900.0, gt=0, description="seconds after which an unused connection is closed")
    connection_age_s: float = Field(
        3600.0, gt=0, description="seconds after which callers are made to connect anew, perhaps to another worker"
    )
    serve_workers: int = Field(1, ge=1, le=256, description="processes that serve, on one port")
    serve_threads: int = Field(0, ge=0, description="threads of each one's matrix products; 0: its share of the cores")
    serve_pinned: bool = Field(True, description="give each of several workers cores of its own")
    reuse_port: bool = Field(False, description="share the port with other servers, as workers do")

    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="port of /metrics, the first worker's; 0: any free one; none: no metrics"
    )
    metrics_host: str = Field("127.0.0.1", description="address that /metrics binds")
    otlp_endpoint: str = Field("", description="collector of OpenTelemetry traces, http://HOST:4317; empty: none")
    trace_share: float = Field(0.01, ge=0, le=1, description="share traced of the calls that come without traceparent")
    log_format: Literal["text", "json"] = Field("text", description="json: a JSON object a line, and calls are logged")
    log_share: float = Field(1.0, ge=0, le=1, description="share logged of the calls that went well or were shed")
    sample_share: float = Field(0.0, ge=0, le=1, description="share of calls whose features and scores are kept")
    samples_days: float = Field(7.0, gt=0, description="days that samples are kept")
    samples_mb: int = Field(256, ge=1, description="MiB of samples that are kept, at most")

    @field_validator("embeddings", "http_origins", mode="before")
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
    def callers_path(self) -> Path:
        """Who may call, one token a line."""
        return self.callers_file or self.home / "callers"

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
    def prepared_dir(self) -> Path:
        """What predictors make of contents alone."""
        return self.home / "prepared"

    @property
    def samples_dir(self) -> Path:
        """What predictors read and said in a share of the calls: `<predictor>/<version>/`."""
        return self.home / "samples"

    @property
    def releases_dir(self) -> Path:
        """Release manifests."""
        return self.home / "releases"

    @property
    def experiments_dir(self) -> Path:
        """Experiments, one file each."""
        return self.home / "experiments"

    @property
    def exposures_dir(self) -> Path:
        """Parquet segments of what the arms of experiments answered."""
        return self.home / "exposures"


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
