"""Pictures of cells: which cells of a protein are shown, and at which contrast."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.crops.store import CropStore
from wherein.reasons import KEPT
from wherein.views.composites import Limits, composite, contrast, fitted, grey, limits_in_words, median_limits, reduced
from wherein.views.examples import in_turns
from wherein.views.sheets import SheetWriter, rows_for

log = logging.getLogger(__name__)

CONTROLS = "controls"
"""Under this name the pages show fields without a specific protein signal."""

COLUMNS = 16
"""Tiles in a row of a sheet of cells."""


@dataclass(frozen=True)
class Picture:
    """Where a cell's pictures are.

    Attributes:
        sheet: number of the sheet.
        coloured: number of the composite's tile in it.
        plain: number of the tile with the protein alone; the composite's where the source has no other role.
    """

    sheet: int
    coloured: int
    plain: int


@dataclass
class CellPictures:
    """All pictures of cells.

    Attributes:
        of_cell: cell_id -> where its pictures are.
        contrast_of: protein -> its contrast in words, one sentence a source.
        heights: rows of each sheet.
    """

    of_cell: dict[str, Picture]
    contrast_of: dict[str, list[str]]
    heights: list[int]


class CropImages:
    """Crops of any shard by cell_id.

    Args:
        stores: paths of results/crops/{shard}.zarr.
    """

    def __init__(self, stores: Sequence[str]) -> None:
        self._paths = {Path(path).stem: path for path in stores}
        self._open: dict[str, CropStore] = {}

    def store(self, shard: str) -> CropStore:
        """The shard's store, opened once."""
        if shard not in self._open:
            self._open[shard] = CropStore(self._paths[shard])
        return self._open[shard]

    def read(self, cells: pd.DataFrame) -> list[dict[str, np.ndarray]]:
        """Channels of each cell.

        Args:
            cells: rows of the ledger with shard and crop_index.

        Returns:
            For each row: role -> (H, W) in the source's data type.
        """
        found: dict[int, dict[str, np.ndarray]] = {}
        places = cells.assign(place=np.arange(len(cells)))
        for shard, own in places.groupby("shard", sort=False):
            store = self.store(shard)
            images = store.images(own["crop_index"].astype(int).to_numpy())
            for place, channels in zip(own["place"], images, strict=True):
                found[place] = dict(zip(store.roles, channels, strict=True))
        return [found[place] for place in range(len(cells))]


def choose_cells(ledger: pd.DataFrame, wanted: Sequence[str], most: int) -> pd.DataFrame:
    """Cells of each protein to show: those that findings point at, then fields in turns.

    Args:
        ledger: rows of results/cells with a column `protein`; only kept cells are chosen.
        wanted: cell_ids that come first.
        most: most cells of a protein.

    Returns:
        Rows of `ledger`, grouped by protein, in the order of field and label.
    """
    kept = ledger[(ledger["status"] == KEPT) & ledger["crop_index"].notna() & ledger["protein"].notna()]
    first = kept["cell_id"].isin(set(wanted))
    picked = []
    for _, own in kept.groupby("protein", sort=True):
        ahead = own[first.loc[own.index]].head(most)
        rest = in_turns(own.drop(ahead.index), ["field_id", "version"], most - len(ahead))
        picked.append(pd.concat([ahead, rest]).sort_values(["source", "field_id", "version", "label"]))
    return pd.concat(picked) if picked else kept


def draw_cells(cells: pd.DataFrame, images: CropImages, folder: Path, settings: dict[str, Any]) -> CellPictures:
    """Draw the cells of each protein, at one contrast a protein and source, into sheets.

    Args:
        cells: as `choose_cells` gives them.
        images: where the pixels come from.
        folder: where the sheets go.
        settings: the section `report` of the configuration.

    Returns:
        Where each picture is, and its contrast.
    """
    size = settings["cell_tile_px"]
    rows = sum(2 * -(-count // COLUMNS) for count in cells.groupby("protein").size())
    writer = SheetWriter(
        folder, "cells", size, COLUMNS, rows_for(rows, settings["sheets"], 24), settings["image_quality"]
    )
    drawn = CellPictures({}, {}, writer.heights)
    seen: list[dict[str, Limits]] = []
    # controls last: their own limits would show noise as if it were signal
    for protein, own in sorted(cells.groupby("protein", sort=False), key=lambda pair: pair[0] == CONTROLS):
        channels = images.read(own)
        limits = _limits(own["source"].tolist(), channels, settings)
        if protein == CONTROLS:
            limits = {source: median_limits([each[source] for each in seen if source in each]) or each_own
                      for source, each_own in limits.items()}  # fmt: skip
        seen.append(limits)
        drawn.contrast_of[str(protein)] = [f"{source}: {limits_in_words(each)}" for source, each in limits.items()]
        coloured, plain = [], []
        for source, cell in zip(own["source"], channels, strict=True):
            cell, _ = reduced(cell, size)
            coloured.append(fitted(composite(cell, limits[source]), size))
            shown = "protein" if "protein" in cell else next(iter(cell))
            plain.append(fitted(grey(cell[shown], limits[source][shown]), size))
        # composites fill whole rows, so that the plain ones start below them
        per_row = -(-len(own) // COLUMNS) * COLUMNS
        block = np.zeros((per_row + len(own), size, size, 3), np.uint8)
        block[: len(own)], block[per_row:] = coloured, plain
        sheet, start = writer.add(block)
        for number, cell_id in enumerate(own["cell_id"]):
            drawn.of_cell[cell_id] = Picture(sheet, start + number, start + per_row + number)
    writer.flush()
    log.info("%d cells of %d proteins on %d sheets", len(cells), cells["protein"].nunique(), len(writer.heights))
    return drawn


def _limits(sources: list[str], channels: list[dict[str, np.ndarray]], settings: dict[str, Any]) -> dict[str, Limits]:
    found = {}
    for source in dict.fromkeys(sources):
        own = [cell for cell, where in zip(channels, sources, strict=True) if where == source]
        together = {role: np.stack([cell[role] for cell in own]) for role in own[0]}
        found[source] = contrast(together, settings["low_percentile"], settings["high_percentile"])
    return found
