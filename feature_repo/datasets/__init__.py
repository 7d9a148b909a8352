"""Adapters from data sets on disk to contents, users and interactions: a module each, loaded when used."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from feature_repo.datasets.base import Dataset
from feature_repo.errors import ConfigurationError, unknown_name


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter as data. `loader` is "module:Class"; the class takes the path first where `needs_path`."""

    loader: str
    help: str
    needs_path: bool = True


ADAPTERS = {
    "movielens": Adapter("feature_repo.datasets.movielens:MovieLens", "MovieLens-100K tables with posters"),
    "pixelrec": Adapter("feature_repo.datasets.pixelrec:PixelRec", "PixelRec: covers, texts and interactions"),
    "microlens": Adapter("feature_repo.datasets.microlens:MicroLens", "MicroLens: covers, videos, sounds and pairs"),
    "video_folder": Adapter(
        "feature_repo.datasets.video_folder:VideoFolder", "clips with what yt-dlp writes beside them"
    ),
    "synthetic": Adapter("feature_repo.datasets.synthetic:Synthetic", "a made-up feed with media of its own", False),
}


def open_dataset(name: str, path: Path | None = None, **options: object) -> Dataset:
    """The data set at `path`, its files found and their headers checked. An option that is None counts as not given.

    Raises ConfigurationError for an unknown name, path or option, InputError for a missing file or column.
    """
    if name not in ADAPTERS:
        raise unknown_name("dataset", name, ADAPTERS)
    adapter = ADAPTERS[name]
    places = _places(name, adapter, path)
    given = {option: value for option, value in options.items() if value is not None}
    module, _, attribute = adapter.loader.partition(":")
    load = getattr(import_module(module), attribute)
    signature = inspect.signature(load)
    try:
        signature.bind(*places, **given)
    except TypeError as error:
        raise ConfigurationError(f"dataset {name!r}: {error}; it takes {', '.join(signature.parameters)}") from error
    return cast(Dataset, load(*places, **given))


def _places(name: str, adapter: Adapter, path: Path | None) -> list[Path]:
    """The path as the adapter's first argument, if it has one. Raises ConfigurationError."""
    example = f"e.g. `larder ingest {name} data/{name}`"
    if not adapter.needs_path:
        if path is not None:
            raise ConfigurationError(f"dataset {name!r} reads no files: leave out the path {path}")
        return []
    if path is None:
        raise ConfigurationError(f"dataset {name!r} needs the path of its folder, {example}")
    if not path.is_dir():
        raise ConfigurationError(f"dataset {name!r}: there is no folder {path}; give the one it lies in, {example}")
    return [path]
