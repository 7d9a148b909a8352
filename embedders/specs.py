"""The table of embedders: names, shapes and weights as data, to be listed without loading a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from embedders.aligned_specs import ALIGNED_SPECS, resolve_aligned, resolve_clip_tuned
from embedders.audio_specs import AUDIO_SPECS
from embedders.hub import check_families, model_source, resolve_hub
from embedders.tuned_specs import TUNED_SPECS, resolve_tuned
from embedders.video_specs import VIDEO_SPECS, resolve_conv3d, resolve_frames
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError, unknown_name
from feature_repo.settings import Settings

# A hub embedder's widths and weights are those of the model that `LARDER_MODELS` names; see hub.py.
# Radford et al., CLIP, ICML 2021, and its kin in open_clip.
_CLIP = EmbeddingSpec(
    name="clip_image",
    modality=Modality.IMAGE,
    dim=0,
    weights="",
    loader="embedders.joint:JointEmbedder",
    query_modalities=(Modality.IMAGE, Modality.TEXT),
    options={"library": "open_clip", "family": "clip", "model": "ViT-B-32@laion2b_s34b_b79k"},
    profile="hub",
    licence="that of the chosen weights",
)
# Zhai et al., SigLIP, ICCV 2023, and SigLIP 2, https://arxiv.org/abs/2502.14786
_SIGLIP = replace(
    _CLIP,
    name="siglip_image",
    options={"library": "open_clip", "family": "siglip", "model": "ViT-B-16-SigLIP2-256@webli"},
)

# Reimers and Gurevych, Sentence-BERT, EMNLP 2019; https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
_MINILM = EmbeddingSpec(
    name="minilm",
    modality=Modality.TEXT,
    dim=384,
    weights="94327278f9cc83bdefe3b7e07ce72845",  # BLAKE2b-128 of model.safetensors
    loader="embedders.text:load_minilm",
    query_modalities=(Modality.TEXT,),
    options={"max_tokens": 256, "pooling": "mean"},
    token_dim=384,
    licence="Apache-2.0",
)
# Devlin et al., BERT, NAACL 2019. Option pooling: "mean" of the states, or "cls", the first of them.
_BERT = EmbeddingSpec(
    name="bert",
    modality=Modality.TEXT,
    dim=0,
    weights="",
    loader="embedders.text:load_hub",
    query_modalities=(Modality.TEXT,),
    options={"model": "bert-base-uncased", "max_tokens": 256, "pooling": "mean"},
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
        token_dim=1280,
        licence="Apache-2.0, trained on ImageNet-1k",
    ),
    "minilm": _MINILM,
    # The same of title, description and what is said in the subtitle file.
    "captions": replace(_MINILM, name="captions", modality=Modality.CAPTIONS),
    "bert": _BERT,
    # He et al., DeBERTa-v3, ICLR 2023
    "deberta": replace(_BERT, name="deberta", options={**_BERT.options, "model": "microsoft/deberta-v3-base"}),
    # Dosovitskiy et al., ViT, ICLR 2021; also DeiT, DINOv2, and through timm (model "timm:NAME") nearly anything
    "vit": EmbeddingSpec(
        name="vit",
        modality=Modality.IMAGE,
        dim=0,
        weights="",
        loader="embedders.vit:VitEmbedder",
        query_modalities=(Modality.IMAGE,),
        options={"model": "google/vit-base-patch16-224"},
        profile="hub",
        licence="that of the chosen weights",
    ),
    "clip_image": _CLIP,
    "clip_text": replace(_CLIP, name="clip_text", modality=Modality.TEXT),
    "siglip_image": _SIGLIP,
    "siglip_text": replace(_SIGLIP, name="siglip_text", modality=Modality.TEXT),
    **VIDEO_SPECS,
    **AUDIO_SPECS,
    **ALIGNED_SPECS,
    **TUNED_SPECS,
}

# Their 8-bit vectors are others than those in float32, so they have a fingerprint of their own; see precision.py.
_HAVE_INT8 = {"embedders.text:load_minilm", "embedders.text:load_hub", "embedders.vit:VitEmbedder"}


def resolve_spec(name: str, settings: Settings) -> EmbeddingSpec:
    """The spec of that name as the settings have it. Raises ConfigurationError, WeightsError.

    A spec without a width takes it, and the weights, from the model that the settings choose.
    """
    check_families(settings, SPECS)
    for wanted in (name, *settings.tokens):
        if wanted not in SPECS:
            raise unknown_name("embedding", wanted, SPECS)
    spec = SPECS[name]
    spec = spec if spec.dim else _resolve_model(spec, settings)
    tokens = settings.tokens.get(name, spec.tokens)
    if tokens and not spec.token_dim:
        raise ConfigurationError(f"setting tokens (LARDER_TOKENS): {name} has none to give; leave it out")
    if settings.precision == "int8" and spec.loader in _HAVE_INT8:
        spec = replace(spec, options={**spec.options, "precision": "int8"})
    return spec if tokens == spec.tokens else replace(spec, tokens=tokens)


def bases_first(names: Sequence[str], settings: Settings) -> list[str]:
    """The names in their order, but those that are made of other embeddings' vectors last. Raises as `resolve_spec`."""
    return sorted(names, key=lambda name: "base" in resolve_spec(name, settings).options)


def _resolve_model(spec: EmbeddingSpec, settings: Settings) -> EmbeddingSpec:
    if spec.name == "frames":
        return resolve_frames(spec, resolve_spec(model_source(spec, settings), settings))
    if spec.name in ("aligned_image", "aligned_text"):
        return resolve_aligned(spec, settings, lambda name: resolve_spec(name, settings))
    if spec.name in ("clip_tuned_image", "clip_tuned_text"):
        return resolve_clip_tuned(spec, settings)
    if spec.name in TUNED_SPECS:
        return resolve_tuned(spec, settings, resolve_spec)
    return resolve_conv3d(spec, settings) if spec.name == "conv3d" else resolve_hub(spec, settings)
