"""What drawing gives: densities before the microscope, and the images and truth of a field after it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

CELL_COLUMNS = ("label", "locations", "mitotic", "whole", "cycle")
"""Columns of the cells of a drawn field, in order."""


@dataclass
class Drawing:
    """One field before the microscope.

    Attributes:
        density: role -> (H, W) float32, in the units of `wherein.simulate.spec`.
        nucleus: (H, W) uint32 label image, 0 for background.
        cell: (H, W) uint32 label image of what is seen of each cell, with the numbers of `nucleus`.
        cells: one row a label, with the columns CELL_COLUMNS: `locations` is the list of places where the protein is in
            this cell, `whole` says that the cell touches no border, `cycle` is its place in the cell cycle (0 to 1).
    """

    density: dict[str, np.ndarray]
    nucleus: np.ndarray
    cell: np.ndarray
    cells: pd.DataFrame


@dataclass
class DrawnField:
    """One field as the camera gives it, with its truth.

    Attributes:
        channels: role -> (H, W) uint16, in the order of storage.
        nucleus: as in Drawing.
        cell: as in Drawing.
        cells: as in Drawing.
    """

    channels: dict[str, np.ndarray]
    nucleus: np.ndarray
    cell: np.ndarray
    cells: pd.DataFrame
