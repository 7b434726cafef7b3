"""The stage `export_crops`: the crops of a source in the layout of another program, with a manifest."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherein import __version__, tables
from wherein.atomic import atomic_path, write_json
from wherein.digest import sha256_of
from wherein.exchange import cytoself_layout, h5sc, webdataset
from wherein.exchange.exporting_cells import Written, choose_cells
from wherein.exchange.exporting_plan import NEEDS
from wherein.reading.index import CropIndex
from wherein.reasons import EXPORT_REASONS, KEPT, check_reason
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

MANIFEST = "manifest.json"

Writer = Callable[[Path, CropIndex, np.ndarray, Mapping[str, Any]], Written]

WRITERS: dict[str, Writer] = {
    "h5sc": h5sc.write,
    "cytoself": cytoself_layout.write,
    "webdataset": webdataset.write,
}
"""What writes each layout into a folder that is there: some rows of an index, at least one, under its settings."""


def export_run(
    layout: str,
    source: str,
    index: str | Path,
    crops: Sequence[str | Path],
    cells: Sequence[str | Path],
    settings: Mapping[str, Any],
    folder: str | Path,
    summary: str | Path,
) -> None:
    """Export the cells of a source.

    Args:
        layout: key of WRITERS.
        source: the source.
        index: results/index.
        crops: crop stores of the source's shards, all in one folder.
        cells: ledgers of the same shards.
        settings: `filters` of the section `export` of the configuration, and the layout's own under its name.
        folder: what to write, results/export/{layout}/{source}.
        summary: JSON to write.

    Raises:
        CropIndexError: a filter names what is not there, or stores differ in what the settings do not make equal.
        DamagedCropsError: a crop's bytes are missing or changed.
        ValueError: a wanted image is larger than the crops, or index and ledgers are not of one run.
    """
    with stage_summary(summary, "export_crops", f"{layout}-{source}", ("h5py", "numpy")) as report:
        known = CropIndex(index, Path(crops[0]).parent)
        kept = int((tables.read_tables(cells, ["status"])["status"] == KEPT).sum())
        rows, reasons = choose_cells(known, source, settings["filters"], "protein" in NEEDS[layout])
        retired = kept - len(rows) - sum(reasons.values())
        if retired < 0:
            raise ValueError(
                f"{index} has {-retired} cells of {source} that its ledgers do not keep: run `index_crops` again"
            )
        if retired:
            reasons = {check_reason("retired", EXPORT_REASONS): retired} | reasons
        report.counts = {"in": kept, "kept": len(rows), **reasons}
        LOG.info("%d of %d cells of %s go into %s", len(rows), kept, source, layout)
        own = settings[layout]
        with atomic_path(folder) as partial:
            partial.mkdir()
            written = WRITERS[layout](partial, known, rows, own) if len(rows) else Written({}, {})
            write_json(
                partial / MANIFEST,
                {
                    "layout": layout,
                    "source": source,
                    "cells": len(rows),
                    "counts": report.counts,
                    "settings": dict(own),
                    "filters": settings["filters"],
                    "index": known.digest,
                    "wherein_version": __version__,
                    **written.about,
                    "files": [_file(partial, name, count) for name, count in written.files.items()],
                },
            )
        if not len(rows):
            report.notes.append(f"no cell of {source} is left to export: {MANIFEST} says why")


def _file(folder: Path, name: str, count: int) -> dict[str, Any]:
    path = folder / name
    return {"name": name, "cells": count, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
