from __future__ import annotations

import io
import threading
import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import StateError
from predictors.loaded import Encoders
from predictors.pins import EmbeddingPin

SPEC = EmbeddingSpec("zeros", Modality.TEXT, 4, "w", "nowhere:None", query_modalities=(Modality.TEXT,))


class Zeros:
    """An embedder that takes its time to load."""

    def __init__(self, spec: EmbeddingSpec = SPEC) -> None:
        time.sleep(0.05)
        self.spec = spec

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        return np.zeros(4, np.float32)

    def embed_image(self, data: bytes) -> npt.NDArray[np.float32]:
        return np.zeros(4, np.float32)

    def embed(self, item: CatalogItem) -> tuple[npt.NDArray[np.float32], None]:
        return np.zeros(4, np.float32), None


def test_an_embedder_is_loaded_once_whoever_asks() -> None:
    loads: list[str] = []
    got: list[object] = []

    def load(name: str) -> Zeros:
        loads.append(name)
        return Zeros()

    encoders = Encoders({"zeros": EmbeddingPin(SPEC.digest, 4)}, load)
    assert loads == []
    threads = [threading.Thread(target=lambda: got.append(encoders.get("zeros"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["zeros"]
    assert len(got) == 8
    assert len(set(map(id, got))) == 1


def test_an_embedder_of_another_spec_is_refused() -> None:
    other = replace(SPEC, version=2)
    encoders = Encoders({"zeros": EmbeddingPin(SPEC.digest, 4)}, lambda _: Zeros(other))
    with pytest.raises(StateError, match=f"embedder zeros is of spec {other.digest}, the release pins {SPEC.digest}"):
        encoders.get("zeros")


def test_warming_loads_those_that_queries_need_and_asks_them_once() -> None:
    loads: list[str] = []
    pictures: list[bytes] = []

    class Seeing(Zeros):
        def embed_image(self, data: bytes) -> npt.NDArray[np.float32]:
            pictures.append(data)
            return super().embed_image(data)

    def load(name: str) -> Zeros:
        loads.append(name)
        return Seeing()

    text, both = EmbeddingPin(SPEC.digest, 4, ("text",)), EmbeddingPin(SPEC.digest, 4, ("image", "text"))
    Encoders({"text": text, "both": both, "deaf": EmbeddingPin(SPEC.digest, 4)}, load).warm()
    assert loads == ["text", "both"]
    (picture,) = pictures
    assert Image.open(io.BytesIO(picture)).size == (1, 1)
