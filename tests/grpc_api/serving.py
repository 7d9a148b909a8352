"""`serve` as a process for the signal tests: `python -m tests.grpc_api.serving FOLDER` writes FOLDER/port when ready.

The store takes a second for a content; the first reload gives a release with no predictor, later ones fail.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from feature_repo.catalog import Catalog
from feature_repo.errors import StateError
from feature_repo.settings import load_settings
from grpc_api.server import serve
from predictors.loaded import LoadedRelease
from tests.grpc_api.parts import TableStore, make_release


def main(folder: Path) -> None:
    settings = load_settings(home=folder / "home", port=0)
    store = TableStore()
    with Catalog(settings.catalog) as catalog:
        release = make_release(settings, catalog, store)
        reloads = iter([replace(release, models={})])

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
