"""The stage download for local files: is every channel's file there, and what is its sha256."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from wherein.channels import ROLES, uri_column
from wherein.reasons import DOWNLOAD_REASONS, check_reason
from wherein.sources.address import Address, from_uri
from wherein.summary import stage_summary
from wherein.tables import FILES, fields_of_shard, write_table

log = logging.getLogger(__name__)

THREADS = 4
"""Files read at once; hashing and waiting for a network drive both leave Python's lock."""


def check_shard(shard: str, fields: str, files: str, summary: str) -> None:
    """Look for the files of one shard's fields, and note their size and sha256. Files stay where they are.

    Args:
        shard: name of the shard.
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet to write, one row a field version and role.
        summary: results/summaries/download/{shard}.json to write; it counts fields, each by the first reason that one
            of its files has.
    """
    with stage_summary(summary, "download", shard) as report:
        rows = list(_addresses(fields_of_shard(fields, shard)))
        wanted = {row["path"] for row in rows if row["reason"] is None}
        with ThreadPoolExecutor(THREADS) as pool:
            found = dict(zip(wanted, pool.map(fingerprint, wanted), strict=True))
        for row in rows:
            row["sha256"], row["bytes"] = found.get(row["path"], (None, None))
            if row["reason"] is None and row["sha256"] is None:
                row["reason"] = "missing_file"
            row["status"] = "ok" if row["reason"] is None else "failed"
            if row["reason"] is not None:
                check_reason(row["reason"], DOWNLOAD_REASONS)
                log.warning(
                    "%s@%s %s: %s (%s)", *(row[name] for name in ("field_id", "version", "role", "reason", "path"))
                )
        write_table(files, pd.DataFrame(rows, columns=FILES.names), FILES)
        reasons = first_reasons(rows)
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


def _addresses(members: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for member in members.to_dict("records"):
        for role in ROLES:
            uri = member[uri_column(role)]
            if uri is None:
                continue
            address: Address = from_uri(uri)
            reason = None if address.path else "no_address"
            if member["retired_in"] is not None:
                reason = "retired"
            yield {
                "field_id": member["field_id"],
                "version": member["version"],
                "role": role,
                "path": address.path or None,
                "channel": address.channel,
                "z": address.z,
                "reason": reason,
            }
