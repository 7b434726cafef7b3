"""A shard of drawn cells, as the stages before `embed` leave it: fields on disk, qc, ledger, crops, truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from wherein import tables
from wherein.crops.store import CropWriter
from wherein.segmentation.masks import write_masks

ROLES = ["nucleus", "microtubules", "er", "protein"]
SIDE = 32
PLACES = [(y, x) for y in (20, 60, 100) for x in (20, 60, 100)]
LOCATIONS = {"Nucleoplasm": (5, 0), "Cytosol": (12, 7), "Nuclear membrane": (7, 5)}
"""Outer and inner radius in pixels of the ring in which the protein lies."""


@dataclass
class DrawnShard:
    """Paths of one shard's tables, and of the tables of its run."""

    root: Path
    name: str

    def path(self, stage):
        return str(self.root / stage / f"{self.name}{'.zarr' if stage == 'crops' else '.parquet'}")

    @property
    def fields(self):
        return str(self.root / "fields.parquet")

    def embed_arguments(self, settings, weights=None):
        inputs = {stage: self.path(stage) for stage in ("qc", "cells", "crops")}
        return {
            "shard": self.name,
            "model": "m",
            "fields": self.fields,
            "files": self.path("download"),
            **inputs,
            "weights": weights,
            "settings": settings,
            "device": "cpu",
            "embeddings": self.path("embeddings"),
            "predictions": self.path("predictions"),
            "summary": str(self.root / "summaries" / f"{self.name}.json"),
        }


def draw_field(location, rng):
    """Image (C, H, W) uint16 and labels (nucleus, cell), of cells of radius 12 with nuclei of radius 6."""
    image = rng.integers(90, 110, (len(ROLES), 120, 120)).astype(np.uint16)
    nucleus, cell = np.zeros((120, 120), np.uint32), np.zeros((120, 120), np.uint32)
    yy, xx = np.mgrid[:120, :120]
    for label, (y, x) in enumerate(PLACES, start=1):
        distance = np.hypot(yy - y, xx - x)
        nucleus[distance < 6], cell[distance < 12] = label, label
        image[0][distance < 6] += 800
        image[1][distance < 12] += 300
        image[2][(distance < 12) & (distance > 6)] += 400
        if location:
            outer, inner = LOCATIONS[location]
            image[3][(distance < outer) & (distance >= inner)] += int(rng.integers(300, 900))
    return image, nucleus, cell


def draw_shard(root, name, genes, fields_per_gene=1, controls=0, mislabelled=(), roles=ROLES, seed=0):
    """Write a shard.

    Args:
        root: the run's folder.
        name: the shard.
        genes: location of each gene, `{gene: location or None}`; None draws as Cytosol and publishes nothing.
        fields_per_gene: fields.
        controls: fields without protein.
        mislabelled: genes whose published location is the next one in LOCATIONS.
        roles: roles that the source has.
        seed: of the noise.

    Returns:
        The shard, and its rows of fields.parquet.
    """
    rng = np.random.default_rng(seed)
    shard = DrawnShard(Path(root), name)
    todo = [(gene, place) for gene, place in genes.items() for _ in range(fields_per_gene)]
    todo += [(None, None)] * controls
    fields, files, qc, cells, masks, truth = [], [], [], [], [], []
    for folder in ("crops", "images"):
        (shard.root / folder).mkdir(parents=True, exist_ok=True)
    with CropWriter(shard.path("crops"), roles, SIDE, np.uint16) as writer:
        for number, (gene, place) in enumerate(todo):
            key = {"field_id": f"{name}_f{number}", "version": "v1"}
            image, nucleus, cell = draw_field(place or ("Cytosol" if gene else None), rng)
            image = image[[ROLES.index(role) for role in roles]]
            order = list(LOCATIONS)
            said = order[(order.index(place) + 1) % len(order)] if gene in mislabelled else place
            fields.append(
                {
                    **key,
                    "shard": name,
                    "source": name,
                    "genes": [gene] if gene else [],
                    "ensembl_ids": [],
                    "reagent": f"R{gene}",
                    "sample": f"R{gene}",
                    "control": gene is None,
                    "labels": [said] if said else [],
                    "pixel_size_um": 0.32,
                }
            )
            for channel, role in enumerate(roles):
                path = shard.root / "images" / f"{key['field_id']}_{role}.tif"
                tifffile.imwrite(path, image[channel])
                files.append({**key, "role": role, "path": str(path), "z": "max", "status": "ok"})
            qc.append({**key, "status": "passed", "reason": "passed", "phash": f"{rng.integers(2**62):016x}"})
            masks.append((*key.values(), nucleus, cell))
            truth.append((key, gene, place or ("Cytosol" if gene else None), gene in mislabelled))
            padded = np.pad(image, ((0, 0), (SIDE, SIDE), (SIDE, SIDE)))
            labels = [np.pad(labels, SIDE) for labels in (cell, nucleus)]
            for label, (y, x) in enumerate(PLACES, start=1):
                window = tuple(slice(c + SIDE - SIDE // 2, c + SIDE + SIDE // 2) for c in (y, x))
                own = [np.where(part[window] == label, 1, 2 * (part[window] > 0)) for part in labels]
                index = writer.add(f"{key['field_id']}@v1:{label}", padded[(slice(None), *window)], np.uint8(own))
                cells.append(
                    {**key, "label": label, "y": y, "x": x, "nucleus_y": y, "nucleus_x": x, "crop_index": index}
                )
        writer.finish({"pixel_size_um": 0.32, "window_um": SIDE * 0.32, "shard": name, "source": name})
    ledger = pd.DataFrame(cells, columns=None if cells else ["field_id", "label"])
    ledger["cell_id"] = ledger["field_id"] + "@v1:" + ledger["label"].astype(str)
    ledger = ledger.assign(status="kept", reason="kept", shard=name, source=name)
    tables.write_table(shard.path("cells"), ledger, tables.cells_schema(roles))
    tables.write_table(shard.path("download"), pd.DataFrame(files), tables.FILES)
    tables.write_table(shard.path("qc"), pd.DataFrame(qc), tables.qc_schema(roles))
    rows = pd.DataFrame(fields)
    tables.write_table(shard.fields, rows, tables.FIELDS)
    write_truth(shard.root / "truth" / name, truth, masks)
    return shard, rows


def write_truth(folder, truth, masks):
    """Write what was really drawn."""
    folder.mkdir(parents=True)
    write_masks(folder / "masks.zarr", masks, {})
    pd.DataFrame(
        [
            {**key, "gene": gene, "protein_locations": [place] if place else [], "mislabelled": wrong}
            for key, gene, place, wrong in truth
        ],
        columns=["field_id", "version", "gene", "protein_locations", "mislabelled"],
    ).to_parquet(folder / "fields.parquet")
    pd.DataFrame(
        [
            {**key, "label": label, "gene": gene, "locations": [place] if place else []}
            for key, gene, place, _ in truth
            for label in range(1, len(PLACES) + 1)
        ],
        columns=["field_id", "version", "label", "gene", "locations"],
    ).to_parquet(folder / "cells.parquet")
