"""Changed images under an unchanged URL: what servers say of their files, and which revision of each this run is at."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pandas as pd
import pyarrow.parquet as pq

from wherein.catalog.planned import Row
from wherein.catalog.release import Key, key_of
from wherein.channels import uri_column
from wherein.digest import digest
from wherein.sources.address import is_remote
from wherein.tables import REMOTE, write_table
from wherein.transfer.ask import state_on_server
from wherein.transfer.cache import Cache
from wherein.transfer.client import Client
from wherein.transfer.errors import TransferError
from wherein.transfer.hosts import Hosts, host_of
from wherein.transfer.progress import Progress
from wherein.transfer.state import RemoteState

MOST_THREADS = 16
"""Files asked for at once, however many hosts there are."""


class Known(NamedTuple):
    """What is known of the file of a URL.

    Attributes:
        state: the last one that was seen.
        revision: how often it changed since the first one.
    """

    state: RemoteState
    revision: int = 0


class RemoteFiles:
    """States of all files on servers that this run has ever asked for.

    Attributes:
        known: by URL.
    """

    def __init__(self, path: str | Path, download: Mapping[str, Any]) -> None:
        """Read results/catalog/remote.parquet, if it is there.

        Args:
            path: the table.
            download: section `download` of the configuration.
        """
        self._path, self._download = Path(path), download
        rows = pq.read_table(path).to_pylist() if self._path.exists() else []
        self.known = {
            row["url"]: Known(RemoteState(row["etag"], row["last_modified"], row["bytes"]), row["revision"])
            for row in rows
        }

    def follow(self, source: Mapping[str, Any], rows: Sequence[Row], before: Container[Key]) -> list[str]:
        """Look whether the files of a source's fields have changed, and give fields whose files did a new version.

        Args:
            source: configuration of the source; `ask_server` says whether servers are asked.
            rows: its fields, as `planned_fields` gives them; `version` and the addresses of roles change in place.
            before: keys of the last catalog's versions.

        Returns:
            Sentences for the reader of the report.
        """
        urls = {url: None for row in rows for _, url in _remote(row)}
        listed: dict[str, RemoteState] = {}
        for row in rows:
            listed |= row.pop("listed", {})
        # the version has them already
        self.known |= {url: Known(state) for url, state in listed.items()}
        notes = []
        if source.get("ask_server") and urls and self._download["offline"]:
            notes.append("download.offline is on: no server was asked whether images have changed")
        elif source.get("ask_server") and urls:
            self._begin_with_cache(row for row in rows if key_of(row) in before)
            notes = self._ask([url for url in urls if url not in listed])
        for row in rows:
            self._mark(row)
        return notes

    def save(self) -> None:
        """Write the table, sorted by url."""
        rows = [
            {"url": url, **known.state._asdict(), "revision": known.revision}
            for url, known in sorted(self.known.items())
        ]
        write_table(self._path, pd.DataFrame(rows, columns=REMOTE.names), REMOTE)

    def _begin_with_cache(self, rows: Iterable[Row]) -> None:
        """Take what the cache says of files that this run has worked on, before any server was asked for them."""
        cache = Cache(self._download["cache"], 0)
        for url in {url for row in rows for _, url in _remote(row)} - self.known.keys():
            note = cache.entry(url).noted()
            if note is not None:
                self.known[url] = Known(note.state)

    def _ask(self, urls: Sequence[str]) -> list[str]:
        """Ask for the state of every URL."""
        client = Client(self._download["connections"], self._download["timeout_s"])
        connections, patience = self._download["connections"], self._download["patience"]
        hosts = Hosts(Path(self._download["cache"]).absolute() / "hosts", connections, patience)
        progress = Progress(len(urls), "addresses asked for")
        counts: Counter[str] = Counter()

        def ask(url: str) -> RemoteState | str:
            try:
                return state_on_server(url, client, hosts, self._download)
            except TransferError as error:
                return str(error)
            finally:
                progress.add()

        first = ""
        with ThreadPoolExecutor(min(connections * len({host_of(url) for url in urls}), MOST_THREADS)) as pool:
            for url, found in zip(urls, pool.map(ask, urls), strict=True):
                if isinstance(found, str):
                    counts["silent"] += 1
                    first = first or found
                else:
                    counts["changed"] += self._see(url, found)
        notes = [f"asked servers about {len(urls)} images, {counts['changed']} have changed since they were last asked"]
        if counts["silent"]:
            notes.append(
                f"no answer for {counts['silent']} images, which are taken to be as before; the first: {first}"
            )
        return notes

    def _see(self, url: str, state: RemoteState) -> bool:
        """Note a state; whether it is another one than before."""
        last = self.known.get(url)
        if state.name is None:
            return False
        changed = last is not None and last.state.differs(state)
        self.known[url] = Known(state, (last.revision if last else 0) + changed)
        return changed

    def _mark(self, row: Row) -> None:
        """Put the expected states into the addresses of a field, and its revisions, if there are any, into its key."""
        known = {role: self.known[url] for role, url in _remote(row) if url in self.known}
        for role, file in known.items():
            if file.state.name is not None:
                row[uri_column(role)] += "&" + urlencode({"state": file.state.name})
        revisions = {role: file.revision for role, file in known.items() if file.revision}
        if revisions:
            row["version"] = digest([row["version"], revisions])


def _remote(row: Row) -> Iterator[tuple[str, str]]:
    """Roles of a field whose file is on a server, and its URL."""
    for role in row["roles"]:
        uri = row[uri_column(role)]
        if uri and is_remote(uri):
            yield role, uri.rpartition("#")[0]
