"""The specs of embedders fitted on pairs of pictures and texts, and what they become under the settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from embedders.fitted import FittedVersion, current
from embedders.hub import family_of, model_source, resolve_hub
from feature_repo.contracts import EmbeddingSpec, Modality, digest
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings

ALIGNED = "aligned"
CLIP_TUNED = "clip_tuned"

Resolve = Callable[[str], EmbeddingSpec]

# Heads over frozen vectors of pictures and texts; the model is IMAGE+TEXT, the names of two embeddings.
# Zhai et al., SigLIP, ICCV 2023 (the loss); LiT, CVPR 2022 (frozen towers).
_ALIGNED = EmbeddingSpec(
    name="aligned_image",
    modality=Modality.IMAGE,
    dim=0,
    weights="",
    loader="embedders.aligned:AlignedEmbedder",
    query_modalities=(Modality.IMAGE, Modality.TEXT),
    options={"family": ALIGNED, "model": "efficientnet_lite0+minilm"},
    profile="fitted",
    licence="yours: fitted on your catalog, over vectors of the two embeddings",
)
# The model of family `clip` with its projections fitted on.
_CLIP_TUNED = EmbeddingSpec(
    name="clip_tuned_image",
    modality=Modality.IMAGE,
    dim=0,
    weights="",
    loader="embedders.clip_tuned:TunedEmbedder",
    query_modalities=(Modality.IMAGE, Modality.TEXT),
    options={"library": "open_clip", "family": "clip", "model": "ViT-B-32@laion2b_s34b_b79k"},
    profile="fitted",
    licence="that of the chosen weights",
)

ALIGNED_SPECS: Mapping[str, EmbeddingSpec] = {
    "aligned_image": _ALIGNED,
    "aligned_text": replace(_ALIGNED, name="aligned_text", modality=Modality.TEXT),
    "clip_tuned_image": _CLIP_TUNED,
    "clip_tuned_text": replace(_CLIP_TUNED, name="clip_tuned_text", modality=Modality.TEXT),
}


def bases_of(settings: Settings, resolve: Resolve) -> dict[Modality, EmbeddingSpec]:
    """The two embeddings that the heads stand on, resolved. Raises ConfigurationError, WeightsError."""
    return pair_of(_ALIGNED, settings, resolve, ALIGNED_SPECS.keys())


def pair_of(
    spec: EmbeddingSpec, settings: Settings, resolve: Resolve, refused: Collection[str]
) -> dict[Modality, EmbeddingSpec]:
    """The two embeddings that the model of `spec`, IMAGE+TEXT, names, resolved; none of `refused`.

    Raises ConfigurationError, WeightsError.
    """
    said = model_source(spec, settings)
    names = said.split("+")
    if len(names) != 2 or set(names) & set(refused):
        raise _wrong(spec, said, f"write the names of two embeddings, {family_of(spec)}=IMAGE+TEXT")
    found = dict(zip((Modality.IMAGE, Modality.TEXT), map(resolve, names), strict=True))
    for modality, base in found.items():
        if base.modality is not modality or modality not in base.query_modalities:
            raise _wrong(spec, said, f"{base.name} is no embedding of {modality}s that a query can use")
    return found


def pair_name(bases: Mapping[Modality, EmbeddingSpec]) -> dict[str, str]:
    """What heads are fitted on: the digest of each base. Tokens beside its vectors do not change them."""
    return {modality.value: replace(base, tokens=0).digest for modality, base in bases.items()}


def head_weights(fitted: FittedVersion, base: EmbeddingSpec) -> str:
    """What the weights of a head are called: with another base they give other vectors."""
    return digest(fitted.weights, replace(base, tokens=0).digest)


def resolve_aligned(spec: EmbeddingSpec, settings: Settings, resolve: Resolve) -> EmbeddingSpec:
    """The spec of one head as last fitted. Raises ConfigurationError where none fits the settings, StateError."""
    bases = bases_of(settings, resolve)
    fitted = _fitted(settings, ALIGNED, "on", pair_name(bases))
    base = bases[spec.modality]
    return replace(
        spec,
        dim=int(fitted.facts["dim"]),
        weights=head_weights(fitted, base),
        options={**spec.options, "model": model_source(spec, settings), "base": base.name},
    )


def resolve_clip_tuned(spec: EmbeddingSpec, settings: Settings) -> EmbeddingSpec:
    """The spec of one tower with its projection as last fitted. Raises as `resolve_aligned`, and WeightsError."""
    clip = resolve_hub(spec, settings)
    fitted = _fitted(settings, CLIP_TUNED, "of", clip.weights)
    return replace(clip, weights=tuned_weights(clip, fitted))


def tuned_weights(clip: EmbeddingSpec, fitted: FittedVersion) -> str:
    """What the weights of a model with fitted projections are called; `clip` is the model without them."""
    return digest(clip.weights, fitted.weights)


def _fitted(settings: Settings, encoder: str, key: str, wanted: object) -> FittedVersion:
    fitted = current(settings, encoder)
    if fitted is None:
        raise ConfigurationError(f"{encoder} is not fitted yet: run `larder train {encoder}`")
    if fitted.facts[key] != wanted:
        raise ConfigurationError(
            f"{encoder} was fitted over other models or weights than the settings (LARDER_MODELS) choose now: "
            f"set them back, or run `larder train {encoder}`"
        )
    return fitted


def _wrong(spec: EmbeddingSpec, said: str, mend: str) -> ConfigurationError:
    return ConfigurationError(f"setting models (LARDER_MODELS): {family_of(spec)}={said}: {mend}")
