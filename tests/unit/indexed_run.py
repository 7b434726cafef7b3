"""A run of three drawn shards of two sources, with its index."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from drawn_shard import LOCATIONS, draw_shard
from wherein import tables
from wherein.crops.samples import judged_samples
from wherein.crops.store import CropStore, CropWriter
from wherein.reading.build_index import index_run
from wherein.reading.index import CropIndex

NAMES = ("near-0001", "near-0002", "far-0001")


@dataclass
class IndexedRun:
    """Paths of the run, its tables of fields, and every kept cell by its name."""

    root: Path
    fields: pd.DataFrame
    pixels: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def index(self):
        return CropIndex(self.root / "index")

    def build(self):
        paths = {stage: [str(self.root / stage / name) for name in NAMES] for stage in ("qc", "cells", "crops")}
        index_run(
            fields=self.root / "fields.parquet",
            qc=[f"{path}.parquet" for path in paths["qc"]],
            cells=[f"{path}.parquet" for path in paths["cells"]],
            crops=[f"{path}.zarr" for path in paths["crops"]],
            split=self.root / "split.parquet",
            samples=self.root / "samples.parquet",
            index=self.root / "index",
            summary=self.root / "summary.json",
        )


def indexed_run(root):
    """Draw the run. The first field of `near-0002` is retired; a third of the cells are rejected or lack measures."""
    root = Path(root)
    parts = []
    for number, name in enumerate(NAMES):
        genes = {f"G{number}{place}": where for place, where in enumerate(LOCATIONS)}
        parts.append(draw_shard(root, name, genes, fields_per_gene=2, controls=number % 2, seed=number)[1])
        _vary(root / "cells" / f"{name}.parquet", number)
    fields = pd.concat(parts, ignore_index=True)
    place = np.arange(len(fields))
    fields["source"] = fields["shard"].str.partition("-")[0]
    fields["cell_line"] = [("U2OS", "A-431", None)[number % 3] for number in place]
    fields["labels"] = [
        [*labels, "Vesicles"] if number % 4 == 0 else labels
        for number, labels in zip(place, fields["labels"], strict=True)
    ]
    fields["full_scale"] = 65535.0
    fields["retired_in"] = [None if number != len(parts[0]) else "2" for number in place]
    tables.write_table(root / "fields.parquet", fields, tables.FIELDS)
    split = fields[["field_id", "version"]].assign(
        gene_group=[genes[0] if genes else "control" for genes in fields["genes"]],
        gene_fold=place % 5,
        field_fold=place % 2,
    )
    tables.write_table(root / "split.parquet", split, tables.SPLIT)
    ledger = tables.read_tables(
        [root / "cells" / f"{name}.parquet" for name in NAMES], ["field_id", "version", "status"]
    )
    kept = ledger[ledger["status"] == "kept"].groupby(["field_id", "version"]).size()
    samples = judged_samples(fields[fields["retired_in"].isna()], kept, {"near": 18, "far": 5})
    tables.write_table(root / "samples.parquet", samples, tables.SAMPLES)
    pixels = {}
    for name in NAMES:
        store = CropStore(root / "crops" / f"{name}.zarr")
        every = np.arange(len(store))
        pixels |= dict(zip(store.cell_ids, zip(store.images(every), store.masks(every), strict=True), strict=True))
    run = IndexedRun(root, fields, pixels)
    run.build()
    return run


def store_in_8_bits(run, name):
    """Write the crops of a shard anew with an eighth of their intensities, 255 at most, and the index."""
    path = run.root / "crops" / f"{name}.zarr"
    store = CropStore(path)
    every = np.arange(len(store))
    images, masks = np.minimum(store.images(every) // 8, 255).astype(np.uint8), store.masks(every)
    about = {key: store.attributes[key] for key in ("pixel_size_um", "window_um", "shard", "source")}
    shutil.rmtree(path)
    with CropWriter(path, store.roles, store.window_px, np.uint8) as writer:
        for cell_id, image, mask in zip(store.cell_ids, images, masks, strict=True):
            writer.add(cell_id, image, mask)
            run.pixels[cell_id] = image, mask
        writer.finish(about)
    run.build()


def _vary(path, seed):
    """Give the ledger measures that differ from cell to cell, some of them unknown."""
    rng = np.random.default_rng(seed)
    ledger = tables.read_tables([path])
    count = len(ledger)
    ledger["area_um2"] = rng.uniform(20, 200, count)
    ledger.loc[rng.random(count) < 0.1, "area_um2"] = np.nan
    ledger["exceeds_window"] = rng.random(count) < 0.2
    ledger["n_nuclei"] = rng.integers(1, 3, count)
    schema = tables.cells_schema([name[5:] for name in ledger.columns if name.startswith("mean_")])
    tables.write_table(path, ledger, schema)
