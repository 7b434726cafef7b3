"""What state a file on a server has, asked without fetching it."""

import time
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from wherein.transfer.attempts import persistently
from wherein.transfer.client import Client
from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError
from wherein.transfer.fetch import TRY_AGAIN, check_status, content_length, content_range, told
from wherein.transfer.hosts import Hosts, host_of
from wherein.transfer.state import RemoteState, bare

TRIES = 2
"""How often one file is asked for: where no answer comes, the last known state is as good for this run."""

WAITS = 2
"""How often the time-out goes into the time that one question may take."""

LONGEST_WAIT_S = 60
"""Seconds that one question waits at most: a download that runs may have all connections of the host."""


def state_on_server(url: str, client: Client, hosts: Hosts, settings: Mapping[str, Any]) -> RemoteState:
    """Ask for a file's state by HEAD, and where that is refused by a GET of its first byte.

    Args:
        url: http:// or https://.
        client: the connections.
        hosts: how many of them there may be.
        settings: section `download` of the configuration.

    Returns:
        What the server says; empty where it says nothing.

    Raises:
        TransferError: it did not answer, or there is no such file.
    """
    clock = Clock(
        min(settings["deadline_s"], WAITS * settings["timeout_s"]), min(settings["longest_wait_s"], LONGEST_WAIT_S)
    )
    few = {**settings, "retries": min(settings["retries"], TRIES - 1)}
    return persistently(lambda: _once(url, client, hosts, clock), url, hosts, few, clock)


def _once(url: str, client: Client, hosts: Hosts, clock: Clock) -> RemoteState:
    host = host_of(url)
    with hosts.connection(host, clock) as deadline:
        try:
            response = client.get(url, {}, deadline - time.monotonic(), method="HEAD")
            response.drain_conn()
            if _head_refused(response.status):
                response = client.get(url, {"Range": "bytes=0-0"}, deadline - time.monotonic())
            try:
                check_status(response, url)
                return _state(response, url)
            except TransferError as error:
                if error.wait_s:
                    hosts.pause(host, error.wait_s)
                raise
            finally:
                # a server without ranges begins to send the whole file
                response.drain_conn() if response.status == 206 else response.close()
        except HTTPError as error:
            raise told(url, error) from error


def _head_refused(status: int) -> bool:
    """Whether an answer to HEAD says nothing on the file: some servers know no HEAD and answer in any words."""
    return status == 501 or (400 <= status < 500 and status not in TRY_AGAIN)


def _state(response: urllib3.BaseHTTPResponse, url: str) -> RemoteState:
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        # the page of a proxy or of a server that is being mended has a length of its own, and it is no new image
        raise TransferError("not_an_image", f"{url}: the server speaks of a HTML page in place of an image")
    length = content_range(response)[1] if response.status == 206 else content_length(response)
    return RemoteState(bare(response.headers.get("ETag")), response.headers.get("Last-Modified"), length)
