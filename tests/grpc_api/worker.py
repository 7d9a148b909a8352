"""The least that a worker is: `python tests/grpc_api/worker.py FOLDER PORT PORT_FILE` tells each connection its process
id and how often it was told to reload. Where FOLDER/broken exists it ends at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path


def main(folder: Path, port: int, port_file: Path) -> None:
    if (folder / "broken").exists():
        sys.exit(3)
    reloads = 0

    def reload(*_: object) -> None:
        nonlocal reloads
        reloads += 1

    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        port_file.write_text(str(port))
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(f"{os.getpid()} {reloads}".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
