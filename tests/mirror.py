"""A mirror of Open Images on this machine, which can be told to fail; needs nothing but Python.

It serves a folder that is laid out as `metadata/<path below openimages/>` and `images/<split>/<ImageID>.jpg`: the metadata
at /openimages/... over HTTP, the pictures at /open-images-dataset/... as the S3 protocol reads them. As a program it
writes its port to a file and serves until it is ended:

    python tests/mirror.py --root labelled-photos --port-file /tmp/port
    export BALLE_LI_OPEN_IMAGES_METADATA_URL=http://127.0.0.1:$(cat /tmp/port)
    export AWS_ENDPOINT_URL_S3=http://127.0.0.1:$(cat /tmp/port)
"""

import argparse
import hashlib
import os
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

FOLDERS = {"/openimages/": "metadata", "/open-images-dataset/": "images"}


class Request(NamedTuple):
    """A request that the mirror has seen."""

    method: str
    path: str
    range: str | None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a path, `times` times (None: always)."""

    status: int = 0  # answer with this status and no body
    cut_after: int | None = None  # close the connection after so many bytes of the body
    seconds: float = 0.0  # wait before the body
    times: int | None = None


class Mirror:
    """The server. Use as a context manager; `faults`, `bodies` and `reset_every` may be changed while it serves.

    root: the folder served; None serves only `bodies`.
    reset_every: reset every n-th connection after its request; 0: none.
    seconds: wait before every picture's body.
    """

    def __init__(self, root: Path | None, port: int = 0, reset_every: int = 0, seconds: float = 0.0) -> None:
        self.root = root
        self.reset_every = reset_every
        self.seconds = seconds
        self.faults: dict[str, Fault] = {}
        self.bodies: dict[str, bytes] = {}  # served whole in the place of the folder's files
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._connections = 0
        self._server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"mirror": self}))
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Mirror":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until the process is ended."""
        self._server.serve_forever()

    def gets(self, prefix: str) -> list[str]:
        """The paths below `prefix` that were asked for, in order, as often as they were."""
        return [
            request.path for request in self.requests if request.method == "GET" and request.path.startswith(prefix)
        ]

    def note(self, request: Request) -> Fault:
        """Log a request; returns what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            fault = self.faults.get(request.path, Fault())
            if fault.times == 0:
                return Fault()
            if fault.times is not None:
                self.faults[request.path] = Fault(fault.status, fault.cut_after, fault.seconds, fault.times - 1)
            return fault

    def resets_connection(self) -> bool:
        """Whether it is the turn of this connection to be reset."""
        with self._lock:
            self._connections += 1
            return self.reset_every > 0 and self._connections % self.reset_every == 0

    def read(self, path: str) -> bytes | None:
        """The body of a path; None when there is none."""
        if path in self.bodies:
            return self.bodies[path]
        for prefix, folder in FOLDERS.items():
            if self.root is not None and path.startswith(prefix):
                root = (self.root / folder).resolve()
                file = (root / path.removeprefix(prefix)).resolve()
                if file.is_relative_to(root) and file.is_file():
                    return file.read_bytes()
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self._reset = self.mirror.resets_connection()

    def log_message(self, format: str, *arguments: Any) -> None:
        """The mirror keeps its own log."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.mirror.note(Request(self.command, path, self.headers.get("Range")))
        body = self.mirror.read(path)
        if self._reset:
            self._reset_connection()
            return
        if fault.status or body is None:
            self._send_head(fault.status or 404, 0)
            return
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = self._start(etag)
        if start >= len(body) > 0:
            self._send_head(416, 0)
            return
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._send_head(206 if start else 200, len(body) - start, headers)
        if self.command == "GET":
            self._send_body(body[start:], path, fault)

    def _start(self, etag: str) -> int:
        """The first byte asked for; a range of another version of the file is ignored."""
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes=") or self.headers.get("If-Range", etag) != etag:
            return 0
        return int(asked.removeprefix("bytes=").split("-")[0] or 0)

    def _send_head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        if self.mirror.reset_every:  # connections that are kept would be too few to reset
            self.send_header("Connection", "close")
        self.end_headers()

    def _send_body(self, body: bytes, path: str, fault: Fault) -> None:
        time.sleep(fault.seconds or (self.mirror.seconds if path.startswith("/open-images-dataset/") else 0.0))
        self.wfile.write(body[: fault.cut_after])
        if fault.cut_after is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _reset_connection(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # The server would end the connection politely first; without a descriptor left it is reset at once.
        os.close(self.connection.detach())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="A local mirror of Open Images that can be told to fail.")
    parser.add_argument("--root", type=Path, required=True, help="folder with metadata/ and images/")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, required=True, help="where to write the port once it is open")
    parser.add_argument("--reset-every", type=int, default=0, help="reset every n-th connection")
    parser.add_argument("--seconds", type=float, default=0.0, help="wait before every picture")
    options = parser.parse_args(arguments)
    mirror = Mirror(options.root, options.port, options.reset_every, options.seconds)
    part = options.port_file.with_name(f"{options.port_file.name}.part")
    part.write_text(str(mirror.port))
    part.replace(options.port_file)
    mirror.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
