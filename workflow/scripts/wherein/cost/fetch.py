"""Bytes to fetch: from what servers say of their files, from files of the same source that came, or not known."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from wherein.channels import ROLES, uri_column
from wherein.cost.geometry import Geometry, Measured
from wherein.cost.volumes import Estimate
from wherein.digest import digest
from wherein.transfer.cache import suffix

STAT = 400
"""Most files of a source in the cache whose size is looked up: on a network drive each takes a moment."""


class Wanted(NamedTuple):
    """Remote files of a source.

    Attributes:
        source: its name.
        files: files of all its current fields.
        arrived: files of shards whose download is done.
        cached: further files that lie in the cache already.
        to_fetch: files that are neither.
        cached_bytes: of `cached`.
        bytes: to fetch.
    """

    source: str
    files: int
    arrived: int
    cached: int
    to_fetch: int
    cached_bytes: Estimate
    bytes: Estimate


def remote_files(fields: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    """Remote files of field versions: (source, shard, role, URL); a file that shows several roles comes once a field.

    Args:
        fields: rows of fields.parquet; columns source, shard, uri_*.
    """
    columns = [uri_column(role) for role in ROLES]
    for source, shard, *uris in fields[["source", "shard", *columns]].itertuples(index=False, name=None):
        seen = set()
        for role, uri in zip(ROLES, uris, strict=True):
            if uri is not None and uri.startswith(("http://", "https://")):
                url = uri.rpartition("#")[0]
                if url not in seen:
                    seen.add(url)
                    yield source, shard, role, url


def fetches(
    fields: pd.DataFrame,
    arrived: Collection[str],
    root: Path,
    cache: Path,
    sizes: Mapping[str, int],
    geometry: Mapping[str, Geometry],
    measured: Mapping[tuple[str, str], Measured],
) -> list[Wanted]:
    """Count the remote files of current fields and the bytes that are still to come.

    Args:
        fields: current rows of fields.parquet.
        arrived: shards whose download is done.
        root: folder of the run.
        cache: folder of fetched files.
        sizes: bytes of files by URL, as far as servers or listings told them.
        geometry: of each source.
        measured: figures of other runs.

    Returns:
        One row for each source with remote files.
    """
    there = cached_names(cache)
    by_source: dict[str, dict[str, tuple[str, str]]] = {}
    for source, shard, role, url in remote_files(fields):
        by_source.setdefault(source, {})[url] = (shard, role)
    rows = []
    for source, files in by_source.items():
        waiting = {url: role for url, (shard, role) in files.items() if shard not in arrived}
        cached = [url for url in waiting if digest(url, 32) in there] if there else []
        lying = set(cached)
        missing = {url: role for url, role in waiting.items() if url not in lying}
        means = arrived_means(source, fields, arrived, root)
        rows.append(
            Wanted(
                source,
                len(files),
                len(files) - len(waiting),
                len(cached),
                len(missing),
                cached_bytes(cached, cache),
                estimated(missing, sizes, means, cached_bytes(cached, cache, True), geometry[source], measured),
            )
        )
    return rows


def estimated(
    missing: Mapping[str, str],
    sizes: Mapping[str, int],
    means: Mapping[str, float],
    cached_mean: Estimate,
    geometry: Geometry,
    measured: Mapping[tuple[str, str], Measured],
) -> Estimate:
    """Bytes of files, each by the best that is known of it: its own size, else that of others like it.

    Args:
        missing: role by URL.
        sizes: bytes by URL.
        means: mean bytes of the source's files that arrived, by role.
        cached_mean: mean bytes of its files in the cache.
        geometry: of the source.
        measured: figures of other runs.

    Returns:
        Bytes, unknown as soon as one file is, and how they are known.
    """
    total = 0.0
    ways: dict[str, int] = {}
    unknown = 0
    pixels = geometry.amount("megapixel", 1)
    # files of a source end alike: to look each ending up once saves most of the time that a large release takes
    figures: dict[str, Measured | None] = {}
    for url, role in missing.items():
        ending = url[url.rfind("/") + 1 :].partition(".")[2]
        if ending not in figures:
            figures[ending] = measured.get(("fetch", suffix(url)))
        figure = figures[ending]
        if url in sizes:
            size, way = float(sizes[url]), "the server's own size"
        elif role in means:
            size, way = means[role], "the mean of files of this source that arrived"
        elif cached_mean.value is not None:
            size, way = cached_mean.value, "the mean of files of this source in the cache"
        elif figure and pixels is not None:
            size = figure.value * pixels
            way = f"{figure.value:,.0f} bytes a megapixel: {figure.source}, {figure.date}"
        else:
            unknown += 1
            continue
        total += size
        ways[way] = ways.get(way, 0) + 1
    if unknown:
        return Estimate(None, f"nothing tells the size of {unknown:,} files")
    told = "; ".join(f"{count:,} files by {way}" for way, count in ways.items())
    return Estimate(total, told or "nothing to fetch")


def arrived_means(source: str, fields: pd.DataFrame, arrived: Collection[str], root: Path) -> dict[str, float]:
    """Mean bytes of each role's files in up to 12 shards of a source whose download is done."""
    shards = [name for name in dict.fromkeys(fields.loc[fields["source"] == source, "shard"]) if name in arrived][:12]
    columns = ["role", "bytes", "status", "url"]
    parts = [pq.read_table(root / f"results/download/{shard}.parquet", columns=columns).to_pandas() for shard in shards]
    if not parts:
        return {}
    files = pd.concat(parts)
    files = files[(files["status"] == "ok") & files["url"].notna()]
    return files.groupby("role")["bytes"].mean().to_dict()


def cached_names(cache: Path) -> set[str]:
    """Names of the complete entries of the cache: those with a note, without opening any."""
    names = set()
    for folder in _entries(cache, lambda entry: entry.is_dir() and len(entry.name) == 2):
        found = {entry.name.partition(".")[0] for entry in os.scandir(folder.path) if entry.name.endswith(".json")
                 and not entry.name.endswith(".part.json")}  # fmt: skip
        names |= found
    return names


def cached_bytes(urls: Sequence[str], cache: Path, mean: bool = False) -> Estimate:
    """Bytes of files in the cache, or their mean, from the sizes of up to 400 of them."""
    step = max(1, len(urls) // STAT)
    sizes = []
    for url in urls[::step]:
        name = digest(url, 32)
        path = cache / name[:2] / (name + suffix(url))
        if path.is_file():
            sizes.append(path.stat().st_size)
    if not sizes:
        return Estimate(None if mean else 0, "none in the cache")
    average = sum(sizes) / len(sizes)
    basis = "sizes on disk" if len(sizes) == len(urls) else f"the mean of {len(sizes)} of {len(urls):,} files"
    return Estimate(average if mean else average * len(urls), basis)


def _entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> Iterable[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if wanted(entry)]
    except FileNotFoundError:
        return []
