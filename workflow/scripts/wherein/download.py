"""The stage download: every channel's file, found on this machine or fetched, and its sha256."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from wherein.channels import ROLES, uri_column
from wherein.reasons import DOWNLOAD_REASONS, PASSING_REASONS, check_reason
from wherein.sources.address import Address, from_uri, is_remote
from wherein.summary import Summary, stage_summary
from wherein.tables import FILES, fields_of_shard, write_table
from wherein.transfer.fields import Arrival, Downloader
from wherein.transfer.progress import Progress

log = logging.getLogger(__name__)

Row = dict[str, Any]
"""A row of results/download/{shard}.parquet, and its `address`."""

THREADS = 4
"""Files read at once; hashing and waiting for a network drive both leave Python's lock."""

MOST_THREADS = 16
"""Fields fetched at once, however many hosts there are."""


class DownloadError(RuntimeError):
    """So much of a shard did not arrive that the job has to be run again; the message says why."""


def check_shard(shard: str, fields: str, files: str, summary: str, settings: Mapping[str, Any]) -> None:
    """Find or fetch the files of one shard's fields, and note their size and sha256. Local files stay where they are.

    Args:
        shard: name of the shard.
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet to write, one row a field version and role.
        summary: results/summaries/download/{shard}.json to write; it counts fields, each by the first reason that one
            of its files has.
        settings: section `download` of the configuration.

    Raises:
        DownloadError: the disk has no room, or more fields than `settings` allow are missing for reasons that pass.
    """
    with stage_summary(summary, "download", shard, ("urllib3",)) as report:
        members = fields_of_shard(fields, shard)
        rows = [row for member in members.to_dict("records") for row in _rows(member)]
        wanted = [row for row in rows if row["reason"] is None]
        _find([row for row in wanted if not is_remote(row["path"])])
        _fetch([row for row in wanted if is_remote(row["path"])], settings, report)
        for row in rows:
            row["status"] = "ok" if row["reason"] is None else "failed"
            if row["reason"] is not None:
                check_reason(row["reason"], DOWNLOAD_REASONS)
                where = row["detail"] or row["path"]
                named = (row[name] for name in ("field_id", "version", "role", "reason"))
                log.warning("%s@%s %s: %s (%s)", *named, where)
        reasons = first_reasons(rows)
        _stop_if_unreachable(shard, rows, reasons, settings)
        write_table(files, pd.DataFrame(rows, columns=FILES.names), FILES)
        failed = Counter(reason for reason in reasons.values() if reason)
        report.counts = {"in": len(reasons), "kept": len(reasons) - failed.total(), **failed}


def fingerprint(path: str) -> tuple[str | None, int | None]:
    """sha256 and size of a file, or of a folder's files with their names, in order.

    Returns:
        (64 hexadecimal characters, bytes); (None, None) if nothing that can be read is there.
    """
    try:
        if not os.path.isdir(path):
            with open(path, "rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest(), os.fstat(content.fileno()).st_size
        together, size = hashlib.sha256(), 0
        for file in sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names):
            with open(file, "rb") as content:
                together.update(os.path.relpath(file, path).encode() + b"\0")
                together.update(hashlib.file_digest(content, "sha256").digest())
                size += os.fstat(content.fileno()).st_size
        return together.hexdigest(), size
    except OSError as error:
        log.warning("%s: %s", path, error)
        return None, None


def first_reasons(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str | None]:
    """The first reason that a file of each field version has, None where all are there."""
    reasons: dict[tuple[str, str], str | None] = {}
    for row in rows:
        key = row["field_id"], row["version"]
        reasons[key] = reasons.get(key) or row["reason"]
    return reasons


def _rows(member: dict[str, Any]) -> list[Row]:
    """The rows of one field version, in the order of storage, before anything was looked for."""
    rows = []
    for role in ROLES:
        uri = member[uri_column(role)]
        if uri is None:
            continue
        address: Address = from_uri(uri)
        reason = None if address.path else "no_address"
        if member["retired_in"] is not None:
            reason = "retired"
        rows.append(
            {
                "field_id": member["field_id"],
                "version": member["version"],
                "role": role,
                "path": None if not address.path or (reason and is_remote(address.path)) else address.path,
                "channel": address.channel,
                "z": address.z,
                "sha256": None,
                "bytes": None,
                "reason": reason,
                "detail": None,
                "url": address.path if is_remote(address.path) else None,
                "gain": 1,
                "bin": address.bin,
                "axes": address.axes,
                "address": address,
            }
        )
    return rows


