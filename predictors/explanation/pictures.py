"""Where in a picture a predictor looks: maps over the pixels that its image embedder read, and drawings of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from pytorch_grad_cam import GradCAM
from torch import nn

from embedders.base import load_pinned, read_file
from embedders.media.image import Pixels
from embedders.tuned import Tunable, blocks_of
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality
from feature_repo.errors import StateError
from feature_repo.files import replacing
from feature_repo.settings import Settings
from predictors.base import Predictor
from predictors.explanation.explain import Explanation
from predictors.torch_fit import reproducible

Map = npt.NDArray[np.float32]

GRAD_CAM, ROLLOUT, TOKENS = "grad-cam", "attention rollout", "attention of the text"


@dataclass(frozen=True, slots=True)
class PictureMap:
    """What of a picture counts. `pixels` (h, w, 3) uint8 are what `embedding` read, `heat` (h, w) is in [0, 1]."""

    embedding: str
    method: str
    pixels: Pixels
    heat: Map


def picture_maps(
    settings: Settings, predictor: Predictor, explanation: Explanation, row: int, item: CatalogItem
) -> list[PictureMap]:
    """Maps over a content's picture, of every embedding of pictures that the explanation has a direction of.

    An embedder of which gradients cannot be had gives none. Raises MediaError where the content has no picture that
    can be read, StateError where the predictor reads no picture.
    """
    if not explanation.directions and not explanation.attention:
        raise StateError(f"{predictor.name} reads no vectors of pictures: embed some, apply, and train it again")
    read_file(item, Modality.IMAGE)
    maps = []
    for name, directions in explanation.directions.items():
        embedder: Any = load_pinned(name, settings, predictor.embeddings[name])
        if not hasattr(embedder, "features"):  # a vector that is made of another embedding's
            continue
        pixels = embedder.decode(item)
        maps.append(PictureMap(name, GRAD_CAM, pixels, grad_cam(embedder, pixels, directions[row])))
        if (rolled := attention_rollout(embedder, pixels)) is not None:
            maps.append(PictureMap(name, ROLLOUT, pixels, rolled))
        if name in explanation.attention:
            heat = _enlarged(explanation.attention[name][row], pixels)
            maps.append(PictureMap(name, TOKENS, pixels, heat))
    return maps


def grad_cam(embedder: Tunable, pixels: Pixels, direction: Map) -> Map:
    """Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391): where the picture makes its vector point
    along `direction` (dim,). (h, w) float32 in [0, 1], all 0 where nothing does.

    Of a convolutional net the last map of features is read, of a transformer the states that enter its last block.
    """
    layer, (height, width), of_tokens = _readable(embedder, pixels)
    places = height * width

    def as_map(states: torch.Tensor) -> torch.Tensor:
        return states[:, -places:].transpose(1, 2).reshape(len(states), -1, height, width)

    def target(vector: torch.Tensor) -> torch.Tensor:
        return vector @ torch.from_numpy(direction).to(vector)

    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    with _gradients(embedder.net), _LastCall(_Vector(embedder), [layer], as_map if of_tokens else None) as cam:
        heat: npt.NDArray[np.floating[Any]] = cam(batch, [target])[0]
    return np.asarray(heat, np.float32)


def attention_rollout(embedder: Tunable, pixels: Pixels) -> Map | None:
    """Attention rollout (Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928): how much of each place reaches what
    a transformer says in the end, through all of its blocks. (h, w) float32 in [0, 1]; None of a net that shows none.
    """
    _, (height, width), of_tokens = _readable(embedder, pixels)
    mixed = None
    for weights in _attentions(embedder, pixels) if of_tokens else ():
        own = weights.mean(dim=0)
        step = (own + torch.eye(len(own))) / 2  # half of what a block gives on is what came in
        mixed = step if mixed is None else step @ mixed
    if mixed is None:
        return None
    said = mixed[0] if len(mixed) > height * width else mixed.mean(dim=0)  # of the class token, where there is one
    return _enlarged(said[-height * width :].view(height, width).numpy(), pixels)


def overlay(made: PictureMap) -> bytes:
    """PNG: the picture, and beside it the same under the heat, with its scale. The same map gives the same bytes."""
    figure = Figure(figsize=(7.4, 3.4), dpi=120, layout="constrained")
    plain, hot = figure.subplots(1, 2)
    plain.imshow(made.pixels)
    plain.set_title("what the embedder sees", fontsize=9)
    hot.imshow(made.pixels)
    drawn = hot.imshow(made.heat, cmap="inferno", vmin=0, vmax=1, alpha=0.25 + 0.5 * made.heat)
    hot.set_title(f"{made.method}, {made.embedding}", fontsize=9)
    for axes in (plain, hot):
        axes.set_axis_off()
    opaque = ScalarMappable(norm=drawn.norm, cmap=drawn.cmap)
    scale = figure.colorbar(opaque, ax=hot, shrink=0.8)
    scale.set_label("share of the strongest place", fontsize=8)
    scale.ax.tick_params(labelsize=7)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def write_pictures(maps: list[PictureMap], folder: Path, content_id: str) -> list[Path]:
    """Each map as a PNG and as numbers (`.npy`), named after content, embedding and method; the pictures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for made in maps:
        name = "-".join(_plain(each) for each in (content_id, made.embedding, made.method))
        with replacing(folder / f"{name}.png", durable=False) as beside:
            beside.write_bytes(overlay(made))
        with replacing(folder / f"{name}.npy", durable=False) as beside, beside.open("wb") as file:
            np.save(file, made.heat, allow_pickle=False)
        written.append(folder / f"{name}.png")
    return written


