"""Pictures of fields: which fields are shown, each at its own contrast."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.readers import UnreadableImage
from wherein.reasons import PASSED
from wherein.views.composites import composite, contrast, fitted, legend_in_words, limits_in_words, reduced
from wherein.views.examples import FieldImages, in_turns
from wherein.views.sheets import SheetWriter, rows_for

log = logging.getLogger(__name__)

COLUMNS = 8
"""Tiles in a row of a sheet of fields."""


@dataclass(frozen=True)
class FieldPicture:
    """Where a field's picture is.

    Attributes:
        sheet: number of the sheet.
        tile: number of the tile in it.
        contrast: its contrast in words.
        colours: its colours in words.
    """

    sheet: int
    tile: int
    contrast: str
    colours: str


def choose_fields(judged: pd.DataFrame, most: int) -> pd.DataFrame:
    """Fields to show: reasons take turns up to half of them, then proteins; in the order of `judged`."""
    if len(judged) <= most:
        return judged
    rejected = in_turns(judged[judged["status"] != PASSED], ["reason", "source"], most // 2)
    passed = in_turns(judged[judged["status"] == PASSED], ["name", "source"], most - len(rejected))
    return pd.concat([rejected, passed]).sort_index()


def draw_fields(
    chosen: pd.DataFrame, images: FieldImages, folder: Path, settings: dict[str, Any]
) -> tuple[dict[tuple[str, str], FieldPicture], list[int]]:
    """Draw fields into sheets; one that cannot be read has no picture.

    Args:
        chosen: rows with field_id and version.
        images: where the pixels come from.
        folder: where the sheets go.
        settings: the section `report` of the configuration.

    Returns:
        (field_id, version) -> where its picture is, and the rows of each sheet.
    """
    size = settings["field_tile_px"]
    rows = rows_for(-(-len(chosen) // COLUMNS), settings["sheets"], 6)
    writer = SheetWriter(folder, "fields", size, COLUMNS, rows, settings["image_quality"])
    drawn: dict[tuple[str, str], FieldPicture] = {}
    # a block starts a new row, so fields are added a row at a time
    waiting: list[tuple[tuple[str, str], np.ndarray, str, str]] = []

    def put() -> None:
        if waiting:
            sheet, first = writer.add(np.stack([tile for _, tile, _, _ in waiting]))
            for number, (key, _, limits, colours) in enumerate(waiting):
                drawn[key] = FieldPicture(sheet, first + number, limits, colours)
            waiting.clear()

    for key in zip(chosen["field_id"], chosen["version"], strict=True):
        try:
            small, _ = reduced(images.read(*key), size)
        except UnreadableImage as error:
            log.info("no picture of %s@%s: %s", *key, error)
            continue
        limits = contrast(small, settings["low_percentile"], settings["high_percentile"])
        tile = fitted(composite(small, limits), size)
        waiting.append((key, tile, limits_in_words(limits), legend_in_words(list(small))))
        if len(waiting) == COLUMNS:
            put()
    put()
    writer.flush()
    log.info("%d of %d fields on %d sheets", len(drawn), len(chosen), len(writer.heights))
    return drawn, writer.heights