def _find(rows: Sequence[Row]) -> None:
    """Fill sha256, size and reason of local files, in place."""
    paths = {row["path"] for row in rows}
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(paths, pool.map(fingerprint, paths), strict=True))
    for row in rows:
        row["sha256"], row["bytes"] = found[row["path"]]
        if row["sha256"] is None:
            row["reason"] = "missing_file"


def _fetch(rows: Sequence[Row], settings: Mapping[str, Any], report: Summary) -> None:
    """Fetch remote files field by field and fill their rows, in place."""
    if not rows:
        return
    downloader = Downloader(settings)
    if not settings["offline"] and downloader.cache.room() <= 0:
        raise DownloadError(
            f"the disk of {downloader.cache.folder} has less than {settings['min_free_gb']} GB free "
            "(download.min_free_gb): make room, or put download.cache on another disk; then run again"
        )
    fields: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        fields.setdefault((row["field_id"], row["version"]), []).append(row)
    hosts = {urlsplit(row["url"]).netloc for row in rows}
    progress = Progress(len(fields))
    with ThreadPoolExecutor(min(settings["connections"] * len(hosts), MOST_THREADS)) as pool:
        arrivals = list(pool.map(lambda field: _fetch_field(field, downloader, progress), fields.values()))
    report.extra["fetched_bytes"] = sum(arrival.fetched for arrival in chain.from_iterable(arrivals))
    taken = [key[0] for key, field in fields.items() if any(row["url"] != row["address"].path for row in field)]
    if taken:
        report.extra["from_alternatives"] = taken
        report.notes.append(
            f"{len(taken)} fields from their alternative files, since the server refuses the first ones"
        )
    kept = [arrival.kept for arrival in chain.from_iterable(arrivals) if arrival.kept]
    if kept:
        report.notes.append(
            f"{len(kept)} files were taken from the cache as they are there, since their server gave nothing better "
            f"when it was asked again; the first: {kept[0]}"
        )
    drifted = sum(arrival.drifted for arrival in chain.from_iterable(arrivals))
    if drifted:
        report.notes.append(
            f"{drifted} files have changed on their server since the catalog was made, and were taken as they are now: "
            "run the catalog again (--forcerun catalog)"
        )


def _fetch_field(rows: list[Row], downloader: Downloader, progress: Progress) -> list[Arrival]:
    """Fetch the files of one field and fill its rows; what was fetched, the refused and their alternatives alike."""
    arrivals = downloader.field(_readings(rows), {row["url"]: row["address"].state for row in rows})
    came = list(arrivals.values())
    # all of a field's images or none: those of one field must not differ in type
    refused = any(arrival.reason in ("not_found", "refused", "offline") for arrival in arrivals.values())
    if refused and all(row["address"].alternative for row in rows):
        for row in rows:
            row["url"], row["gain"] = row["address"].alternative, row["address"].gain
        arrivals = downloader.field(_readings(rows))
        came += arrivals.values()
    for row in rows:
        arrival: Arrival = arrivals[row["url"]]
        row.update({name: getattr(arrival, name) for name in ("path", "sha256", "bytes", "reason", "detail")})
    progress.add(sum(arrival.fetched for arrival in came))
    return came


def _readings(rows: Sequence[Row]) -> dict[str, list[tuple[str | None, ...]]]:
    readings: dict[str, list[tuple[str | None, ...]]] = {}
    for row in rows:
        readings.setdefault(row["url"], []).append((row["channel"], row["z"], row["axes"]))
    return readings


def _stop_if_unreachable(
    shard: str, rows: Sequence[Row], reasons: Mapping[tuple[str, str], str | None], settings: Mapping[str, Any]
) -> None:
    """Raise DownloadError where too many fields are missing for reasons that pass."""
    passing = [key for key, reason in reasons.items() if reason in PASSING_REASONS]
    if len(passing) <= settings["unreachable_share"] * len(reasons):
        return
    first = next(row for row in rows if row["reason"] in PASSING_REASONS)
    raise DownloadError(
        f"shard {shard}: {len(passing)} of {len(reasons)} fields could not be fetched now, at most "
        f"{settings['unreachable_share']:.0%} may be missing (download.unreachable_share); the first is "
        f"{first['field_id']}: {first['detail']}. What has arrived stays in {settings['cache']}: run again when the "
        "network and the disk are well"
    )
