"""A web server on 127.0.0.1 that serves files, and does to each request what the test tells it to."""

import hashlib
import re
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML = b"<!DOCTYPE html><html><body>We will be back soon.</body></html>"


class FaultServer(ThreadingHTTPServer):
    """Files by path, and the faults that the next requests for each path meet, one a request.

    A fault is a status (`503`), a status and the seconds of its Retry-After (`429:1`), or one of reset, drip, hang,
    short (less than Content-Length says), cut (less, and Content-Length agrees), html, empty, other (the file
    `server.other`), drop_range (the whole file in answer to a Range), wrong_range. After `always:` it never ends.

    Attributes:
        files: content by path.
        faults: faults by path, the next one first.
        sent: bytes of bodies sent, by path.
        requests: every request: path, Range, time.
        busiest: most requests that were answered at the same time.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.sent: Counter[str] = Counter()
        self.requests: list[tuple[str, str | None, float]] = []
        self.other = b""
        self.ranges = self.tags = True
        self.slow_s = 0.0
        self.busy = self.busiest = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def fault(self, path: str) -> str:
        with self.lock:
            waiting = self.faults[path]
            if waiting and waiting[0].startswith("always:"):
                return waiting[0].removeprefix("always:")
            return waiting.pop(0) if waiting else ""

    def handle_error(self, request, client_address) -> None:
        """Clients that went away are no errors."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, *_) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server = self.server
        self.busy = True
        with server.lock:
            server.requests.append((self.path, self.headers["Range"], time.monotonic()))
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        try:
            time.sleep(server.slow_s)
            self.answer(server.fault(self.path))
        finally:
            self.ready(server)

    def ready(self, server: FaultServer) -> None:
        """Count this request as answered, once."""
        with server.lock:
            server.busy -= self.busy
            self.busy = False

    def answer(self, fault: str) -> None:
        status, _, wait = fault.partition(":")
        if status.isdigit() or self.path not in self.server.files:
            self.begin(int(status or 404), len(HTML), {"Retry-After": wait} if wait else {})
            self.wfile.write(HTML)
            return
        content = self.server.files[self.path]
        content = {"html": HTML, "empty": b"", "other": self.server.other, "cut": content[: len(content) // 2]}.get(
            fault, content
        )
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": tag} if self.server.tags else {}
        if self.headers["If-None-Match"] == tag:
            self.begin(304, 0, headers)
            return
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked and self.server.ranges and fault != "drop_range" and self.headers["If-Range"] == tag:
            start = int(asked[1])
            if start >= len(content):
                self.begin(416, 0, {})
                return
            shown = start + 1 if fault == "wrong_range" else start
            headers["Content-Range"] = f"bytes {shown}-{len(content) - 1}/{len(content)}"
        self.begin(206 if start else 200, len(content) - start, headers)
        self.body(content[start:], fault)

    def begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def body(self, content: bytes, fault: str) -> None:
        half = len(content) // 2
        if fault == "drip":
            for byte in content:
                self.send(bytes([byte]))
                time.sleep(0.02)
        elif fault in ("reset", "short", "hang"):
            self.send(content[:half])
            if fault == "hang":
                time.sleep(3)
            if fault == "reset":
                time.sleep(0.05)  # what was sent before has arrived
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            self.close_connection = True
        else:
            self.send(content[:-1])
            self.ready(self.server)  # with the last byte the client may ask again, before this thread goes on
            self.send(content[-1:])

    def send(self, piece: bytes) -> None:
        step = 1 << 12 if self.server.slow_s else 1 << 14
        for start in range(0, len(piece), step):
            self.wfile.write(piece[start : start + step])
            with self.server.lock:
                self.server.sent[self.path] += len(piece[start : start + step])
            if self.server.slow_s:
                time.sleep(self.server.slow_s)
