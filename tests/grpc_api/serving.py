"""`serve` as a process for the signal tests: `python -m tests.grpc_api.serving FOLDER` writes FOLDER/port when ready.

The store takes a second for a content; two reloads give releases with no predictor, later ones fail. Python's collector
does not run of itself, and FOLDER/gone is made once the first of the two has been let go.
"""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from feature_repo.catalog import Catalog
from feature_repo.errors import StateError
from feature_repo.settings import load_settings
from grpc_api.server import serve
from predictors.loaded import LoadedRelease
from tests.grpc_api.parts import TableStore, make_release


class Tangled(TableStore):
    """Refers to itself, as Feast's objects do to each other."""

    def __init__(self, gone: Path) -> None:
        super().__init__()
        self.itself = self
        weakref.finalize(self, gone.touch)


def main(folder: Path) -> None:
    gc.disable()
    settings = load_settings(home=folder / "home", port=0)
    store = TableStore()
    with Catalog(settings.catalog) as catalog:
        release = make_release(settings, catalog, store)

        def releases() -> Iterator[LoadedRelease]:
            yield replace(release, models={}, store=Tangled(folder / "gone"))
            yield replace(release, models={})

        reloads = releases()

        def reload() -> LoadedRelease:
            for following in reloads:
                return following
            raise StateError("its parts disagree")

        serve(
            settings,
            release,
            reload=reload,
            port_file=folder / "port",
            ready=lambda _: setattr(store, "before_read", lambda: time.sleep(1)),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
