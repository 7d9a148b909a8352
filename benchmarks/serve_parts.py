"""What a Predict and a Similar are made of, each alone and over gRPC: the floors that `benchmarks.serve` holds them to.

Methods of `benchmarks.Parts` take a JSON request padded to the size of the real one and answer with the seconds that
the work took, padded likewise: `Empty` does nothing, `Read` the columnar reads, `Model` the bare model, `Search` FAISS.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from feature_repo.catalog import Catalog
from feature_repo.columnar.keys import text_keys
from feature_repo.settings import load_settings
from feature_repo.store import Store
from predictors.loaded import LoadedRelease
from predictors.release import load

SERVICE = "benchmarks.Parts"
PARTS = ("Empty", "Read", "Model", "Search")

Work = Callable[[], object]


def pack(said: dict[str, Any], size: int, answer: int) -> bytes:
    """A request of at least `size` bytes that is answered with `answer` bytes."""
    body = json.dumps(said | {"answer": answer}).encode()
    return body.ljust(size)


def seconds(answer: bytes) -> float:
    """How long the work of an answer took."""
    return float(struct.unpack_from("<d", answer.ljust(8, b"\0"))[0])


class Parts:
    """The parts over a release; what is asked for again is worked out once."""

    def __init__(self, release: LoadedRelease) -> None:
        self._release = release

    def work(self, part: str, said: dict[str, Any]) -> Work:
        """What is to be timed."""
        if part == "Empty":
            return lambda: None
        if part == "Search":
            return self.search(said["embedding"], said["id"], said["k"])
        return self._prepared(part, said["predictor"], tuple(said["ids"]), said["user"])

    @lru_cache(maxsize=64)  # noqa: B019  # lives as long as the process
    def _prepared(self, part: str, predictor: str, ids: tuple[str, ...], user: str | None) -> Work:
        return (self.reads if part == "Read" else self.model)(predictor, list(ids), user)

    def reads(self, predictor: str, ids: list[str], user: str | None) -> Work:
        """The `read_columns` that the predictor's features take, of contents, creators, the user and its contents, and
        the read of what is prepared of contents.
        """
        model, store = self._release.models[predictor], self._release.store
        assert isinstance(store, Store)
        service, wanted = model.predictor.service, model.wanted
        columns = store.read(service, ids, user)
        related = [one for table in columns.related.values() for one in table.objects("content_id").tolist()]
        creators = sorted({creator for creator in columns.objects("content_creator") if creator})
        keys = {"content": ids, "creator": creators, "user": [user or ""], "related": related}
        online: Any = store._feast._get_provider().online_store
        narrowed = store._online._narrow(service, store._service(service), wanted)
        calls: list[Work] = [
            partial(online.read_columns, store._feast.config, one.view, keys[entity], one.names)
            for entity, read in narrowed.items()
            for one in read.views
            if keys[entity]
        ]
        prepared: Any = model.prepared
        names = [column.name for column in prepared._table.schema]

        def look_up(some: list[str]) -> object:
            return prepared._table.read(text_keys("content_id", some), names)

        calls += [partial(look_up, some) for some in (ids, related) if some]
        return lambda: [call() for call in calls]

    def model(self, predictor: str, ids: list[str], user: str | None) -> Work:
        """The bare model on columns and contents that are in memory."""
        model = self._release.models[predictor]
        prepared: Any = model.prepared
        columns = self._release.store.read(model.predictor.service, ids, user, wanted=model.wanted)
        contents, related = prepared(columns), [prepared(one) for one in columns.related.values()]
        met = related[0] if related else np.empty((0, contents.shape[1]), np.float32)
        scoring: Any = model.predictor
        return lambda: scoring.score_prepared(columns, contents, met)

    def search(self, embedding: str, content_id: str, k: int) -> Work:
        """FAISS alone, the vector in hand."""
        index = self._release.indexes[embedding]
        vectors, _ = index.vectors_of([content_id])
        return partial(index._index.search, vectors, k + 1)


def serve(port_file: Path) -> None:
    """Answer until killed."""
    asyncio.run(_serve(port_file))


async def _serve(port_file: Path) -> None:
    settings = load_settings()
    with Catalog(settings.catalog) as catalog:
        parts = Parts(load(settings, catalog, Store(settings)))

    async def answer(part: str, request: bytes, _: object) -> bytes:
        said = json.loads(request)
        work = parts.work(part, said)
        start = time.perf_counter()
        work()
        return struct.pack("<d", time.perf_counter() - start).ljust(said["answer"], b"\0")

    methods = {part: grpc.unary_unary_rpc_method_handler(partial(answer, part)) for part in PARTS}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    port_file.write_text(str(port))
    await server.wait_for_termination()
