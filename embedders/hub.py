"""Models chosen by name: which one the settings mean, what its config and files say, how it is loaded.

`LARDER_MODELS` maps a family (`clip`, `bert`…) to a model. For transformers that is a hub's name, `NAME@REVISION`
or a folder that `save_pretrained` wrote; for open_clip `MODEL@WEIGHTS`, where weights are a pretrained tag or a
checkpoint's path, or a folder (`local-dir:` before it if you like); for timm `timm:MODEL` or
`timm:MODEL@/path/to.safetensors`. Imports neither torch nor a model library before one is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feature_repo.contracts import EmbeddingSpec, Modality, digest
from feature_repo.errors import ConfigurationError, WeightsError, unknown_name
from feature_repo.files import digest_file
from feature_repo.settings import Settings

LOCAL_DIR = "local-dir:"
TIMM = "timm:"
LOCAL = "a local folder"  # stands in the spec for a path: moved, a model stays what it is

BUNDLED: Mapping[Modality, str] = {Modality.IMAGE: "efficientnet_lite0", Modality.TEXT: "minilm"}


def family_of(spec: EmbeddingSpec) -> str:
    """The name under which `LARDER_MODELS` chooses the spec's model; both towers of a CLIP share one."""
    return str(spec.options.get("family", spec.name))


def check_families(settings: Settings, specs: Mapping[str, EmbeddingSpec]) -> None:
    """Raise ConfigurationError for a family in `settings.models` that no embedder has."""
    families = sorted({family_of(spec) for spec in specs.values() if "model" in spec.options})
    for name in settings.models:
        if name not in families:
            nearest = get_close_matches(name, families, 1, 0.0)[0]
            raise ConfigurationError(
                f"setting models (LARDER_MODELS): no model family {name!r}; nearest: {nearest}; "
                f"valid: {', '.join(families)}"
            )


def model_source(spec: EmbeddingSpec, settings: Settings) -> str:
    """The model that the settings choose for the spec's family, else the spec's own."""
    return settings.models.get(family_of(spec), str(spec.options["model"]))


def resolve_hub(spec: EmbeddingSpec, settings: Settings) -> EmbeddingSpec:
    """The spec with the widths and weights of its model. Raises ConfigurationError, WeightsError.

    Weights in files are named by their digest, not by their path: moved, they are the same; overwritten, others.
    """
    source = model_source(spec, settings)
    if spec.options.get("library") == "open_clip":
        return _resolve_open_clip(spec, source)
    if source.startswith(TIMM):
        return _resolve_timm(spec, source.removeprefix(TIMM))
    width = _hidden_size(_transformers_config(spec, source), spec, source)
    folder = Path(source)
    weights = _digest_folder(folder) if folder.is_dir() else f"hub {source}"
    return _as(spec, LOCAL if folder.is_dir() else source, weights, width, width)


def load_pretrained(loader: Callable[..., Any], source: str, spec: EmbeddingSpec, **kwargs: Any) -> Any:
    """`loader(source, **kwargs)` for a `from_pretrained` of transformers, which then draws nothing on the terminal.

    A folder is read without a look at the network. Raises WeightsError that says what to do.
    """
    with _quiet():
        try:
            if Path(source).is_dir():
                return loader(source, local_files_only=True, **kwargs)
            name, _, revision = source.partition("@")
            return loader(name, revision=revision or "main", **kwargs)
        except Exception as error:  # hub, network, file and shape errors have no common class
            raise weights_error(spec, source, error) from error


def load_model(loader: Callable[..., Any], source: str, spec: EmbeddingSpec, **kwargs: Any) -> Any:
    """`load_pretrained` for weights, in evaluation mode. Raises WeightsError also where the files lack some of them.

    Transformers would go on with random numbers there. A head that sits on top of the encoder is not used.
    """
    model, report = load_pretrained(loader, source, spec, output_loading_info=True, **kwargs)
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if lacking or report["mismatched_keys"]:
        named = ", ".join(map(str, [*lacking, *sorted(report["mismatched_keys"])][:3]))
        raise weights_error(spec, source, f"its files lack weights of the model: {named}")
    return model.eval()


def weights_error(spec: EmbeddingSpec, source: str, error: Exception | str) -> WeightsError:
    """The error for a model that cannot be had, with every way out."""
    first_line = str(error).strip().partition("\n")[0]
    said = error if isinstance(error, str) else f"{type(error).__name__}: {first_line}"
    by_checkpoint = spec.options.get("library") in ("open_clip", "torchvision")
    form = "MODEL@/path/to/checkpoint" if by_checkpoint else "/path/to/folder"
    bundled = BUNDLED.get(spec.modality)
    instead = f", or use {bundled}, whose weights come with Larder" if bundled else ""
    return WeightsError(
        f"{spec.name}: cannot load {source} ({said}). Set LARDER_MODELS={family_of(spec)}={form}, or let this machine "
        f"reach the hub once so that the model is in its cache{instead}"
    )


def open_clip_parts(source: str) -> tuple[str, str | None]:
    """Model and weights as open_clip's `create_model` takes them; a folder holds both."""
    folder = Path(source.removeprefix(LOCAL_DIR))
    if source.startswith(LOCAL_DIR) or folder.is_dir():
        return f"{LOCAL_DIR}{folder}", None
    model, _, weights = source.partition("@")
    return model, weights or None


