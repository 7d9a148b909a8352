"""A web server of the test's own: it serves what it is given, can break off midway, and remembers what was asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath

TYPES = {".mp4": "video/mp4", ".html": "text/html", ".vtt": "text/vtt", ".jpg": "image/jpeg"}


@dataclass
class Web:
    """`files` by path; a path in `broken` ends after so many bytes; `asked` are path and Range of each GET."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}{path}"

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)


@contextmanager
def serving() -> Iterator[Web]:
    """A server on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.path, self.headers.get("Range")))
            data = web.files.get(self.path)
            if data is None or self.path in web.status:
                self.send_error(web.status.get(self.path, 404))
                return
            start = 0
            if wanted := re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", "")):
                start = int(wanted[1])
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Type", TYPES.get(PurePosixPath(self.path).suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
            self.end_headers()
            self.wfile.write(data[start : web.broken.get(self.path, len(data))])
            self.close_connection = True

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing: the test says what matters."""

        def log_error(self, *arguments: object) -> None:
            """Nothing either: errors are what was asked for."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web = Web(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
