"""HTTP connections as the environment wants them: its proxies, its certificates; with an end to every answer."""

import http.client
import io
import os
import socket
import time
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Retry, Timeout, make_headers

from wherein import __version__

REDIRECTS = Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5, raise_on_status=False)
"""Redirects are followed; every other try is ours, since it goes on where the last one stopped."""

CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name trusted certificates, a file or a folder; the first that is set counts. Where none is, OpenSSL
itself looks at SSL_CERT_FILE and SSL_CERT_DIR, then at the system's."""

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
"""time.monotonic() at which an answer to the request that is being sent has to be whole."""


class UntilDeadline(io.RawIOBase):
    """What comes from a socket, until a deadline: time-outs alone never end for a server that sends byte by byte."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has come, as the socket would.

        Raises:
            TimeoutError: nothing came within the socket's time-out, or before the deadline.
        """
        left, timeout = self._deadline - time.monotonic(), self._sock.gettimeout()
        if left <= 0:
            raise TimeoutError("the answer was not whole at the deadline")
        self._sock.settimeout(left if timeout is None else min(left, timeout))
        try:
            return self._raw.readinto(buffer)  # type: ignore[attr-defined]
        finally:
            self._sock.settimeout(timeout)

    def close(self) -> None:
        """Close the socket's stream too."""
        self._raw.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """An answer whose status, headers and body end at the deadline of the request."""

    def __init__(self, sock: socket.socket, *options: Any, **named: Any) -> None:
        super().__init__(sock, *options, **named)
        deadline = _deadline.get()
        if deadline < float("inf"):
            self.fp = io.BufferedReader(UntilDeadline(self.fp.detach(), sock, deadline))  # type: ignore[attr-defined]


class BoundedConnection(HTTPConnection):
    """A connection whose answers, and those of a proxy on the way, end at a deadline."""

    response_class = BoundedResponse


class BoundedTlsConnection(HTTPSConnection):
    """The same over TLS."""

    response_class = BoundedResponse


class BoundedPool(urllib3.HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = BoundedConnection


class BoundedTlsPool(urllib3.HTTPSConnectionPool):
    """Connections to one host over TLS."""

    ConnectionCls = BoundedTlsConnection


Manager = TypeVar("Manager", bound=urllib3.PoolManager)

POOLS = {"http": BoundedPool, "https": BoundedTlsPool}


class Client:
    """Keeps connections open between requests; safe in threads.

    Attributes:
        timeout_s: seconds for a connection to open, and between two pieces of an answer.
    """

    def __init__(self, connections: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._options = {"maxsize": connections, "retries": REDIRECTS, **certificates()}
        self._direct = _bounded(urllib3.PoolManager(**self._options))
        self._proxies = {
            scheme: self._proxy(proxies[scheme] if scheme in proxies else proxies["all"])
            for proxies in [getproxies()]
            for scheme in ("http", "https")
            if scheme in proxies or "all" in proxies
        }

    def get(self, url: str, headers: dict[str, str], seconds: float, method: str = "GET") -> urllib3.BaseHTTPResponse:
        """Ask for a file; the answer's body is not read yet, and is never unpacked.

        Args:
            url: http:// or https://.
            headers: headers of the request.
            seconds: time that is left for the whole answer, redirects, headers and body together.
            method: GET, or HEAD for the headers of the answer alone.

        Raises:
            urllib3.exceptions.HTTPError: no answer came, or its headers did not end in time. Reading the body raises it
                too.
        """
        wait = max(min(self.timeout_s, seconds), 0.001)
        before = _deadline.set(time.monotonic() + seconds)
        try:
            return self._manager(url).request(
                method,
                url,
                headers={"User-Agent": f"wherein/{__version__}", "Accept-Encoding": "identity", **headers},
                timeout=Timeout(connect=wait, read=wait),
                preload_content=False,
                decode_content=False,
            )
        finally:
            _deadline.reset(before)

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        if parts.scheme not in self._proxies or proxy_bypass(parts.hostname or ""):
            return self._direct
        return self._proxies[parts.scheme]

    def _proxy(self, address: str) -> urllib3.ProxyManager:
        address = address if "://" in address else f"http://{address}"
        user = urlsplit(address)
        word = f"{unquote(user.username)}:{unquote(user.password or '')}" if user.username else None
        headers = make_headers(proxy_basic_auth=word) if word else None
        return _bounded(urllib3.ProxyManager(address, proxy_headers=headers, **self._options))


def _bounded(manager: Manager) -> Manager:
    manager.pool_classes_by_scheme = POOLS
    return manager


def certificates() -> dict[str, str]:
    """Where trusted certificates are, as urllib3 is told; empty for OpenSSL's own."""
    path = next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), None)
    if path is None:
        return {}
    return {"ca_cert_dir" if os.path.isdir(path) else "ca_certs": path}