def open_clip_configs() -> Path:
    """The folder where open_clip keeps its models' configs, found without its import, which takes seconds."""
    found = find_spec("open_clip")
    if found is None or found.origin is None:
        raise ConfigurationError("CLIP embedders need open_clip: pip install open_clip_torch")
    return Path(found.origin).parent / "model_configs"


def _resolve_open_clip(spec: EmbeddingSpec, source: str) -> EmbeddingSpec:
    model, given = open_clip_parts(source)
    if model.startswith(LOCAL_DIR):
        folder = Path(model.removeprefix(LOCAL_DIR))
        config = _open_clip_config(folder / "open_clip_config.json")
        return _as(spec, LOCAL, _digest_folder(folder), config["embed_dim"], _tower_width(spec, config))
    path = open_clip_configs() / f"{model.replace('/', '-')}.json"
    if not path.is_file():
        names = [*(p.stem for p in path.parent.glob("*.json")), f"{LOCAL_DIR}FOLDER"]
        raise unknown_name(f"open_clip model (LARDER_MODELS={family_of(spec)}=MODEL@WEIGHTS)", model, names)
    if given is None:
        raise weights_error(spec, model, "no weights are named: a pretrained tag of open_clip or a checkpoint's path")
    config = _open_clip_config(path)
    return _as(spec, model, weights_name(given, "tag"), config["embed_dim"], _tower_width(spec, config))


def _open_clip_config(path: Path) -> dict[str, Any]:
    """An open_clip model config. Raises ConfigurationError."""
    try:
        config = json.loads(path.read_text())
        config = config.get("model_cfg", config)
        if not isinstance(config["embed_dim"], int):
            raise TypeError("embed_dim is not a whole number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is not an open_clip config (LARDER_MODELS): {error!r}") from error
    return dict(config)


def _tower_width(spec: EmbeddingSpec, config: Mapping[str, Any]) -> int:
    """Width of the states in the spec's tower; 0 where only their pool comes out of it."""
    if spec.modality is Modality.IMAGE:
        tower = config.get("vision_cfg", {})
        if "timm_model_name" in tower:  # without a projection the states are as wide as the vector
            return int(config["embed_dim"]) if tower.get("timm_proj") == "none" else 0
        return 0 if isinstance(tower.get("layers"), list) else int(tower.get("width", 768))
    tower = config.get("text_cfg", {})
    return 0 if "hf_model_name" in tower else int(tower.get("width", 512))


def _resolve_timm(spec: EmbeddingSpec, source: str) -> EmbeddingSpec:
    """Built without weights, which takes the import of torch; timm has no other list of its models' widths."""
    import timm
    import torch

    model, _, given = source.partition("@")
    try:
        with torch.device("meta"):
            built: Any = timm.create_model(model, pretrained=False, num_classes=0)
        width = int(built.num_features)
    except Exception as error:
        raise ConfigurationError(f"timm builds no model {model!r} (LARDER_MODELS): {error}") from error
    return _as(spec, f"{TIMM}{model}", weights_name(given, "hub"), width, width)


def _transformers_config(spec: EmbeddingSpec, source: str) -> dict[str, Any]:
    """`config.json` of a folder or of a model on the hub; the cache is asked before the network."""
    folder = Path(source)
    try:
        if folder.is_dir():
            return dict(json.loads((folder / "config.json").read_text()))
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        name, _, revision = source.partition("@")
        found = try_to_load_from_cache(name, "config.json", revision=revision or None)
        if not isinstance(found, str):
            with _quiet():
                found = hf_hub_download(name, "config.json", revision=revision or None)
        return dict(json.loads(Path(found).read_text()))
    except Exception as error:
        raise weights_error(spec, source, error) from error


def _hidden_size(config: Mapping[str, Any], spec: EmbeddingSpec, source: str) -> int:
    """Width of a transformer's states, as most configs call it or as the spec's option `width_key` says."""
    key = str(spec.options.get("width_key", "hidden_size"))
    width = config.get(key)
    if not isinstance(width, int):
        raise ConfigurationError(f"{source}/config.json has no whole number {key!r}: is it a model for {spec.name}?")
    return width


def _as(spec: EmbeddingSpec, model: str, weights: str, dim: int, token_dim: int) -> EmbeddingSpec:
    return replace(spec, dim=dim, token_dim=token_dim, weights=weights, options={**spec.options, "model": model})


def weights_name(given: str, kind: str) -> str:
    """What weights are called in a spec: the digest of the file where `given` is its path, else a tag of that kind."""
    path = Path(given)
    return _digest_files(_signature([path])) if given and path.is_file() else f"{kind} {given}".strip()


def _digest_folder(folder: Path) -> str:
    """Digest of the names and bytes of a model folder's files: weights, config and tokeniser all count."""
    return _digest_files(_signature(sorted(path for path in folder.iterdir() if path.is_file())), named=True)


def _signature(files: list[Path]) -> tuple[tuple[Path, int, int], ...]:
    return tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@cache
def _digest_files(files: tuple[tuple[Path, int, int], ...], named: bool = False) -> str:
    """Digest of the files' bytes, taken once while their sizes and times stay: models have gigabytes."""
    if not named:
        return digest_file(files[0][0])
    return digest(*(part for path, _, _ in files for part in (path.name, digest_file(path))))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep model libraries from drawing on the terminal, which belongs to the command line."""
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    shown, downloads = logging.is_progress_bar_enabled(), not hub.are_progress_bars_disabled()  # type: ignore[attr-defined]
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub.disable_progress_bars()  # type: ignore[attr-defined]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if downloads:
            hub.enable_progress_bars()  # type: ignore[attr-defined]
