"""The specs of video embedders, and what they become under the settings. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from embedders.fitted import current
from embedders.hub import family_of, model_source, weights_name
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError, unknown_name
from feature_repo.settings import Settings

OWN_MODEL = "small"

# The video models of torchvision whose features before the classifier are read: (their width, side of a frame).
TORCHVISION: Mapping[str, tuple[int, int]] = {
    "r2plus1d_18": (512, 112),
    "r3d_18": (512, 112),
    "mc3_18": (512, 112),
    "s3d": (1024, 224),
}


VIDEO_SPECS: Mapping[str, EmbeddingSpec] = {
    # Mean, deviation and motion of the vectors of frames; the model is any embedding of pictures.
    "frames": EmbeddingSpec(
        name="frames",
        modality=Modality.VIDEO,
        dim=0,
        weights="",
        loader="embedders.video:FramesEmbedder",
        query_modalities=(Modality.IMAGE,),
        options={"model": "efficientnet_lite0", "frames": 8},
        licence="that of the image embedding's weights",
    ),
    # Tran et al., R(2+1)D, CVPR 2018, https://arxiv.org/abs/1711.11248: ours ("small"), fitted on the catalog, or
    # MODEL@WEIGHTS of torchvision: R(2+1)D, R3D, MC3 or S3D (Xie et al., ECCV 2018). `window`: the middle seconds seen.
    "conv3d": EmbeddingSpec(
        name="conv3d",
        modality=Modality.VIDEO,
        dim=0,
        weights="",
        loader="embedders.conv3d:Conv3dEmbedder",
        options={"library": "torchvision", "model": OWN_MODEL, "frames": 16, "size": 112, "window": 4.0},
        profile="fitted",
        licence="yours: fitted on your catalog",
    ),
    # Tong et al., VideoMAE, NeurIPS 2022, https://arxiv.org/abs/2203.12602
    "videomae": EmbeddingSpec(
        name="videomae",
        modality=Modality.VIDEO,
        dim=0,
        weights="",
        loader="embedders.video_hub:VideoMAEEmbedder",
        options={"model": "MCG-NJU/videomae-base"},
        profile="hub",
        licence="that of the chosen weights",
    ),
    # Ni et al., X-CLIP, ECCV 2022, https://arxiv.org/abs/2208.02816
    "xclip": EmbeddingSpec(
        name="xclip",
        modality=Modality.VIDEO,
        dim=0,
        weights="",
        loader="embedders.video_hub:XCLIPEmbedder",
        query_modalities=(Modality.TEXT,),
        options={"model": "microsoft/xclip-base-patch32", "width_key": "projection_dim"},
        profile="hub",
        licence="that of the chosen weights",
    ),
}


def resolve_frames(spec: EmbeddingSpec, image: EmbeddingSpec) -> EmbeddingSpec:
    """The spec of frames seen by the image encoder that `image` is the spec of. Raises ConfigurationError."""
    if image.modality is not Modality.IMAGE:
        raise ConfigurationError(
            f"setting models (LARDER_MODELS): {spec.name} needs an image embedding, and {image.name} reads "
            f"{image.modality}; set {family_of(spec)}=efficientnet_lite0 or another of pictures"
        )
    return replace(
        spec,
        dim=3 * image.dim,
        token_dim=image.dim,
        weights=replace(image, tokens=0).digest,
        options={**spec.options, "model": image.name},
        licence=image.licence,
    )


def resolve_conv3d(spec: EmbeddingSpec, settings: Settings) -> EmbeddingSpec:
    """The spec of the 3D CNN that the settings choose: ours as last fitted, or `MODEL@WEIGHTS` of torchvision.

    Weights are a state dict's path or a tag of torchvision's (KINETICS400_V1). Raises ConfigurationError where ours was
    not fitted yet, StateError where the fit cannot be read.
    """
    model, _, given = model_source(spec, settings).partition("@")
    if model == OWN_MODEL and not given:
        fitted = current(settings, spec.name)
        if fitted is None:
            raise ConfigurationError(
                f"{spec.name} is not fitted yet: run `larder train {spec.name}`, or set LARDER_MODELS="
                f"{family_of(spec)}=r2plus1d_18@/path/to/state_dict.pth to use weights trained elsewhere"
            )
        return replace(spec, dim=int(fitted.facts["dim"]), weights=fitted.weights)
    if model not in TORCHVISION:
        names = [OWN_MODEL, *TORCHVISION]
        raise unknown_name(f"3D CNN (LARDER_MODELS={family_of(spec)}=MODEL@WEIGHTS)", model, names)
    width, side = TORCHVISION[model]
    return replace(
        spec,
        dim=width,
        weights=weights_name(given or "DEFAULT", "torchvision"),
        options={**spec.options, "model": model, "size": side},
        licence="that of the chosen weights",
    )


def weights_path(spec: EmbeddingSpec, settings: Settings) -> tuple[str, Path | None]:
    """Tag and, where one is named instead, path of torchvision weights."""
    given = model_source(spec, settings).partition("@")[2]
    return (given or "DEFAULT"), (Path(given) if given and Path(given).exists() else None)
