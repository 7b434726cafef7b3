"""Sheets of small pictures: many pictures in one file, so that thousands of cells need no thousand files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from wherein.atomic import atomic_path

WEBP_MAX_PX = 16383
"""Longest side that the format WebP allows."""


@dataclass
class SheetWriter:
    """Puts square tiles into sheets, block by block; a block is never torn over two sheets.

    Attributes:
        folder: where the sheets go.
        stem: start of their names: `{stem}-{3 digits}.webp`.
        tile_px: height and width of a tile in pixels.
        columns: tiles in a row.
        rows: rows after which a sheet is full. A block of more rows has a sheet of its own, as tall as it needs.
        quality: of WebP, 1 to 100.
        heights: rows of each sheet written so far.
    """

    folder: Path
    stem: str
    tile_px: int
    columns: int
    rows: int
    quality: int
    heights: list[int] = field(default_factory=list)
    _waiting: list[np.ndarray] = field(default_factory=list)

    def add(self, tiles: np.ndarray) -> tuple[int, int]:
        """Add a block of tiles, which starts a new row.

        Args:
            tiles: (n, tile_px, tile_px, 3) uint8.

        Returns:
            Number of the sheet, and number of the block's first tile in it, counted along rows from the upper left.

        Raises:
            ValueError: the tiles have another size, or the block is taller than WebP allows.
        """
        if tiles.shape[1:] != (self.tile_px, self.tile_px, 3):
            raise ValueError(f"tiles are {tiles.shape[1:]}, this sheet takes {(self.tile_px, self.tile_px, 3)}")
        rows = -(-len(tiles) // self.columns)
        if rows * self.tile_px > WEBP_MAX_PX:
            raise ValueError(f"a block of {rows} rows of {self.tile_px} px is taller than WebP's {WEBP_MAX_PX} px")
        if self._waiting and len(self._waiting) + rows > self._full():
            self.flush()
        first = len(self._waiting) * self.columns
        padded = np.zeros((rows * self.columns, *tiles.shape[1:]), np.uint8)
        padded[: len(tiles)] = tiles
        self._waiting += list(padded.reshape(rows, self.columns, *tiles.shape[1:]))
        return len(self.heights), first

    def flush(self) -> None:
        """Write the sheet that is being filled, if it holds anything."""
        if not self._waiting:
            return
        # (row, column, y, x, 3) to one picture
        grid = np.stack(self._waiting).transpose(0, 2, 1, 3, 4)
        picture = grid.reshape(grid.shape[0] * self.tile_px, self.columns * self.tile_px, 3)
        with atomic_path(self.folder / f"{self.stem}-{len(self.heights):03d}.webp") as partial:
            Image.fromarray(picture).save(partial, format="WEBP", quality=self.quality, method=2)
        self.heights.append(len(self._waiting))
        self._waiting = []

    def _full(self) -> int:
        return min(self.rows, WEBP_MAX_PX // self.tile_px)


def rows_for(total: int, sheets: int, least: int) -> int:
    """Rows a sheet needs so that `total` rows fit into about `sheets` sheets, at least `least`."""
    return max(least, -(-total // sheets))