class _Vector(nn.Module):
    """Pixels (1, 3, h, w) uint8 -> the embedder's vector, (1, dim)."""

    def __init__(self, embedder: Tunable) -> None:
        super().__init__()
        self.net = embedder.net
        self._features = embedder.features

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors, _ = self._features(list(pixels.permute(0, 2, 3, 1).cpu().numpy()), 1)
        return nn.functional.normalize(vectors, dim=-1)


class _LastCall(GradCAM):  # type: ignore[misc]  # the library has no types
    """Grad-CAM of the last time that a layer is called: a net may have one activation for many places."""

    def compute_cam_per_layer(self, *arguments: Any) -> list[npt.NDArray[Any]]:
        seen = self.activations_and_grads
        seen.activations, seen.gradients = seen.activations[-1:], seen.gradients[-1:]
        return cast(list[npt.NDArray[Any]], super().compute_cam_per_layer(*arguments))


def _readable(embedder: Tunable, pixels: Pixels) -> tuple[nn.Module, tuple[int, int], bool]:
    """The layer that Grad-CAM reads, the grid of places there, and whether it gives tokens in place of a map."""
    maps: list[tuple[nn.Module, tuple[int, int]]] = []
    patches: list[tuple[int, int]] = []
    last = blocks_of(embedder.net)[-1]
    in_tokens = []

    def note(module: nn.Module, given: object, made: object) -> None:
        made = made[0] if isinstance(made, tuple) else made
        if not isinstance(made, torch.Tensor):
            return
        if made.ndim == 4 and made.shape[2] * made.shape[3] > 1:
            grid = made.shape[2], made.shape[3]
            maps.append((module, grid))
            if isinstance(module, nn.Conv2d):
                patches.append(grid)
        if module is last:
            in_tokens.append(made.ndim == 3)

    with _hooked(embedder.net, note), torch.no_grad():
        embedder.features([pixels], 1)
    if any(in_tokens):
        return next(module for module in last.modules() if isinstance(module, nn.LayerNorm)), patches[-1], True
    return *maps[-1], False


def _attentions(embedder: Tunable, pixels: Pixels) -> list[torch.Tensor]:
    """Attention of each block, (heads, L, L), from the first to the last."""
    found: list[torch.Tensor] = []

    def note(module: nn.Module, given: object, made: object) -> None:
        for part in made if isinstance(made, tuple) else (made,):
            if isinstance(part, torch.Tensor) and part.ndim == 4 and part.shape[2] == part.shape[3] > 1:
                sums = part.sum(dim=3)
                if torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
                    found.append(part[0].cpu())

    with _unfused(embedder.net), _hooked(embedder.net, note), torch.no_grad():
        embedder.features([pixels], 1)
    return found


@contextmanager
def _unfused(net: nn.Module) -> Iterator[None]:
    """Within the block attention is computed in steps, so that its weights are there to be read."""
    config: Any = getattr(net, "config", None)
    before = config._attn_implementation if config is not None else None
    fused = [module for module in net.modules() if getattr(module, "fused_attn", False)]
    try:
        if config is not None:
            config._attn_implementation = "eager"
        for module in fused:
            cast(Any, module).fused_attn = False
        yield
    finally:
        if config is not None:
            config._attn_implementation = before
        for module in fused:
            cast(Any, module).fused_attn = True


@contextmanager
def _hooked(net: nn.Module, note: Any) -> Iterator[None]:
    """Within the block `note` is told what each module is given and gives."""
    hooks = [module.register_forward_hook(note) for module in net.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _gradients(net: nn.Module) -> Iterator[None]:
    """Within the block the net has gradients, and adds in one order; after it the net is as it was."""
    needed = [parameter.requires_grad for parameter in net.parameters()]
    with reproducible(0, next(net.parameters()).device):
        try:
            net.requires_grad_(True)
            yield
        finally:
            net.zero_grad(set_to_none=True)
            for parameter, need in zip(net.parameters(), needed, strict=True):
                parameter.requires_grad_(need)


def _enlarged(heat: npt.NDArray[Any], pixels: Pixels) -> Map:
    """A grid of weights over all pixels, the strongest 1."""
    size = pixels.shape[:2]
    grid = torch.from_numpy(np.asarray(heat, np.float32))[None, None]
    wide = nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=False)[0, 0].clamp_min(0)
    return (wide / wide.max().clamp_min(1e-12)).numpy()


def _plain(name: str) -> str:
    """A name as a file may have it."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
