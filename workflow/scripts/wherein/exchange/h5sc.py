"""scPortrait's single-cell images (h5sc): AnnData in HDF5, with the images of all cells as one array of float16.

Masks come before channels and values lie in [0, 1] (documentation of scPortrait 1.8, "Single-cell image datasets"; its
reader and its data sets for PyTorch say the names).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd

from wherein.crops.cut import THIS
from wherein.exchange.exporting_cells import LISTS, CellBatch, CellReader, Written, joined
from wherein.reading.index import CropIndex

FILE = "single_cells.h5sc"

IMAGES = "single_cell_images"
"""Key of the images in obsm, and of what is said of them in uns."""

CELL_NUMBER = "scportrait_cell_id"
"""scPortrait knows cells by whole numbers above 0; ours is in obs, too."""

MASKS = {"nucleus": "seg_all_nucleus", "cell": "seg_all_cytosol"}
"""scPortrait's names of the two masks; it cuts names after 15 characters."""

RANGES = {"full_scale": ("None", "None"), "kobayashi2022": (0.0, 1.0), "stringer2021": (0.01, 0.99)}
"""Our normalizations in scPortrait's words: quantiles of a cell's channel that become 0 and 1, and none where the
highest intensity of the detector becomes 1."""


def write(folder: Path, index: CropIndex, rows: np.ndarray, settings: Mapping[str, Any]) -> Written:
    """Write some cells into `folder`/single_cells.h5sc, in the order of the index.

    Args:
        folder: where to.
        index: the index of the run.
        rows: (n,) rows of its table of cells.
        settings: the section `export.h5sc` of the configuration.
    """
    reader = CellReader(index, rows, settings, masks=True)
    parts = ("nucleus", "cell") if "nucleus" in reader.roles else ("cell",)
    masks = [MASKS[part] for part in parts]
    words = {
        "n_cells": len(rows),
        "n_channels": len(masks) + len(reader.roles),
        "n_masks": len(masks),
        "n_image_channels": len(reader.roles),
        "image_size": reader.size_px,
        "normalization": settings["normalization"] != "full_scale",
        "channel_names": np.array([*masks, *reader.roles]),
        "channel_mapping": np.array(["mask"] * len(masks) + ["image_channel"] * len(reader.roles)),
        "compression": settings["compression"],
    }
    low, high = RANGES[settings["normalization"]]
    var = pd.DataFrame({"channels": words["channel_names"], "channel_mapping": words["channel_mapping"]})
    var.index = var.index.astype(str)
    ranges = {"normalization_range_lower": low, "normalization_range_upper": high}
    about = anndata.AnnData(obs=_obs(reader.cells(rows)), var=var, uns={IMAGES: {**words, **ranges}})
    about.write_h5ad(folder / FILE)
    shape = (len(rows), words["n_channels"], reader.size_px, reader.size_px)
    # without a cache, chunks come into the file in the order in which they are written, however many at once
    with h5py.File(folder / FILE, "a", rdcc_nbytes=0) as file:
        images = file.create_dataset(
            f"obsm/{IMAGES}", shape, np.float16, chunks=(1, 1, *shape[2:]), compression=settings["compression"]
        )
        images.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0", "normalization_range": (low, high)})
        for name, value in words.items():
            images.attrs[name] = np.char.encode(value, "utf-8") if isinstance(value, np.ndarray) else value
        start = 0
        for batch in reader.batches(rows):
            images[start : start + len(batch.images)] = _stack(batch, parts)
            start += len(batch.images)
    return Written({FILE: len(rows)}, {"channels": [*masks, *reader.roles], "size_px": reader.size_px})


def _stack(batch: CellBatch, parts: tuple[str, ...]) -> np.ndarray:
    """Masks of this cell, then its channels: (n, C, H, W) float16."""
    of = {"cell": 0, "nucleus": 1}
    masks = [batch.masks[:, of[part], None] == THIS for part in parts]
    return np.concatenate([*masks, batch.images], axis=1, dtype=np.float16)


def _obs(cells: pd.DataFrame) -> pd.DataFrame:
    """What is told of the cells as columns that AnnData can hold."""
    found = cells.assign(**{name: joined(cells[name]) for name in LISTS})
    for name in found:
        if name == "cell_id":
            continue
        if found[name].dtype == object and name in ("control", "exceeds_window", "padded"):
            found[name] = found[name].astype("boolean")
        elif found[name].dtype == object or isinstance(found[name].dtype, pd.CategoricalDtype):
            found[name] = pd.Categorical(found[name].astype(object))
    found.insert(0, CELL_NUMBER, np.arange(1, len(found) + 1, dtype=np.uint64))
    found.index = pd.RangeIndex(len(found)).astype(str)
    return found
