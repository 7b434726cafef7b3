"""cytoself's arrays: for each protein one file of labels and one of each channel.

`{protein}_label.npy`, `{protein}_pro.npy`, `{protein}_nuc.npy` and `{protein}_nucdist.npy` (cytoself's description of
its example data). Its reader multiplies images in place, so they are floats; takes the text before the last `_` of a
name as the protein; and by default the first column of labels as the class and the last one as the field of view.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from wherein.exchange.exporting_cells import CellBatch, CellReader, Written, joined
from wherein.reading.index import CropIndex

LABELS = ("ensembl_id", "protein", "localization", "cell_id", "cell_line", "gene_fold", "field_fold", "field")
"""Columns of the labels: cytoself's three, ours, and the field version that a split by fields of view goes by."""

UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
"""What a protein's name may not have in a file's name, `_` among it, where cytoself cuts."""


def write(folder: Path, index: CropIndex, rows: np.ndarray, settings: Mapping[str, Any]) -> Written:
    """Write the files of all proteins of some cells into a folder, cells in the order of the index.

    A source without the role nucleus has labels and `pro` alone.

    Args:
        folder: where to.
        index: the index of the run.
        rows: (n,) rows of its table of cells, ascending, all of known proteins.
        settings: the section `export.cytoself` of the configuration.
    """
    stores = [index.stores[index.shards[1][code]] for code in np.unique(index.places(rows)[0])]
    nucleus = all("nucleus" in store["roles"] for store in stores)
    channels = ("pro", "nuc", "nucdist") if nucleus else ("pro",)
    roles = ("protein", "nucleus") if nucleus else ("protein",)
    reader = CellReader(index, rows, settings, roles=roles, distance=nucleus)
    files: dict[str, int] = {}
    proteins = {}
    for protein, name, own in _by_protein(index, rows):
        proteins[name] = protein
        np.save(folder / f"{name}_label.npy", _labels(reader.cells(own)), allow_pickle=False)
        with ExitStack() as stack:
            shape = (len(own), reader.size_px, reader.size_px)
            opened = [stack.enter_context(open(folder / f"{name}_{channel}.npy", "wb")) for channel in channels]
            for file in opened:
                _begin(file, shape)
            for batch in reader.batches(own):
                for file, plane in zip(opened, _planes(batch), strict=True):
                    file.write(np.ascontiguousarray(plane, dtype="<f4").data)
        files |= {f"{name}_{what}.npy": len(own) for what in ("label", *channels)}
    about = {"proteins": proteins, "label_columns": list(LABELS), "size_px": reader.size_px}
    return Written(files, about)


def _by_protein(index: CropIndex, rows: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Proteins by name, the name that their files have, and their cells."""
    column = index.of_field("protein")
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)[index.field_of(rows)]
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    groups = {column.dictionary[int(codes[own[0]])].as_py(): rows[own] for own in np.split(order, ends)}
    names = file_names(sorted(groups))
    for protein in sorted(groups):
        yield protein, names[protein], groups[protein]


def file_names(proteins: Sequence[str]) -> dict[str, str]:
    """A name for the files of each protein, all different even where capitals do not count."""
    taken: set[str] = set()
    found = {}
    for protein in proteins:
        stem = UNSAFE.sub("-", protein).strip(".-") or "protein"
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        found[protein] = name
    return found


def _labels(cells: pd.DataFrame) -> np.ndarray:
    """Labels of cells of one protein: (n, len(LABELS)) text, empty where nothing is known."""
    text = {
        # a protein without an Ensembl id is a class of its own, too
        "ensembl_id": joined(cells["ensembl_ids"]).fillna(cells["protein"].astype(object)),
        "protein": cells["protein"].astype(object),
        "localization": joined(cells["labels"]),
        "cell_id": cells["cell_id"],
        "cell_line": cells["cell_line"].astype(object),
        "gene_fold": cells["gene_fold"].astype(object),
        "field_fold": cells["field_fold"].astype(object),
        "field": cells["field_id"].astype(str) + "@" + cells["version"].astype(str),
    }
    table = pd.DataFrame({name: text[name] for name in LABELS})
    return table.where(table.notna(), "").astype(str).to_numpy(dtype=str)


def _begin(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _planes(batch: CellBatch) -> list[np.ndarray]:
    """Protein, and nucleus and distance where they are there: (n, H, W) each."""
    return [*np.moveaxis(batch.images, 1, 0), *np.moveaxis(batch.distance, 1, 0)]
