"""Predictions as a comparison keeps them: a folder of a fit, with what it learnt and what it cost beside the tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.errors import StateError
from feature_repo.files import replacing, write_json
from predictors.evaluation.outcomes import Predictions

_FACTS = "predictions.json"


def keep(folder: Path, said: Mapping[str, Predictions], facts: Mapping[str, Any]) -> None:
    """Write the tables of each predictor as Parquet and CSV, in a folder each, whole or not at all."""
    with replacing(folder, durable=False) as beside:
        for who, tables in said.items():
            (beside / who).mkdir(parents=True)
            for name, table in tables.items():
                table.write_parquet(beside / who / f"{name}.parquet")
                table.write_csv(beside / who / f"{name}.csv")
        write_json(beside / _FACTS, {**facts, "predictions": list(said)})
        shutil.rmtree(folder, ignore_errors=True)


def kept(folder: Path) -> dict[str, Predictions]:
    """What `keep` wrote, the predictor first. Raises StateError where a file cannot be read."""
    try:
        return {
            who: {path.stem: pl.read_parquet(path) for path in sorted((folder / who).glob("*.parquet"))}
            for who in kept_facts(folder)["predictions"]
        }
    except (OSError, KeyError, pl.exceptions.PolarsError) as error:
        raise StateError(f"{folder}: predictions cannot be read ({error}); remove the folder, then evaluate") from error


def kept_facts(folder: Path) -> dict[str, Any]:
    """What is said of the predictions in that folder; nothing where there are none.

    Raises StateError where it cannot be read.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateError(f"{folder / _FACTS} cannot be read ({error}); remove the folder, then evaluate") from error
    return facts
