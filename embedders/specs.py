"""The table of embedders: names, shapes and weights as data, to be listed without loading a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feature_repo.contracts import EmbeddingSpec, Modality, digest
from feature_repo.errors import ConfigurationError, WeightsError, unknown_name
from feature_repo.files import digest_file
from feature_repo.settings import Settings

LOCAL_DIR = "local-dir:"

# Radford et al., CLIP, ICML 2021, and its kin in open_clip. Width and weights are those of the settings' model.
_CLIP = EmbeddingSpec(
    name="clip_image",
    modality=Modality.IMAGE,
    dim=0,
    weights="",
    loader="embedders.joint:JointEmbedder",
    query_modalities=(Modality.IMAGE, Modality.TEXT),
    profile="hub",
    licence="that of the chosen weights",
)

SPECS: Mapping[str, EmbeddingSpec] = {
    # Liu et al., EfficientNet-Lite, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite:
    # pooled features before the classifier; preprocessing as in its efficientnet_lite_builder.py.
    "efficientnet_lite0": EmbeddingSpec(
        name="efficientnet_lite0",
        modality=Modality.IMAGE,
        dim=1280,
        weights="0a19cb5b4a1686334a1c57c03f577f9d",  # BLAKE2b-128 of efficientnet-lite0-57934424.pth
        loader="embedders.image:ImageEmbedder",
        query_modalities=(Modality.IMAGE,),
        options={"size": 224, "crop": 0.875, "mean": 127.0, "std": 128.0},
        licence="Apache-2.0, trained on ImageNet-1k",
    ),
    # Reimers and Gurevych, Sentence-BERT, EMNLP 2019; https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
    "minilm": EmbeddingSpec(
        name="minilm",
        modality=Modality.TEXT,
        dim=384,
        weights="94327278f9cc83bdefe3b7e07ce72845",  # BLAKE2b-128 of model.safetensors
        loader="embedders.text:TextEmbedder",
        query_modalities=(Modality.TEXT,),
        options={"max_tokens": 256, "pooling": "mean"},
        licence="Apache-2.0",
    ),
    "clip_image": _CLIP,
    "clip_text": replace(_CLIP, name="clip_text", modality=Modality.TEXT),
}

BUNDLED_INSTEAD = "or use efficientnet_lite0 and minilm, whose weights come with Larder"


def resolve_spec(name: str, settings: Settings) -> EmbeddingSpec:
    """The spec of that name as the settings have it. Raises ConfigurationError, WeightsError.

    A CLIP spec takes its width from the model's config. Weights in files are named by their digest,
    not by their path: moved, they are the same; overwritten, they are others.
    """
    if name not in SPECS:
        raise unknown_name("embedding", name, SPECS)
    spec = SPECS[name]
    return spec if spec.dim else _resolve_clip(spec, settings)


def clip_configs() -> Path:
    """The folder where open_clip keeps its models' configs, found without its import, which takes seconds."""
    found = find_spec("open_clip")
    if found is None or found.origin is None:
        raise ConfigurationError("CLIP embedders need open_clip: pip install open_clip_torch")
    return Path(found.origin).parent / "model_configs"


def _resolve_clip(spec: EmbeddingSpec, settings: Settings) -> EmbeddingSpec:
    model, given = settings.clip_model, settings.clip_weights
    if model.startswith(LOCAL_DIR):
        folder = Path(model.removeprefix(LOCAL_DIR))
        config = _read_config(folder / "open_clip_config.json")
        return replace(spec, dim=config["embed_dim"], weights=_digest_folder(folder), options={"model": "local-dir"})
    path = clip_configs() / f"{model.replace('/', '-')}.json"
    if not path.is_file():
        names = [*(p.stem for p in path.parent.glob("*.json")), f"{LOCAL_DIR}FOLDER"]
        raise unknown_name("open_clip model (LARDER_CLIP_MODEL)", model, names)
    if not given:
        raise WeightsError(
            f"{spec.name}: no weights chosen for {model}; set LARDER_CLIP_WEIGHTS to a checkpoint's path "
            f"or to a pretrained tag of open_clip, {BUNDLED_INSTEAD}"
        )
    weights = digest_file(Path(given)) if Path(given).is_file() else f"tag {given}"
    return replace(spec, dim=_read_config(path)["embed_dim"], weights=weights, options={"model": model})


def _read_config(path: Path) -> dict[str, Any]:
    """An open_clip model config. Raises ConfigurationError."""
    try:
        config = json.loads(path.read_text())
        config = config.get("model_cfg", config)
        if not isinstance(config["embed_dim"], int):
            raise TypeError("embed_dim is not a whole number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is not an open_clip config (LARDER_CLIP_MODEL): {error!r}") from error
    return dict(config)


def _digest_folder(folder: Path) -> str:
    """Digest of the names and bytes of a model folder's files: weights, config and tokeniser all count."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return digest(*(part for path in files for part in (path.name, digest_file(path))))
