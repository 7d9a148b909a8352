"""The specs of towers that a predictor fine-tuned on engagement, and what they become under the settings.

Their vectors know the labels of the contents that they were fitted on: they are for the predictor that made them.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from embedders.aligned_specs import ALIGNED_SPECS, pair_of
from embedders.fitted import current
from embedders.hub import model_source
from feature_repo.contracts import ENGAGEMENT_FITTED, EmbeddingSpec, Modality, digest
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings

ENCODER = "engagement_end_to_end"  # the predictor whose training fits both towers

# The model is IMAGE+TEXT, the names of two embeddings whose nets are fine-tuned.
_TUNED = EmbeddingSpec(
    name="tuned_image",
    modality=Modality.IMAGE,
    dim=0,
    weights="",
    loader="embedders.tuned:load_tuned",
    query_modalities=(Modality.IMAGE,),
    options={"family": ENCODER, "model": "efficientnet_lite0+minilm"},
    profile="fitted",
    licence="that of the chosen weights",
)
TUNED_SPECS: Mapping[str, EmbeddingSpec] = {
    "tuned_image": _TUNED,
    "tuned_text": replace(_TUNED, name="tuned_text", modality=Modality.TEXT, query_modalities=(Modality.TEXT,)),
}
assert TUNED_SPECS.keys() == set(ENGAGEMENT_FITTED)

Resolve = Callable[[str, Settings], EmbeddingSpec]


def towers_of(settings: Settings, resolve: Resolve) -> dict[Modality, EmbeddingSpec]:
    """The two embeddings that are fine-tuned, resolved. Raises ConfigurationError, WeightsError."""
    plain = base_settings(settings)
    found = pair_of(_TUNED, settings, lambda name: resolve(name, plain), [*TUNED_SPECS, *ALIGNED_SPECS])
    return {modality: replace(base, tokens=0) for modality, base in found.items()}


def base_settings(settings: Settings) -> Settings:
    """As a net is fitted: whatever its vectors are later computed in, it is the same one."""
    return settings.model_copy(update={"precision": "float32"})


def tower_names(bases: Mapping[Modality, EmbeddingSpec]) -> dict[str, str]:
    """What towers are fitted from: the digest of each base."""
    return {modality.value: base.digest for modality, base in bases.items()}


def tuned_spec(base: EmbeddingSpec, weights: str, tokens: int, said: str) -> EmbeddingSpec:
    """The spec of `base` with other weights, of that digest; `said` is the model as the settings name it."""
    tuned = TUNED_SPECS[f"tuned_{base.modality}"]
    return replace(
        tuned,
        dim=base.dim,
        token_dim=base.token_dim,
        tokens=tokens,
        weights=digest(base.digest, weights),
        options={**base.options, **tuned.options, "model": said},
        licence=base.licence,
    )


def resolve_tuned(spec: EmbeddingSpec, settings: Settings, resolve: Resolve) -> EmbeddingSpec:
    """The spec of one tower as last fitted. Raises ConfigurationError where none fits the settings, StateError."""
    bases = towers_of(settings, resolve)
    fitted = current(settings, ENCODER)
    if fitted is None:
        raise ConfigurationError(f"{spec.name} is not fitted yet: run `larder train {ENCODER}`")
    if fitted.facts["of"] != tower_names(bases):
        raise ConfigurationError(
            f"{spec.name} was fitted from other models or weights than the settings (LARDER_MODELS) choose now: "
            f"set them back, or run `larder train {ENCODER}`"
        )
    said = model_source(spec, settings)
    return tuned_spec(bases[spec.modality], fitted.weights, int(fitted.facts["tokens"]), said)
