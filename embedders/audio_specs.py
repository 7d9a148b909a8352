"""The specs of audio embedders. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from feature_repo.contracts import EmbeddingSpec, Modality

STATISTICS = 5  # over time: mean, standard deviation, 10th, 50th and 90th percentile

# Davis and Mermelstein, IEEE TASSP 28(4), 1980; coefficients and their first and second differences in time as
# librosa has them, then the statistics of each. Option coefficients: 13 to 40; dim is 15 times that.
# The level of a sound would outweigh all else in the vector, so each number is centred and divided by what is usual
# for it, an inverse of the coefficient's rank (see audio.py), and the whole is scaled to unit length. On 100 sounds
# of 10 kinds that does as well as each number's own deviation over those sounds, and better than raw vectors: same
# kind among the 5 nearest 0.48, 0.44 and 0.37, best linear probe 0.72, 0.72 and 0.65. See benchmarks/probe_audio.py.
_MFCC = EmbeddingSpec(
    name="mfcc",
    modality=Modality.AUDIO,
    dim=20 * 3 * STATISTICS,
    weights="none",
    loader="embedders.audio:MfccEmbedder",
    query_modalities=(Modality.AUDIO,),
    options={"coefficients": 20, "bands": 128, "rate": 22050, "seconds": 60},
    licence="no weights",
)
# Gong et al., AST, Interspeech 2021. A vector is the mean over windows as long as the model hears, at most 6.
_AST = EmbeddingSpec(
    name="ast",
    modality=Modality.AUDIO,
    dim=0,
    weights="",
    loader="embedders.audio_transformer:AstEmbedder",
    query_modalities=(Modality.AUDIO,),
    options={"model": "MIT/ast-finetuned-audioset-10-10-0.4593", "windows": 6},
    profile="hub",
    licence="that of the chosen weights",
)

AUDIO_SPECS: Mapping[str, EmbeddingSpec] = {
    "mfcc": _MFCC,
    # Statistics of the mel spectrogram in dB; centred and scaled likewise.
    "log_mel": replace(
        _MFCC,
        name="log_mel",
        dim=64 * STATISTICS,
        loader="embedders.audio:LogMelEmbedder",
        options={"bands": 64, "rate": 22050, "seconds": 60},
    ),
    "ast": _AST,
    # Wu et al., CLAP, ICASSP 2023: sounds and texts in one space.
    "clap": replace(
        _AST,
        name="clap",
        loader="embedders.audio_transformer:ClapEmbedder",
        query_modalities=(Modality.AUDIO, Modality.TEXT),
        options={"model": "laion/clap-htsat-unfused", "windows": 6, "width_key": "projection_dim"},
    ),
}
