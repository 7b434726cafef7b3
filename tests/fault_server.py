"""A web server on 127.0.0.1 that serves files, and does to each request what the test tells it to."""

import email.utils
import gzip
import hashlib
import re
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML = b"<!DOCTYPE html><html><body>We will be back soon.</body></html>"

EPOCH = 1_700_000_000
"""Date of files that have none of their own, in seconds."""


class FaultServer(ThreadingHTTPServer):
    """Files by path, and the faults that the next requests for each path meet, one a request.

    A fault is a status (`503`), a status and the seconds or date of its Retry-After (`429:1`), or one of reset, drip,
    hang, drip_head (the headers come byte by byte), drip_chunk (the length of a chunk does), short (less than
    Content-Length says), cut (less, and Content-Length agrees), long (Content-Length says less than comes), open (no
    Content-Length, and the connection ends in the middle), html, packed_html (the same, gzipped), empty, other (the
    file `server.other`), drop_range (the whole file in answer to a Range), wrong_range, moved (a redirect to the page
    /html). After `always:` it never ends.

    Attributes:
        files: content by path, the query included.
        faults: faults by path, the next one first.
        dates: Last-Modified of a path in seconds, where it is not EPOCH.
        sent: bytes of bodies sent, by path.
        requests: every GET: path, Range, time.
        heads: path of every HEAD.
        open: paths that are being answered now.
        busiest: most requests that were answered at the same time.
        other: what the fault `other` sends.
        ranges: whether a Range is answered with a part.
        tags: whether there are ETags.
        dated: whether there are Last-Modified.
        if_range: whether If-Range is looked at; a careless server sends the part of whatever is there now.
        slow_s: pause before each answer and between two pieces of it.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.dates: dict[str, int] = {}
        self.sent: Counter[str] = Counter()
        self.requests: list[tuple[str, str | None, float]] = []
        self.heads: list[str] = []
        self.open: Counter[str] = Counter()
        self.other = b""
        self.ranges = self.tags = self.if_range = True
        self.dated = False
        self.slow_s = 0.0
        self.busiest = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def content(self, path: str) -> bytes | None:
        """What stands at a path, None for nothing."""
        return self.files.get(path)

    def tag(self, path: str, content: bytes) -> str:
        """ETag of a content, without its quotes."""
        return hashlib.sha256(content).hexdigest()[:16]

    def fault(self, path: str) -> str:
        with self.lock:
            waiting = self.faults[path]
            if waiting and waiting[0].startswith("always:"):
                return waiting[0].removeprefix("always:")
            return waiting.pop(0) if waiting else ""

    def handle_error(self, request, client_address) -> None:
        """Clients that went away are no errors."""

    def stop(self) -> None:
        """Answer nobody anymore."""
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, *_) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        with self.server.lock:
            self.server.heads.append(self.path)
        fault = self.server.fault(self.path)
        content = self.server.content(self.path)
        if fault.isdigit() or content is None:
            self.begin(int(fault or 404), len(HTML), {})
        else:
            self.begin(200, len(content), self.described(content))

    def do_GET(self) -> None:
        server = self.server
        self.busy = True
        with server.lock:
            server.requests.append((self.path, self.headers["Range"], time.monotonic()))
            server.open[self.path] += 1
            server.busiest = max(server.busiest, server.open.total())
        try:
            time.sleep(server.slow_s)
            self.answer(server.fault(self.path))
        finally:
            self.ready(server)

    def ready(self, server: FaultServer) -> None:
        """Count this request as answered, once."""
        with server.lock:
            server.open[self.path] -= self.busy
            self.busy = False

    def answer(self, fault: str) -> None:
        status, _, wait = fault.partition(":")
        content = self.server.content(self.path)
        if status.isdigit() or content is None:
            self.begin(int(status or 404), len(HTML), {"Retry-After": wait} if wait else {})
            self.wfile.write(HTML)
            return
        if fault == "moved":
            self.begin(302, 0, {"Location": "/html"})
            return
        replaced = {"html": HTML, "packed_html": gzip.compress(HTML), "empty": b"", "other": self.server.other}
        content = replaced.get(fault, content[: len(content) // 2] if fault == "cut" else content)
        headers = self.described(content)
        if fault == "packed_html":
            headers["Content-Encoding"] = "gzip"
        if self.unchanged(headers):
            self.begin(304, 0, headers)
            return
        start, end = self.part(headers, len(content)) if fault != "drop_range" else (0, None)
        if start >= len(content) > 0:
            self.begin(416, 0, {"Content-Range": f"bytes */{len(content)}"})
            return
        if end is None:
            self.begin(200, len(content), headers, fault)
        else:
            shown = start + 1 if fault == "wrong_range" else start
            headers["Content-Range"] = f"bytes {shown}-{end - 1}/{len(content)}"
            self.begin(206, end - start, headers, fault)
        self.body(content[start:end], fault)

    def described(self, content: bytes) -> dict[str, str]:
        """Headers that tell one content from another."""
        server = self.server
        headers = {"ETag": f'"{server.tag(self.path, content)}"'} if server.tags else {}
        if server.dated:
            headers["Last-Modified"] = email.utils.formatdate(server.dates.get(self.path, EPOCH), usegmt=True)
        return headers

    def unchanged(self, headers: dict[str, str]) -> bool:
        """Whether the client has the content already; a tag counts before a date (RFC 9110, 13.2.2)."""
        tag, date = self.headers["If-None-Match"], self.headers["If-Modified-Since"]
        if tag is not None:
            return tag == headers.get("ETag")
        return date is not None and date == headers.get("Last-Modified")

    def part(self, headers: dict[str, str], length: int) -> tuple[int, int | None]:
        """Start and end of the part that is asked for and may be sent; (0, None) for the whole."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        same = self.headers["If-Range"] in (None, headers.get("ETag"), headers.get("Last-Modified"))
        if not asked or not self.server.ranges or not (same or not self.server.if_range):
            return 0, None
        return int(asked[1]), min(int(asked[2]) + 1, length) if asked[2] else length

    def begin(self, status: int, length: int, headers: dict[str, str], fault: str = "") -> None:
        self.send_response(status)
        if fault == "open":
            self.close_connection = True
        elif fault == "drip_chunk":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length // 2 if fault == "long" else length))
        for name, value in headers.items():
            self.send_header(name, value)
        if fault == "drip_head":
            for byte in b"X-Slow: " + b"z" * 5000:
                self._headers_buffer.append(bytes([byte]))
                self.flush_headers()
                time.sleep(0.02)
            self._headers_buffer.append(b"\r\n")
        self.end_headers()

    def body(self, content: bytes, fault: str) -> None:
        half = len(content) // 2
        if fault == "drip_chunk":
            for byte in b"%x;x=" % len(content) + b"z" * 5000:
                self.wfile.write(bytes([byte]))
                time.sleep(0.02)
            self.close_connection = True
        elif fault == "drip":
            for byte in content:
                self.send(bytes([byte]))
                time.sleep(0.02)
        elif fault in ("reset", "short", "hang", "open"):
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
