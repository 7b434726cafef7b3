"""Building the catalog from what sources have now and what it said before."""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from wherein import shards as shard_table
from wherein.atomic import atomic_path
from wherein.catalog.changes import read_changes, write_changes
from wherein.catalog.headers import complete, complete_crops
from wherein.catalog.planned import LISTS, Row, planned_fields
from wherein.catalog.release import (
    FROM_BEFORE,
    GONE,
    Change,
    Key,
    check_unique,
    differences,
    join_releases,
    key_of,
    relabel,
)
from wherein.catalog.remote import RemoteFiles
from wherein.catalog.sharding import open_shards
from wherein.exchange.listing import write_listing
from wherein.exchange.vector_listing import write_vector_listing
from wherein.overrides import read_overrides
from wherein.sources.check import check_tables
from wherein.sources.table import TableError
from wherein.summary import Summary, stage_summary
from wherein.tables import FIELDS, read_metadata, write_table

log = logging.getLogger(__name__)

SIMULATED_DTYPE = "uint16"
"""Data type of the simulated camera."""


def build_catalog(
    sources: dict[str, Any],
    overrides: str | None,
    shard_fields: int,
    fields: str,
    shards: str,
    diff: str,
    summary: str,
    remote: str | None = None,
    download: dict[str, Any] | None = None,
    crops: str | None = None,
    vectors: str | None = None,
) -> None:
    """List the fields of all sources, open shards for new versions, retire what is gone, and say what changed.

    Versions keep their shards for ever; one that returns takes up its old place. What stands at `fields`, `shards` and
    `diff` is the last catalog, if there is one.

    Args:
        sources: configuration of the sources, by name.
        overrides: table of curators' decisions, or None.
        shard_fields: most fields in one shard.
        fields: results/catalog/fields.parquet.
        shards: results/catalog/shards.tsv.
        diff: results/catalog/release_diff.tsv.
        summary: results/summaries/catalog/run.json.
        remote: results/catalog/remote.parquet, what is known of files on servers; None if none is looked at.
        download: section `download` of the configuration, with which servers are asked; None with `remote`.
        crops: results/catalog/crops.parquet, where crops made elsewhere are; None for a run without any.
        vectors: results/catalog/vectors.parquet, where vectors made elsewhere are; None for a run without any.

    Raises:
        TableError: a table is wrong, two sources have a field of the same name, or half of the last catalog is missing.
    """
    with stage_summary(summary, "catalog", "run", packages=("pyarrow", "tifffile")) as report:
        check_tables({"sources": sources, "overrides": overrides})
        before, placed = _last_catalog(fields, shards)
        last = read_metadata(fields) if before else {}
        history = read_changes(diff, last.get("changes"))
        releases = {name: source["release"] for name, source in sources.items()}
        servers = RemoteFiles(remote, download) if remote and download else None
        planned = _planned(sources, {key_of(row): row for row in before}, placed, servers, report)
        check_unique(planned)
        opened = open_shards([row for row in planned if row["shard"] is None], shard_fields, placed.values())
        for shard, row in opened:
            row["shard"] = shard
        words = read_overrides(overrides)
        strangers = relabel(planned, words)
        strangers += _unknown_fields(words, planned)
        report.notes += [f"a curator's word names the field {field_id}, which is not there" for field_id in strangers]
        old_releases = last.get("releases", {})
        changes = differences(planned, before, old_releases, releases)
        everything = join_releases(planned, before, releases)

        if servers:
            servers.save()
        if crops:
            write_listing(crops, planned)
        if vectors:
            write_vector_listing(vectors, planned)
        _append_shards(shards, opened)
        history += changes
        write_changes(diff, history)
        # last of all: it tells how much of the history counts, should a run be stopped before it is here
        write_table(
            fields,
            pd.DataFrame([{name: row.get(name) for name in FIELDS.names} for row in everything]),
            FIELDS,
            {"releases": dict.fromkeys(old_releases, GONE) | releases, "changes": len(history)},
        )

        retired = len(everything) - len(planned)
        report.counts = {"in": len(everything), "kept": len(planned), **({"retired": retired} if retired else {})}
        report.notes += _sentences(changes)
        report.extra = {"shards_opened": len({shard for shard, _ in opened}), "releases": releases}


def _planned(
    sources: dict[str, Any],
    known: dict[Key, Row],
    placed: dict[Key, str],
    servers: RemoteFiles | None,
    report: Summary,
) -> list[Row]:
    """Fields of all sources as they are now; those that have no shard yet are complete but for it."""
    planned: list[Row] = []
    for name, source in sources.items():
        rows, notes = planned_fields(name, source)
        report.notes += notes
        if servers:
            report.notes += [f"{name}: {note}" for note in servers.follow(source, rows, known)]
        new = [row for row in rows if key_of(row) not in known]
        if source["kind"] == "table":
            report.notes += complete(name, source, new)
        if source["kind"] == "crops":
            complete_crops(name, new)
        for row in rows:
            old = known.get(key_of(row))
            row.update({column: old[column] for column in FROM_BEFORE} if old else {})
            row.setdefault("dtype", SIMULATED_DTYPE)
            row["shard"] = placed.get(key_of(row))
        planned += rows
        log.info("source %s: %d fields, %d new versions", name, len(rows), len(new))
    return planned


def _last_catalog(fields: str, shards: str) -> tuple[list[Row], dict[Key, str]]:
    placed = {
        (shard.source, field_id, version): shard.name
        for shard in shard_table.read_shards(shards).values()
        for field_id, version in shard.members
    }
    if not os.path.exists(fields):
        return [], placed
    before: list[Row] = pq.read_table(fields).to_pylist()
    lost = [row for row in before if key_of(row) not in placed]
    if lost:
        raise TableError(
            f"{shards} lacks {len(lost)} field versions that {fields} has, the first is {lost[0]['field_id']}: "
            f"take the shard table from a backup, or delete results/catalog and all other results to begin anew"
        )
    for row in before:
        row.update({column: row.get(column) or [] for column in LISTS})
    return before, placed


def _unknown_fields(words: Iterable[Any], planned: Iterable[Row]) -> list[str]:
    there = {row["field_id"] for row in planned}
    named = (word.id for word in words if word.level == "field" and word.action != "relabel")
    return [field_id for field_id in named if field_id not in there]


def _append_shards(path: str, opened: Sequence[tuple[str, Row]]) -> None:
    new = [
        (
            shard,
            row["source"],
            row["release"],
            row["field_id"],
            row["version"],
            ",".join(row["roles"]),
            row["pixel_size_um"],
        )
        for shard, row in opened
    ]
    old = Path(path).read_bytes() if os.path.exists(path) else b""
    with atomic_path(path) as partial:
        partial.write_bytes(old)
        with open(partial, "a", newline="", encoding="utf-8") as lines:
            table = csv.writer(lines, delimiter="\t", lineterminator="\n")
            if not old:
                table.writerow(shard_table.COLUMNS)
            table.writerows(new)


def _sentences(changes: Iterable[Change]) -> list[str]:
    counted = Counter((change.source, change.change) for change in changes)
    return [f"{source}: {count} fields {change}" for (source, change), count in sorted(counted.items())]
