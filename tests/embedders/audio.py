"""Sounds in any container, tiny audio transformers, and the cases of the audio embedders."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedTokenizerFast,
)

from feature_repo.catalog_rows import CatalogItem
from tests.embedders.behaviour import Case, item

Samples = npt.NDArray[np.float32]


def tone(hertz: float, seconds: float = 1.0, rate: int = 22050, level: float = 0.5) -> Samples:
    """A sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seed: int, seconds: float = 1.0, rate: int = 22050, level: float = 0.1) -> Samples:
    """White noise."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def wav(samples: Samples, rate: int = 22050, channels: int = 1) -> bytes:
    """16-bit WAV with the same samples on each channel."""
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").repeat(channels).tobytes())
    return buffer.getvalue()


def encoded(samples: Samples, container: str, codec: str, rate: int = 44100, layout: str = "mono") -> bytes:
    """The samples on each channel of a file made by FFmpeg."""
    buffer = BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        channels = np.repeat(samples[None], av.AudioLayout(layout).nb_channels, 0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), "fltp", layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        queue: Any = av.AudioFifo()
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            queue.write(piece)
        while (piece := queue.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def silent_film(container: str = "mp4") -> bytes:
    """A clip of ten black pictures, without a sound track."""
    buffer = BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(10):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def sounds(folder: Path) -> list[CatalogItem]:
    """A tone, noise, a clip's sound, silence and a click, of different lengths and in different containers."""
    click = np.zeros(300, np.float32)
    click[100] = 0.9
    files = {
        "tone.wav": wav(tone(440, 2.5)),
        "noise.ogg": encoded(noise(1, 1.0, 48000), "ogg", "libopus", 48000),
        "clip.mp4": encoded(tone(1500, 0.7, 44100) + noise(2, 0.7, 44100), "mp4", "aac", layout="stereo"),
        "silence.wav": wav(np.zeros(30_000, np.float32)),
        "click.wav": wav(click, 8000),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [item(f"c{n}", audio=folder / name) for n, name in enumerate(files)]


def soundless(folder: Path) -> dict[str, CatalogItem]:
    """Contents without a sound that can be read."""
    files = {
        r"^not a sound": b"Dear reader, this is a letter.",
        r"^empty file$": b"",
        r"^empty sound track$": wav(np.empty(0, np.float32)),
        r"^no sound track$": silent_film(),
        r"^truncated: ": wav(tone(440))[:9000],
    }
    broken = {r"^no audio$": item("a"), r"^file missing: .*gone\.wav$": item("b", audio=folder / "gone.wav")}
    for n, (reason, data) in enumerate(files.items()):
        path = folder / f"broken{n}.wav"
        path.write_bytes(data)
        broken[reason] = item(f"c{n}", audio=path)
    return broken


def ast(folder: Path) -> dict[str, str]:
    """Hears 0.66 s, so that most sounds have several windows."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    ASTModel(ASTConfig(**sizes, num_mel_bins=32, max_length=64)).save_pretrained(folder)
    extractor: Any = ASTFeatureExtractor
    extractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    return {"ast": str(folder)}


def clap(folder: Path) -> dict[str, str]:
    """Both towers and a tokeniser of bytes."""
    torch.manual_seed(0)
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    sound = {
        "spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_hidden_layers": 2,
        "num_attention_heads": [2, 2], "hidden_size": 32, "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
    }  # fmt: skip
    config = ClapConfig(
        text_config={**text, "vocab_size": 300, "max_position_embeddings": 66, "projection_dim": 24},
        audio_config={**sound, "projection_dim": 24},
        projection_dim=24,
    )
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation="rand_trunc").save_pretrained(folder)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokeniser = Tokenizer(BPE({name: n for n, name in enumerate([*special, *letters])}, [], unk_token="<unk>"))
    tokeniser.pre_tokenizer = pre_tokenizers.ByteLevel()
    wrapper: Any = PreTrainedTokenizerFast
    wrapper(tokenizer_object=tokeniser, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return {"clap": str(folder)}


CASES = {
    "mfcc": Case("mfcc", sounds, broken=soundless),
    "log_mel": Case("log_mel", sounds, broken=soundless),
    "ast": Case("ast", sounds, ast, 4, soundless),
    "clap": Case("clap", sounds, clap, 4, soundless),
}
