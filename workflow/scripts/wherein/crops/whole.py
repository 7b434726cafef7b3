"""Whole cells, each in its own box, read from the field: what a window of fixed size cuts off is there."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from wherein.crops.cut import THIS, classify
from wherein.crops.resample import nearest, resample
from wherein.readers import read_field
from wherein.segmentation.masks import read_masks


class WholeCell(NamedTuple):
    """One cell in its box.

    Attributes:
        cell_id: the cell.
        image: (C, h, w) in the source's type and on its grid.
        masks: (2, h, w) uint8, cell then nucleus: 0 none, 1 this one, 2 another.
        corner: first row and column of the box in the field.
    """

    cell_id: str
    image: np.ndarray
    masks: np.ndarray
    corner: tuple[int, int]

    def alone(self) -> np.ndarray:
        """The image with 0 where its cell is not."""
        return np.where(self.masks[0] == THIS, self.image, self.image.dtype.type(0))

    def square(self, size_px: int, alone: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The box stretched to a square, whatever its sides: what the same winner's network takes, 128 pixels wide.

        Args:
            size_px: side of the square.
            alone: whether all that is not the cell becomes 0 first.

        Returns:
            image: (C, size_px, size_px) in the source's type, area means along a side that shrinks, linear along
                one that grows.
            masks: (2, size_px, size_px) uint8, the value under each pixel's centre.
        """
        image = resample(self.alone() if alone else self.image, (size_px, size_px), "area")
        rows, columns = (nearest(length, size_px) for length in self.masks.shape[1:])
        return image, self.masks.take(rows, axis=1).take(columns, axis=2)


def whole_cells(
    rows: pd.DataFrame, files: pd.DataFrame, masks: str | Path, roles: list[str], margin_px: int
) -> Iterator[WholeCell]:
    """Read cells in their bounding boxes; each field is opened once.

    The view of the winner of the HPA single-cell classification (Le et al. 2022): the box and 20 pixels around it, on
    fields that were made 512 pixels wide; 80 pixels of a field of 2048.

    Args:
        rows: rows of the ledger, in any order; those with `exceeds_window`, say.
        files: the table results/download/{shard}.parquet of their shard.
        masks: results/masks/{shard}.zarr.
        roles: channels of the images, in order.
        margin_px: pixels around the box, as far as the field reaches; on the source's grid.

    Yields:
        The cells, those of a field together, fields in the order in which `rows` has them first.

    Raises:
        ValueError: a row is a nucleus without a cell.
    """
    by_field = dict(list(files.groupby(["field_id", "version"], sort=False)))
    for key, own in rows.groupby(["field_id", "version"], sort=False):
        nucleus, cell = read_masks(masks, *key)
        images = read_field(by_field[key], roles)
        stack = np.stack([images[role] for role in roles])
        for row in own.itertuples():
            yield _in_box(row, stack, nucleus, cell, margin_px)


def _in_box(row: tuple, stack: np.ndarray, nucleus: np.ndarray, cell: np.ndarray, margin_px: int) -> WholeCell:
    if np.isnan(row.area_um2):
        raise ValueError(f"{row.cell_id} is a nucleus without a cell: leave out rows without area_um2")
    height, width = cell.shape
    y0, x0 = max(row.bbox_y0 - margin_px, 0), max(row.bbox_x0 - margin_px, 0)
    box = (slice(y0, min(row.bbox_y1 + margin_px, height)), slice(x0, min(row.bbox_x1 + margin_px, width)))
    masks = np.empty((2, *cell[box].shape), np.uint8)
    for mask, labels in zip(masks, (cell, nucleus), strict=True):
        classify(labels[box], row.label, mask)
    return WholeCell(row.cell_id, stack[(slice(None), *box)].copy(), masks, (y0, x0))
