"""HTTP connections as the environment wants them: its proxies, its certificates."""

import os
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.util import Retry, Timeout, make_headers

from wherein import __version__

REDIRECTS = Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5, raise_on_status=False)
"""Redirects are followed; every other try is ours, since it goes on where the last one stopped."""

CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name trusted certificates, a file or a folder; the first that is set counts. Where none is, OpenSSL
itself looks at SSL_CERT_FILE and SSL_CERT_DIR, then at the system's."""


class Client:
    """Keeps connections open between requests; safe in threads.

    Attributes:
        timeout_s: seconds for a connection to open, and between two pieces of an answer.
    """

    def __init__(self, connections: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._options = {"maxsize": connections, "retries": REDIRECTS, **certificates()}
        self._direct = urllib3.PoolManager(**self._options)
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
            seconds: time that is left for the whole file.
            method: GET, or HEAD for the headers of the answer alone.

        Raises:
            urllib3.exceptions.HTTPError: no answer came.
        """
        wait = max(min(self.timeout_s, seconds), 0.001)
        return self._manager(url).request(
            method,
            url,
            headers={"User-Agent": f"wherein/{__version__}", "Accept-Encoding": "identity", **headers},
            timeout=Timeout(connect=wait, read=wait),
            preload_content=False,
            decode_content=False,
        )

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
        return urllib3.ProxyManager(address, proxy_headers=headers, **self._options)


def certificates() -> dict[str, str]:
    """Where trusted certificates are, as urllib3 is told; empty for OpenSSL's own."""
    path = next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), None)
    if path is None:
        return {}
    return {"ca_cert_dir" if os.path.isdir(path) else "ca_certs": path}
