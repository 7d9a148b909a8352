"""Log-mel spectrograms and cepstra of many sounds at once, as librosa defines them (https://librosa.org/doc).

Sounds of different lengths share each step: their frames are stacked without padding up to the mel bands, which is
where the work is. What comes after is small and padded: (n, longest, bands) and how many frames each sound has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Samples = npt.NDArray[np.float32]

N_FFT = 2048
HOP = 512
TOP_DB = 80.0
DELTA_WIDTH = 9  # frames, librosa.feature.delta's
SHORTEST = (DELTA_WIDTH - 1) * HOP  # samples that give so many frames
_FLOOR = 1e-10  # least power, librosa.power_to_db's amin
_CHUNK = 512  # frames transformed at once: more leave the processor's cache


def log_mel(
    sounds: Sequence[Samples], rate: int, bands: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """`power_to_db(melspectrogram(y, sr=rate, n_mels=bands))` of each sound, with librosa's other defaults.

    (n, longest, bands) float32 in dB, at most 80 below each sound's loudest band, and (n,) int64 frames. What lies
    beyond a sound's frames is undefined. A sound shorter than 9 frames is repeated up to there.
    """
    padded = [_centred(sound) for sound in sounds]
    counts = torch.tensor([1 + (len(sound) - N_FFT) // HOP for sound in padded])
    mel = torch.cat(list(_mel_power(padded, rate, bands, device)))
    decibels = torch.split(10 * mel.clamp_min(_FLOOR).log10(), counts.tolist())
    db = nn.utils.rnn.pad_sequence(list(decibels), batch_first=True)
    counts = counts.to(device)
    loudest = db.masked_fill(~_inside(counts, db.shape[1])[:, :, None], -torch.inf).amax((1, 2), keepdim=True)
    return torch.maximum(db, loudest - TOP_DB), counts


def cepstra(db: torch.Tensor, coefficients: int) -> torch.Tensor:
    """`librosa.feature.mfcc` of (n, frames, bands) dB: the first numbers of their DCT-II, (n, frames, coefficients)."""
    return (db.double() @ _cosines(db.shape[-1], coefficients).to(db.device)).float()


def delta(series: torch.Tensor, counts: torch.Tensor, order: int) -> torch.Tensor:
    """First or second derivative over time as `librosa.feature.delta`, per frame: (n, frames, d), as `series` is.

    A Savitzky-Golay filter 9 frames wide whose polynomial has degree `order`; the polynomial's derivative of that
    order is one number, so the four frames at each end have that of the nearest whole window.
    """
    half = DELTA_WIDTH // 2
    windows = series.unfold(1, DELTA_WIDTH, 1)  # (n, frames - 8, d, 9)
    slopes = windows @ _savitzky_golay(order).to(series.device)
    frames = torch.arange(series.shape[1], device=series.device)
    nearest = (frames - half).clamp_min(0).minimum(counts[:, None] - DELTA_WIDTH)  # (n, frames)
    return slopes.gather(1, nearest[:, :, None].expand_as(series))


def statistics(series: torch.Tensor, counts: torch.Tensor, percentiles: Sequence[float]) -> torch.Tensor:
    """Mean, standard deviation and percentiles over each sound's frames, (n, 2 + percentiles, d).

    Percentiles are interpolated linearly, as numpy's are.
    """
    inside = _inside(counts, series.shape[1])[:, :, None]
    count = counts[:, None]
    mean = series.where(inside, 0).sum(1) / count
    spread = ((series - mean[:, None]).where(inside, 0).square().sum(1) / count).sqrt()
    ordered = series.where(inside, torch.inf).sort(1).values
    at = torch.tensor(percentiles, dtype=torch.float64, device=series.device) / 100 * (count - 1)  # (n, percentiles)
    low, share = at.floor().long(), at.frac().float()[:, :, None]
    below, above = (
        ordered.gather(1, index[:, :, None].expand(-1, -1, series.shape[2]))
        for index in (low, (low + 1).minimum(count - 1))
    )
    return torch.cat([mean[:, None], spread[:, None], below + share * (above - below)], 1)


def _centred(sound: Samples) -> Samples:
    """The sound with half a window of silence at each end, so that frames are centred on their times."""
    whole = sound if len(sound) >= SHORTEST else np.resize(sound, SHORTEST)
    return np.pad(whole, N_FFT // 2)


def _mel_power(padded: Sequence[Samples], rate: int, bands: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Power in mel bands of all frames of all sounds, (frames, bands), some hundreds at a time."""
    window = torch.hann_window(N_FFT, dtype=torch.float64).float().to(device)
    filters = _mel_filters(rate, bands).to(device)
    for sound in padded:
        frames = torch.from_numpy(sound).to(device).unfold(0, N_FFT, HOP)
        for chunk in torch.split(frames, _CHUNK):
            yield torch.fft.rfft(chunk * window).abs().square() @ filters


def _inside(counts: torch.Tensor, longest: int) -> torch.Tensor:
    return torch.arange(longest, device=counts.device) < counts[:, None]


@lru_cache
def _mel_filters(rate: int, bands: int) -> torch.Tensor:
    """(1 + N_FFT / 2, bands): triangles on Slaney's mel scale (Auditory Toolbox, 1998), each of area one."""
    edges = _slaney_hertz(np.linspace(0, _slaney_mel(rate / 2), bands + 2))
    ramps = edges[:, None] - np.fft.rfftfreq(N_FFT, 1 / rate)
    widths = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    return torch.from_numpy((triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).T.astype(np.float32))


_LINEAR_HZ, _LINEAR_MEL, _LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27  # linear to 1 kHz, then logarithmic


def _slaney_mel(hertz: float) -> float:
    return float(_LINEAR_MEL + np.log(hertz / _LINEAR_HZ) / _LOG_STEP)


def _slaney_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    linear = mel * _LINEAR_HZ / _LINEAR_MEL
    return np.where(mel < _LINEAR_MEL, linear, _LINEAR_HZ * np.exp(_LOG_STEP * (mel - _LINEAR_MEL)))


@lru_cache
def _cosines(bands: int, coefficients: int) -> torch.Tensor:
    """(bands, coefficients)."""
    k, m = np.arange(coefficients), np.arange(bands)[:, None]
    basis = np.cos(np.pi * k * (2 * m + 1) / (2 * bands)) * np.sqrt(2 / bands)
    basis[:, 0] = np.sqrt(1 / bands)
    return torch.from_numpy(basis)


@lru_cache
def _savitzky_golay(order: int) -> torch.Tensor:
    """(9,): what a window is multiplied by to get the derivative of its least-squares polynomial."""
    times = np.arange(DELTA_WIDTH) - DELTA_WIDTH // 2
    fit = np.linalg.pinv(np.vander(times.astype(float), order + 1))  # its first row gives the leading coefficient
    return torch.from_numpy((fit[0] * order).astype(np.float32))  # times order!, which is order for 1 and 2
