"""Sheets of crops: what stands in for the picture of a field of which there are only crops."""

from collections.abc import Sequence

import numpy as np

from wherein.channels import ROLES, in_order
from wherein.decoders.image import UnreadableImage
from wherein.exchange.arrays import ArrayFiles
from wherein.exchange.listing import Entry, read_entry

MOST = 36
"""Crops on a sheet."""


def read_mosaic(entries: Sequence[Entry], most: int = MOST) -> dict[str, np.ndarray]:
    """Lay the first crops of a field side by side.

    Args:
        entries: its rows of the table of crops.
        most: crops to show.

    Returns:
        role -> (H, W), crops row by row in the order of the table, each in a square tile as large as the largest of
        them, 0 between them.

    Raises:
        UnreadableImage: not one row can be read.
    """
    files = ArrayFiles()
    crops: list[dict[str, np.ndarray]] = []
    wrong: UnreadableImage | None = None
    for entry in entries:
        try:
            found = {name: array for name, array in read_entry(entry, files).items() if name in ROLES}
        except UnreadableImage as error:
            wrong = wrong or error
            continue
        count = min(len(next(iter(found.values()))), most - len(crops))
        # copies: views would keep every mapped file open
        crops += [{role: np.array(array[row]) for role, array in found.items()} for row in range(count)]
        if len(crops) == most:
            break
    if not crops:
        raise wrong or UnreadableImage("missing_file", "no crops are listed")
    roles = in_order(crops[0])
    side = max(max(image.shape) for crop in crops for image in crop.values())
    columns = int(np.ceil(np.sqrt(len(crops))))
    rows = -(-len(crops) // columns)
    sheets: dict[str, np.ndarray] = {}
    for role in roles:
        dtype = np.result_type(*(crop[role].dtype.newbyteorder("=") for crop in crops))
        sheets[role] = np.zeros((rows * side, columns * side), dtype)
        for place, crop in enumerate(crops):
            image = np.nan_to_num(crop[role]) if dtype.kind == "f" else crop[role]
            y, x = place // columns * side, place % columns * side
            sheets[role][y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheets
