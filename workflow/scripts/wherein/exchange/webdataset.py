"""WebDataset: tar files of some thousand cells, to be read from the first to the last.

Members of a cell follow each other and share the part of their names before the first dot, its key.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.exchange.exporting_cells import LISTS, CellReader, Written
from wherein.reading.index import CropIndex

UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def write(folder: Path, index: CropIndex, rows: np.ndarray, settings: Mapping[str, Any]) -> Written:
    """Write some cells into `folder`/cells-000000.tar and so on.

    The same cells under the same settings give the same bytes.

    Args:
        folder: where to.
        index: the index of the run.
        rows: (n,) rows of its table of cells.
        settings: the section `export.webdataset` of the configuration.
    """
    reader = CellReader(index, rows, settings, masks=settings["masks"])
    if settings["seed"] is not None:
        rows = np.random.default_rng(settings["seed"]).permutation(rows)
    same = {"roles": reader.roles, "normalization": settings["normalization"]}
    files = {}
    for number, start in enumerate(range(0, len(rows), settings["shard_cells"])):
        own = rows[start : start + settings["shard_cells"]]
        name = f"cells-{number:06d}.tar"
        with tarfile.open(folder / name, "w", format=tarfile.GNU_FORMAT) as tar:
            told = iter(_told(reader.cells(own)))
            for batch in reader.batches(own):
                for image, masks, (key, words) in zip(batch.images, batch.masks, told, strict=False):
                    _add(tar, f"{key}.image.npy", _npy(image))
                    if settings["masks"]:
                        _add(tar, f"{key}.masks.npy", _npy(masks))
                    _add(tar, f"{key}.json", json.dumps(words | same, sort_keys=True).encode())
        files[name] = len(own)
    about = {"channels": reader.roles, "size_px": reader.size_px, "dtype": reader.dtype.name}
    return Written(files, about)


def key_of(field_id: str, version: str, label: int) -> str:
    """Key of a cell: its name without what tar, shells and WebDataset take for something else.

    A character of the field's name other than letters, digits, `_` and `-` is written as `=` and its number in Unicode
    in hexadecimal, so that different cells have different keys.
    """
    field = UNSAFE.sub(lambda found: f"={ord(found.group()):02x}=", field_id)
    return f"{field}_{version}_{label}"


def _told(cells: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keys of cells, and what is told of them, JSON-able."""
    for row in cells.to_dict("records"):
        words = {name: _plain(value) for name, value in row.items() if name not in LISTS}
        words |= {name: list(row[name]) if row[name] is not None else [] for name in LISTS}
        label = int(row["cell_id"].rpartition(":")[2])
        yield key_of(row["field_id"], row["version"], label), words


def _plain(value: Any) -> Any:
    """A value as JSON knows it: null where nothing is known."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    # a new TarInfo has time, owner and group 0: nothing of the machine gets in
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
