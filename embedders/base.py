"""What an embedder is, and how one is loaded by name. Imports no torch: the loaders do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from embedders.fitted import versions
from embedders.media.files import file_errors
from embedders.specs import SPECS, resolve_spec
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError, MediaError, StateError, WeightsError
from feature_repo.files import digest_file, open_plain
from feature_repo.settings import Precision, Settings
from feature_repo.vectors import rounded

Decoded = npt.NDArray[Any]
Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.float32]


class Embedder(ABC):
    """Turns contents into vectors. `decode` is for worker threads, `encode` for the thread that owns the device.

    `window` is how many decoded contents `encode` is best handed at once, `precisions` what it can compute in.
    """

    spec: EmbeddingSpec
    window: int
    precisions: tuple[Precision, ...] = ("float32",)

    @abstractmethod
    def decode(self, item: CatalogItem) -> Decoded:
        """A content as the model reads it. Raises MediaError with the reason why it cannot be read."""

    @abstractmethod
    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        """Vectors of decoded contents, (n, dim) float32 in the given order."""

    def encode_tokens(self, decoded: Sequence[Decoded]) -> tuple[Matrix, Tokens]:
        """What `encode` gives, and the spec's tokens, (n, tokens, token_dim) float32, not normalised.

        Called only where the spec has tokens. Deterministic, and a batch equals its items one by one.
        """
        raise NotImplementedError(f"{self.spec.name} says that it has tokens and gives none")

    def at(self, precision: Precision) -> Embedder:
        """One like this that computes in another of `precisions`; only `encode` and `encode_tokens` differ."""
        raise NotImplementedError(f"{self.spec.name} says that it has a {precision} form and gives none")

    def embed(self, item: CatalogItem) -> tuple[Vector, Vector | None]:
        """What a run keeps of a content: its vector, (dim,), and its tokens in a row, None where the spec has none.

        Raises MediaError.
        """
        decoded = [self.decode(item)]
        if not self.spec.tokens:
            return self.encode(decoded)[0], None
        vectors, tokens = self.encode_tokens(decoded)
        return vectors[0], rounded(tokens).ravel()

    def embed_text(self, text: str) -> Vector:
        """Vector of a text query, (dim,) float32. Raises ConfigurationError where text is no query, MediaError."""
        raise self._no_query(Modality.TEXT)

    def embed_image(self, data: bytes) -> Vector:
        """Vector of a picture's bytes, (dim,) float32. Raises ConfigurationError where it is no query, MediaError."""
        raise self._no_query(Modality.IMAGE)

    def embed_audio(self, data: bytes) -> Vector:
        """Vector of a sound's bytes, (dim,) float32. Raises ConfigurationError where it is no query, MediaError."""
        raise self._no_query(Modality.AUDIO)

    def _no_query(self, modality: Modality) -> ConfigurationError:
        takes = " and ".join(self.spec.query_modalities)
        return ConfigurationError(f"{self.spec.name} cannot be searched by {modality}: it takes {takes}")


def load_embedder(name: str, settings: Settings) -> Embedder:
    """The embedder of that name, its weights in memory. Raises ConfigurationError, WeightsError, StateError."""
    spec = resolve_spec(name, settings)
    module, _, attribute = spec.loader.partition(":")
    embedder = cast(Embedder, getattr(import_module(module), attribute)(spec, settings))
    if spec.tokens and type(embedder).encode_tokens is Embedder.encode_tokens:
        raise ConfigurationError(f"setting tokens (LARDER_TOKENS): {name} has none to give; leave it out")
    return embedder


def load_pinned(name: str, settings: Settings, spec_digest: str) -> Embedder:
    """The embedder that makes vectors of that spec, though its encoder was fitted again since.

    Raises StateError where there is none, and as `load_embedder`.
    """
    spec = SPECS.get(name)
    encoder = str(spec.options.get("family", name)) if spec else name
    for fitted in ({}, *({encoder: version} for version in versions(settings, encoder))):
        chosen = settings.model_copy(update={"fitted": {**settings.fitted, **fitted}})
        found = None
        with suppress(ConfigurationError):  # a fit over models that the settings no longer choose
            found = resolve_spec(name, chosen).digest
        if found == spec_digest:
            return load_embedder(name, chosen)
    raise StateError(
        f"embedder {name} no longer makes vectors of spec {spec_digest}, which the release pins: "
        f"run `larder embed {name}`, then `larder release`"
    )


def read_text(item: CatalogItem) -> str:
    """Title and description. Raises MediaError where both are empty."""
    if not item.content.text:
        raise MediaError("no text")
    return item.content.text


def read_file(item: CatalogItem, modality: Modality) -> bytes:
    """The bytes of a medium. Raises MediaError where the content has none or its file cannot be read."""
    path = media_path(item, modality)
    with file_errors(path), open_plain(path) as file:
        return file.read()


def media_path(item: CatalogItem, modality: Modality) -> Path:
    """Where a medium lies, for what reads files itself. Raises MediaError where the content has none."""
    path = item.content.media.get(modality)
    if path is None:
        raise MediaError(f"no {modality}")
    return path


def require_weights(path: Path, spec: EmbeddingSpec, package: str) -> Path:
    """`path`, if it holds the weights that `spec` names. Raises WeightsError: other weights, other vectors."""
    if not path.is_file() or digest_file(path) != spec.weights:
        raise WeightsError(
            f"{spec.name}: {path} does not hold the weights that the spec names ({spec.weights}); "
            f"install {package}==0.1.0"
        )
    return path
