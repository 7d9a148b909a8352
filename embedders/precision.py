"""What encoders compute in: float32, or something quicker that has been found to give the same vectors.

`auto` is bfloat16 where the processor or the GPU multiplies it. Nothing is used before the vectors of some of the
run's own contents have been compared with float32's; where they differ too much, the run stays with float32 and says
so. What was found is kept beside the partitions before the first of them is written, so that a run that was killed
goes on as it began.

`int8` vectors are others than float32's, so it is part of the spec's fingerprint. The rest is not: at a mean cosine of
0.999 two precisions differ less than two encodings of the same picture, so a workspace stays fresh when it moves to
a machine without bfloat16, and a query, which is always encoded in float32, meets the vectors as they are.
Imports torch only when an embedder is loaded.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from shutil import which

import numpy as np

from embedders.base import Decoded, Embedder, Matrix, load_embedder
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import ConfigurationError, MediaError
from feature_repo.files import sweep, write_json
from feature_repo.settings import Precision, Settings
from feature_repo.vectors import vectors_dir

logger = logging.getLogger(__name__)

LEAST_COSINE: Mapping[Precision, float] = {"bfloat16": 0.999, "compile": 0.999, "int8": 0.99}
SAMPLE = 16  # contents that a precision is checked on


@dataclass(frozen=True, slots=True)
class Choice:
    """What the settings `asked` for on a kind of `device`, what is used instead or indeed, and why.

    `cosine` is the mean between the vectors of what was tried and of float32.
    """

    asked: Precision
    device: str
    precision: Precision
    cosine: float = 1.0
    note: str | None = None


def load_settled(name: str, settings: Settings, items: Iterable[CatalogItem]) -> list[Embedder]:
    """The embedder on each of the machine's devices, at the precision that the settings ask for if it passes the check.

    `items` are contents of the run. Raises ConfigurationError, also where the precision needs what this machine lacks,
    and WeightsError.
    """
    from embedders.device import devices

    embedders = [load_embedder(name, settings.model_copy(update={"device": device})) for device in devices(settings)]
    choice = settle(embedders[0], settings, items)
    if choice.note:
        logger.log(logging.INFO if choice.asked == "auto" else logging.WARNING, "%s: %s", name, choice.note)
    if choice.precision == "float32":
        return embedders
    return [embedder.at(choice.precision) for embedder in embedders]


def settle(embedder: Embedder, settings: Settings, items: Iterable[CatalogItem]) -> Choice:
    """What the embedder is to compute in: as kept from before, else found on `items` and kept."""
    from embedders.device import pick_device

    device = pick_device(settings).type
    sweep(_path(settings, embedder.spec).parent)
    kept = kept_choice(settings, embedder.spec)
    if kept and (kept.asked, kept.device) == (settings.precision, device):
        return kept
    choice = _choose(embedder, settings.precision, device, items)
    write_json(_path(settings, embedder.spec), asdict(choice))
    return choice


def kept_choice(settings: Settings, spec: EmbeddingSpec) -> Choice | None:
    """What the last run of a spec computed in; None where nothing was encoded yet."""
    try:
        return Choice(**json.loads(_path(settings, spec).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def mean_cosine(ours: Matrix, theirs: Matrix) -> float:
    """Mean over the rows, which need not be normalised."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(np.mean((ours * theirs).sum(1) / lengths))


def _path(settings: Settings, spec: EmbeddingSpec) -> Path:
    folder = vectors_dir(settings, spec.name, spec.digest)
    return folder.with_name(f".{folder.name}.precision.json")


def _choose(embedder: Embedder, asked: Precision, device: str, items: Iterable[CatalogItem]) -> Choice:
    wanted = asked
    if asked == "auto":
        wanted = "bfloat16" if "bfloat16" in embedder.precisions and multiplies_bfloat16(device) else "float32"
    if wanted == "float32":
        return Choice(asked, device, wanted)
    if wanted not in embedder.precisions or (wanted == "int8" and device != "cpu"):
        return Choice(asked, device, "float32", note=f"it has no {wanted} form on this device; float32 is used")
    if wanted == "compile" and device == "cpu" and not any(map(which, ("c++", "g++", "clang++"))):
        raise ConfigurationError(
            "setting precision (LARDER_PRECISION): compile needs a C++ compiler; install g++ or clang++, or use auto"
        )
    sample = list(islice(_readable(embedder, items), SAMPLE))
    if not sample:
        return Choice(asked, device, "float32", note=f"nothing could be read to check {wanted} on; float32 is used")
    cosine = mean_cosine(embedder.at(wanted).encode(sample), embedder.encode(sample))
    if cosine >= LEAST_COSINE[wanted]:
        return Choice(asked, device, wanted, cosine)
    said = f"{wanted} gives vectors at cosine {cosine:.5f} to float32's, under {LEAST_COSINE[wanted]}; float32 is used"
    return Choice(asked, device, "float32", cosine, said)


def _readable(embedder: Embedder, items: Iterable[CatalogItem]) -> Iterable[Decoded]:
    """The contents that can be decoded."""
    for item in items:
        try:
            yield embedder.decode(item)
        except MediaError:
            continue


def multiplies_bfloat16(device: str) -> bool:
    """Whether the device has instructions for it; elsewhere it is emulated, and slow."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
