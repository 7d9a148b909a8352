"""What a user would write instead: FastAPI, stock Feast on SQLite with `get_online_features`, and the same model.

The features go through Larder's decoder into the model's columns, which is quicker than Feast's own `to_df`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI
from feast.constants import FEAST_FS_YAML_FILE_PATH_ENV_NAME
from pydantic import BaseModel

from feature_repo.repository import REPOSITORY
from feature_repo.settings import Settings, load_settings
from feature_repo.store import Store
from predictors.base import load_predictor

_PREDICTOR = "popularity"


class Request(BaseModel):
    """Contents to score."""

    content_ids: list[str]


def stock(settings: Settings) -> Store:
    """The workspace's features in Feast's SQLite store, filled unless they were; a registry of its own."""
    said = yaml.safe_load((REPOSITORY / "feature_store.yaml").read_text())
    said["registry"]["path"] = f"sqlite:///{settings.home}/stock-registry.db"
    said["registry"]["cache_ttl_seconds"] = 3600
    said["online_store"] = {"type": "feature_repo.workspace.WorkspaceSqliteOnlineStore", "path": "stock-online"}
    said["batch_engine"] = "local"
    path = settings.home / "stock.yaml"
    path.write_text(yaml.safe_dump(said))
    os.environ[FEAST_FS_YAML_FILE_PATH_ENV_NAME] = str(path)
    store, done = Store(settings), settings.home / "stock-filled"
    if not done.exists():
        store.apply()
        needed = ["content_meta", "creator_stats", *settings.embeddings]
        list(store.materialize(views=needed, force=True))
        done.touch()
    return store


def serve(port_file: Path) -> None:
    """Answer until killed."""
    settings = load_settings()
    store, predictor = stock(settings), load_predictor(settings, _PREDICTOR)
    app = FastAPI()

    @app.post("/predict")
    def predict(request: Request) -> dict[str, Any]:
        scores = predictor.score(store.read(predictor.service, request.content_ids))
        return {"scores": scores.score.tolist(), "probabilities": scores.probabilities.tolist()}

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")
    sock = config.bind_socket()
    sock.listen()  # a call that comes before the server is up waits
    port_file.write_text(str(sock.getsockname()[1]))
    uvicorn.Server(config).run([sock])
