"""`supervise` in a process: `python -m tests.grpc_api.supervisor FOLDER` writes FOLDER/port once both answer."""

from __future__ import annotations

import sys
from pathlib import Path

from feature_repo.errors import UnavailableError
from feature_repo.settings import load_settings
from grpc_api.workers import supervise

WORKER = Path(__file__).with_name("worker.py")


def main(folder: Path) -> None:
    def command(port: int, ready_file: Path) -> list[str]:
        return [sys.executable, str(WORKER), str(folder), str(port), str(ready_file)]

    try:
        supervise(command, load_settings(port=0, serve_workers=2), port_file=folder / "port")
    except UnavailableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
