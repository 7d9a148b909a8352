"""Encoders with their upper layers fine-tuned, and the nets cut in two for that.

The lower blocks stay as they were published, so a content's states before the first block that is fitted are taken
once; all epochs start from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from embedders.base import Decoded, Embedder, load_embedder
from embedders.fitted import Weights, current, load_weights
from embedders.specs import resolve_spec
from embedders.tuned_specs import ENCODER, base_settings, resolve_tuned, towers_of
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import Settings

States = npt.NDArray[np.float16]


class Tunable(Protocol):
    """An embedder whose net can be fitted."""

    spec: EmbeddingSpec
    window: int

    @property
    def net(self) -> nn.Module:
        """What encodes; who changes its weights changes the vectors."""

    def decode(self, item: CatalogItem) -> Decoded:
        """As `Embedder.decode`."""

    def features(self, decoded: Sequence[Decoded], tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors before they are normalised, (n, dim), and tokens, (n, tokens, token_dim), with gradients; float32.

        All in one forward pass.
        """


class Tower:
    """A tunable embedder in two parts: `below` the first fitted block nothing changes, `above` it is what is fitted.

    `sample` is any decoded content; `fitted` how many of the net's last blocks are fitted, and with them all that
    comes after. Raises ConfigurationError where the net has fewer.
    """

    def __init__(self, embedder: Tunable, fitted: int, sample: Decoded) -> None:
        self.embedder = embedder
        self._sample = sample
        self._blocks = blocks_of(embedder.net)
        if not 1 <= fitted <= len(self._blocks):
            raise ConfigurationError(
                f"{embedder.spec.name} has {len(self._blocks)} blocks: of them 1 to {len(self._blocks)} can be fitted, "
                f"not {fitted}"
            )
        self.frozen = len(self._blocks) - fitted
        self.depths = self._find_upper()
        embedder.net.requires_grad_(False)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is fitted, by name in the net."""
        return {name: value for name, value in self.embedder.net.named_parameters() if name in self.depths}

    @property
    def weights(self) -> Weights:
        """A copy of what is fitted, by name in the net."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.parameters.items()}

    @torch.inference_mode()
    def below(self, decoded: Sequence[Decoded]) -> list[States]:
        """A content's states as they enter the first fitted block, float16; a text's are as many as its words."""
        entered: list[torch.Tensor] = []

        def stop(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            entered.append(inputs[0])
            raise _EnteredError

        hook = self._first.register_forward_pre_hook(stop)
        try:
            self.embedder.features(decoded, 1)
        except _EnteredError:
            states = entered[0].to(torch.float16).cpu().numpy()
        finally:
            hook.remove()
        if self.embedder.spec.modality is not Modality.TEXT:
            return list(states)
        return [row[: len(words)] for row, words in zip(states, decoded, strict=True)]

    def above(
        self, states: Sequence[States], words: Sequence[Decoded], tokens: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `Tunable.features` gives, from states of `below`; `words` are the texts' token ids, for a text tower."""
        device = next(self.embedder.net.parameters()).device
        entering = torch.from_numpy(_padded(states)).to(device).float()

        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (entering, *inputs[1:])

        hook = self._first.register_forward_pre_hook(enter)
        try:
            with self._skipping():
                of_text = self.embedder.spec.modality is Modality.TEXT
                return self.embedder.features(words if of_text else [self._sample] * len(states), tokens)
        finally:
            hook.remove()

    def train(self, mode: bool = True) -> None:
        """Let dropout work or not; batch norms keep the statistics that they were published with."""
        for module in self.embedder.net.modules():
            module.training = mode and not isinstance(module, _BatchNorm)

    @property
    def _first(self) -> nn.Module:
        first: nn.Module = self._blocks[self.frozen]
        return first

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """The frozen blocks hand on what they are given: what they made is known."""
        held = [self._blocks[n] for n in range(self.frozen)]
        for n in range(self.frozen):
            self._blocks[n] = _Skip(self._gives)
        try:
            yield
        finally:
            for n, block in enumerate(held):
                self._blocks[n] = block

    def _find_upper(self) -> dict[str, int]:
        """Names of the parameters that work from the first fitted block on, and how many blocks come after each."""
        net, last = self.embedder.net, len(self._blocks) - 1
        after: dict[nn.Module, int] = {}
        reached: list[bool] = []
        self._gives = 0  # outputs of a block beside the states, where it gives a tuple

        def note(module: nn.Module, inputs: object) -> None:
            if module is self._first:
                reached.append(True)
            if reached and not list(module.children()):
                after.setdefault(module, 0)

        def measure(module: nn.Module, inputs: object, output: object) -> None:
            self._gives = len(output) if isinstance(output, tuple) else 0

        hooks = [module.register_forward_pre_hook(note) for module in net.modules()]
        hooks.append(self._blocks[0].register_forward_hook(measure))
        try:
            vectors, tokens = self.embedder.features([self._sample], 1)
            (vectors.sum() + tokens.sum()).backward()  # type: ignore[no-untyped-call]
        finally:
            for hook in hooks:
                hook.remove()
        for n in range(self.frozen, last + 1):
            after |= dict.fromkeys(self._blocks[n].modules(), last - n)
        owners = {
            f"{path}.{name}" if path else name: module
            for path, module in net.named_modules()
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.grad is not None  # else nothing comes of it: a pooler that nobody reads
        }
        net.zero_grad(set_to_none=True)
        return {name: after[module] for name, module in owners.items() if module in after}


def blocks_of(net: nn.Module) -> Any:
    """The row of blocks that holds the most of a net's weights."""
    rows = [
        module for module in net.modules() if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
    ]
    if not rows:
        raise ConfigurationError(f"{type(net).__name__} has no row of blocks of which the last could be fitted")
    return max(rows, key=lambda row: sum(parameter.numel() for parameter in row.parameters()))


def open_towers(settings: Settings) -> dict[Modality, Tunable]:
    """Embedders of the two models that the settings choose, each with a net of its own.

    Raises ConfigurationError where one of them cannot be fitted, WeightsError.
    """
    found: dict[Modality, Tunable] = {}
    for modality, base in towers_of(settings, resolve_spec).items():
        embedder = load_embedder(base.name, base_settings(settings))
        if not hasattr(embedder, "features"):
            raise ConfigurationError(
                f"setting models (LARDER_MODELS): {base.name} cannot be fine-tuned; choose {ENCODER}=vit+bert "
                "or others of transformers or timm, or the bundled efficientnet_lite0+minilm"
            )
        embedder.spec = base
        found[modality] = cast(Tunable, embedder)
    return found


def load_tuned(spec: EmbeddingSpec, settings: Settings) -> Embedder:
    """The embedder with the upper layers that were fitted. Raises StateError, ConfigurationError, WeightsError."""
    fitted = current(settings, ENCODER)
    plain = base_settings(settings)
    if fitted is None or resolve_tuned(spec, plain, resolve_spec).weights != spec.weights:
        raise StateError(f"{spec.name} was fitted again meanwhile: run the command again")
    base = towers_of(settings, resolve_spec)[spec.modality]
    tuned = copy(load_embedder(base.name, plain))
    tuned.spec = spec
    put(cast(Tunable, tuned).net, load_weights(fitted), spec.modality)
    return tuned


def weights_of(towers: Mapping[Modality, Tower]) -> dict[str, npt.NDArray[Any]]:
    """What was fitted of all towers, by modality and name, as `put` takes it."""
    return {f"{modality}.{name}": value for modality, tower in towers.items() for name, value in tower.weights.items()}


def put(net: nn.Module, weights: Weights, modality: Modality) -> None:
    """Take the fitted weights of a tower. Raises StateError where they are another net's."""
    begin = f"{modality}."
    own = {name.removeprefix(begin): value for name, value in weights.items() if name.startswith(begin)}
    state = {name: torch.from_numpy(np.array(value)) for name, value in own.items()}
    try:
        unknown = net.load_state_dict(state, strict=False).unexpected_keys
    except RuntimeError as error:
        raise StateError(f"the {modality} tower's weights are another net's: {error}") from error
    if unknown:
        raise StateError(f"the {modality} tower's weights are another net's: {', '.join(unknown[:3])}")


class _EnteredError(Exception):
    """The first fitted block was reached: what is above it need not run."""


class _Skip(nn.Module):
    """A block that does nothing; it gives a tuple of as many as the block in its place."""

    def __init__(self, gives: int) -> None:
        super().__init__()
        self._gives = gives

    def forward(self, states: torch.Tensor, *_: object, **__: object) -> torch.Tensor | tuple[Any, ...]:
        """The states as they came."""
        return (states, *[None] * (self._gives - 1)) if self._gives else states


def _padded(states: Sequence[States]) -> States:
    """(n, longest, …): shorter ones end in zeros, which no mask lets through."""
    longest = max(map(len, states))
    made = np.zeros((len(states), longest, *states[0].shape[1:]), np.float16)
    for row, own in enumerate(states):
        made[row, : len(own)] = own
    return made
