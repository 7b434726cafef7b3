"""The stage download of crops made elsewhere: every file, found where the table says, and its sha256."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from wherein.channels import ROLES
from wherein.digest import sha256_of
from wherein.exchange.listing import read_listing
from wherein.reasons import DOWNLOAD_REASONS, KEPT, check_reason
from wherein.summary import stage_summary
from wherein.tables import FILES, fields_of_shard, write_table
from wherein.tallies import download_fates

log = logging.getLogger(__name__)

THREADS = 4
"""Files read at once; hashing and waiting for a network drive both leave Python's lock."""


def check_files(shard: str, fields: str | Path, listed: str | Path, files: str | Path, summary: str | Path) -> None:
    """Find the files of one shard's crops, and note their size and sha256. They stay where they are.

    Args:
        shard: name of the shard.
        fields: results/catalog/fields.parquet.
        listed: results/catalog/crops.parquet.
        files: results/download/{shard}.parquet to write, one row a field version, role and file; masks and distances
            have no role.
        summary: JSON to write; it counts fields. One is kept if there is a file of each of its parts.
    """
    with stage_summary(summary, "download", shard) as report:
        retired = fields_of_shard(fields, shard).set_index(["field_id", "version"])["retired_in"].notna()
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for key, entries in read_listing(listed, shard).items():
            for part in (part for entry in entries for part in entry.values()):
                row = rows.setdefault((*key, part.part, part.path, part.channel), _row(key, part))
                row["reason"] = "retired" if retired[key] else row["reason"]
        wanted = {row["path"] for row in rows.values() if row["reason"] is None}
        with ThreadPoolExecutor(THREADS) as pool:
            found = dict(zip(wanted, pool.map(_fingerprint, wanted), strict=True))
        for row in rows.values():
            if row["reason"] is None:
                row["sha256"], row["bytes"] = found[row["path"]]
                row["reason"] = "missing_file" if row["sha256"] is None else None
            row["status"] = "ok" if row["reason"] is None else "failed"
            if row["reason"] is not None:
                check_reason(row["reason"], DOWNLOAD_REASONS)
        table = pd.DataFrame(
            [{name: row.get(name) for name in FILES.names} for row in rows.values()], columns=FILES.names
        )
        write_table(files, table, FILES)
        fates = Counter(download_fates(table))
        report.counts = {"in": fates.total(), "kept": fates.pop(KEPT, 0), **fates}
        lost = [row for row in rows.values() if row["reason"] == "missing_file"]
        if lost:
            report.notes.append(f"{len(lost)} of {len(wanted)} files are missing, {lost[0]['path']} the first")
        for row in lost:
            log.warning("%s@%s: %s is missing", row["field_id"], row["version"], row["path"])


def _row(key: tuple[str, str], part: Any) -> dict[str, Any]:
    return {
        "field_id": key[0],
        "version": key[1],
        "part": part.part,
        "role": part.part if part.part in ROLES else None,
        "path": part.path or None,
        "channel": None if part.channel is None else str(part.channel),
        "axes": part.axes,
        "gain": 1,
        "bin": 1,
        "reason": None if part.path else "no_address",
    }


def _fingerprint(path: str) -> tuple[str | None, int | None]:
    try:
        return sha256_of(path), Path(path).stat().st_size
    except OSError as error:
        log.warning("%s: %s", path, error)
        return None, None
