"""A server of LogInteraction alone, for tests that kill it: `python -m tests.grpc_api.interactions.taking HOME PORT`.

Without models it starts in a second. Features go into a table of the online store's own storage.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import polars as pl

from feature_repo.columnar.storage import Column, Environment
from feature_repo.errors import ConfigurationError
from feature_repo.recorder import Recorder
from feature_repo.schema import VIEWS
from feature_repo.settings import load_settings
from grpc_api.errors import code_of, to_status
from grpc_api.interactions.handler import log_interactions
from grpc_api.interactions.intake import Intake

METHOD = "LogInteraction"


class Features:
    """Rows of the folded views, under the online store's rule of which row wins."""

    def __init__(self, home: Path) -> None:
        self._environment = Environment(home / "online")

    def push(self, view: str, rows: pl.DataFrame) -> None:
        if view not in self._environment.tables():
            with suppress(ConfigurationError):  # another process was quicker
                self._environment.create(view, [Column("row", "bytes")])
        keys = [key.encode() for key in rows[f"{VIEWS[view][0]}_id"]]
        event_us, created_us = (rows[name].dt.epoch("us").to_numpy() for name in ("event_timestamp", "created"))
        said = [json.dumps(row, default=str).encode() for row in rows.drop("created").iter_rows(named=True)]
        self._environment.table(view).write(keys, event_us, created_us, {"row": said})

    def read(self, view: str, keys: list[str]) -> list[Any]:
        """The row of each key."""
        found = self._environment.table(view).read([key.encode() for key in keys], ["row"])
        assert np.all(found.present)
        return [json.loads(row) for row in found.columns["row"]]


async def serve(home: Path, port: int) -> None:
    settings = load_settings(home=home)
    intake = Intake(lambda: Recorder(settings, Features(home).push), most_events=1000)
    intake.start()

    async def handle(payloads: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        try:
            await log_interactions(intake, payloads, context.write)
        except Exception as error:
            status = to_status(error, METHOD, "")
            await context.abort(code_of(status), status.message)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    methods = {METHOD: grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("larder.v1.ScoringService", methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
