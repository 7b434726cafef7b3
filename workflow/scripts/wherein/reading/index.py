"""One index over the crops of all shards: which cells there are, where they lie, and what is known of them.

What is the same for all cells of a field version stands once, in a table of fields; cells of a field are neighbours in
the table of cells. Columns are read when they are asked for, from a mapped file.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wherein.digest import digest
from wherein.tables import REAL, TEXT, TEXTS, read_metadata

FIELDS_FILE, CELLS_FILE = "fields.parquet", "cells.parquet"

FIELDS = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("shard", TEXT),
        ("source", TEXT),
        ("plate", TEXT),
        ("well", TEXT),
        ("protein", TEXT),
        ("genes", TEXTS),
        ("ensembl_ids", TEXTS),
        ("gene_group", TEXT),
        ("reagent", TEXT),
        ("cell_line", TEXT),
        ("condition", TEXT),
        ("sample", TEXT),
        ("control", pa.bool_()),
        ("labels", TEXTS),
        ("reliability", TEXT),
        ("gene_fold", pa.int32()),
        ("field_fold", pa.int32()),
        ("pixel_size_um", REAL),
        ("full_scale", REAL),
        ("contrast", REAL),
        ("focus_protein", REAL),
        ("saturated_protein", REAL),
        ("small_sample", pa.bool_()),
        ("first_cell", pa.int64()),
        ("n_cells", pa.int32()),
    ]
)
"""results/index/fields.parquet"""

CELLS = pa.schema(
    [
        ("field", pa.int32()),
        ("label", pa.int32()),
        ("crop_index", pa.int32()),
        ("exceeds_window", pa.bool_()),
        ("padded", pa.bool_()),
        ("touches_border", pa.bool_()),
        ("n_nuclei", pa.int32()),
        ("area_um2", pa.float32()),
        ("nucleus_area_um2", pa.float32()),
    ]
)
"""results/index/cells.parquet"""

RANGE = {"min", "max"}


class CropIndexError(ValueError):
    """The index cannot answer; the message says what it has."""


@dataclass(frozen=True)
class Selection:
    """Some cells of an index.

    Attributes:
        rows: (n,) int32, rows of the table of cells, ascending.
        fields: (m,) int32, rows of the table of fields that have at least one of these cells, ascending.
        offsets: (m + 1,) int64; cells of `fields[i]` are `rows[offsets[i]:offsets[i + 1]]`.
        index: digest of the index.
    """

    rows: np.ndarray
    fields: np.ndarray
    offsets: np.ndarray
    index: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> np.ndarray:
        """Cells of each field, (m,) int64."""
        return np.diff(self.offsets)

    @cached_property
    def digest(self) -> str:
        """Digest of the index and of the cells chosen from it."""
        return digest([self.index, hashlib.sha256(self.rows.tobytes()).hexdigest()])


class CropIndex:
    """The index of a run. Opening it reads no column; what has been read is kept.

    Args:
        folder: results/index.
        crops: folder of the crop stores; results/crops beside the index if not given.

    Attributes:
        n_cells: number of cells.
        n_fields: number of field versions.
        stores: what is known of each shard's crops, as `build_index.STORE` names it.
        digest: changes with the cells and their order.

    Raises:
        CropIndexError: there is no whole index in the folder.
    """

    def __init__(self, folder: str | Path, crops: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.crops = Path(crops) if crops is not None else self.folder.parent / "crops"
        try:
            self._fields = pq.ParquetFile(self.folder / FIELDS_FILE, memory_map=True)
            self._cells = pq.ParquetFile(self.folder / CELLS_FILE, memory_map=True)
            about = read_metadata(self.folder / FIELDS_FILE)
            self.stores: dict[str, dict[str, Any]] = about["stores"]
            self.digest: str = about["digest"]
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise CropIndexError(f"{self.folder} is no whole index ({error}): run `index_crops` again") from error
        self.n_fields: int = self._fields.metadata.num_rows
        self.n_cells: int = self._cells.metadata.num_rows
        self._read: dict[str, Any] = {}

    @cached_property
    def first_cell(self) -> np.ndarray:
        """First cell of each field and, last, the number of cells: (n_fields + 1,) int64."""
        return np.append(self.of_field("first_cell").to_numpy(), self.n_cells)

    def of_field(self, name: str) -> pa.Array:
        """A column of the table of fields; text is dictionary-encoded."""
        if name not in self._read:
            if name not in FIELDS.names:
                raise CropIndexError(f"the index has no column {name!r} of fields: it has {', '.join(FIELDS.names)}")
            column = self._fields.read(columns=[name]).column(0).combine_chunks()
            self._read[name] = column.dictionary_encode() if column.type == TEXT else column
        return self._read[name]

    def of_cell(self, name: str) -> np.ndarray:
        """A column of the table of cells, (n_cells,); a float one has NaN where nothing is known."""
        if name not in self._read:
            if name not in CELLS.names:
                raise CropIndexError(f"the index has no column {name!r} of cells: it has {', '.join(CELLS.names)}")
            chunks = self._cells.read(columns=[name]).column(0).chunks
            arrays = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
            self._read[name] = (
                np.concatenate(arrays) if arrays else np.zeros(0, CELLS.field(name).type.to_pandas_dtype())
            )
        return self._read[name]

    def field_of(self, rows: np.ndarray) -> np.ndarray:
        """Row in the table of fields of each cell, int64, of the shape of `rows`."""
        return np.searchsorted(self.first_cell, rows, side="right") - 1

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Where the pixels of some cells are.

        Args:
            rows: (n,) rows of the table of cells.

        Returns:
            shard: (n,) int64 into `names`.
            names: names of shards.
            crop_index: (n,) int32, rows of the shard's store.
        """
        codes, names = self.shards
        return codes[self.field_of(rows)], names, self.of_cell("crop_index")[rows]

    @cached_property
    def shards(self) -> tuple[np.ndarray, list[str]]:
        """Shard of each field, (n_fields,) into the names that follow."""
        column = self.of_field("shard")
        return column.indices.to_numpy(), column.dictionary.to_pylist()

    def cell_ids(self, rows: Iterable[int] | np.ndarray) -> list[str]:
        """Names of some cells, `{field_id}@{version}:{label}`, in the order of `rows`."""
        rows = np.asarray(rows, np.int64)
        labels = self.of_cell("label")[rows].tolist()
        keys = self._keys.take(pa.array(self.field_of(rows))).to_pylist()
        return [f"{key}:{label}" for key, label in zip(keys, labels, strict=True)]

    def locate(self, cell_ids: Sequence[str]) -> np.ndarray:
        """Rows of cells by their names.

        Args:
            cell_ids: (n) names, in any order.

        Returns:
            (n,) int64 rows of the table of cells.

        Raises:
            CropIndexError: a cell is not in the index: not kept, retired, or of another run.
        """
        parts = [name.rpartition(":") for name in cell_ids]
        fields = pc.index_in(pa.array([key for key, _, _ in parts], TEXT), self._keys)
        fields = fields.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        labels = np.array([int(label) if label.isdecimal() else -1 for _, _, label in parts], np.int64)
        low, high = self.first_cell[fields].copy(), self.first_cell[fields + 1].copy()
        low[fields < 0] = high[fields < 0] = 0
        end = high.copy()
        column = self.of_cell("label")
        # labels ascend within a field: all are looked for at once by halving
        while (open_ := low < high).any():
            middle = (low + high) // 2
            below = open_ & (column[np.minimum(middle, self.n_cells - 1)] < labels)
            low, high = np.where(below, middle + 1, low), np.where(open_ & ~below, middle, high)
        found = low < end
        found[found] = column[low[found]] == labels[found]
        if not found.all():
            missing = [name for name, there in zip(cell_ids, found, strict=True) if not there]
            raise CropIndexError(
                f"{len(missing)} of {len(found)} cells are not in the index, the first is {missing[0]}: they were not "
                "kept (the ledger says why), their field is retired, or they are of another run"
            )
        return low

    def select(self, where: Mapping[str, Any] | None = None) -> Selection:
        """The cells for which all conditions hold.

        Args:
            where: for each column of either table a value, a list of values of which one has to be there (any of a
                field's genes or labels), or limits `{"min": a, "max": b}`, both included. A null is never chosen.

        Returns:
            The cells, in the order of the index; none if no cell is left.

        Raises:
            CropIndexError: there is no such column, or a value that no field has: a typing error is told, not obeyed.
        """
        where = dict(where or {})
        unknown = sorted(set(where) - set(FIELDS.names) - set(CELLS.names))
        if unknown:
            allowed = [name for name in (*FIELDS.names, *CELLS.names) if name not in ("first_cell", "field")]
            raise CropIndexError(f"cells cannot be chosen by {', '.join(unknown)}: allowed are {', '.join(allowed)}")
        chosen = np.ones(self.n_fields, bool)
        for name in [name for name in where if name in FIELDS.names]:
            chosen &= self._fields_where(name, where[name])
        fields = np.flatnonzero(chosen).astype(np.int32)
        starts, counts = self.first_cell[:-1][fields], np.diff(self.first_cell)[fields]
        rows = ranges(starts, counts)
        conditions = [name for name in where if name in CELLS.names]
        if conditions:
            holds = np.ones(len(rows), bool)
            for name in conditions:
                holds &= _holds(self.of_cell(name)[rows], where[name])
            before = np.concatenate([[0], np.cumsum(holds)])
            ends = np.cumsum(counts)
            counts = before[ends] - before[ends - counts]
            rows = rows[holds]
        some = counts > 0
        return Selection(rows, fields[some], np.concatenate([[0], np.cumsum(counts[some])]), self.digest)

    def table(self, rows: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
        """Columns of both tables, and `cell_id`, for some cells.

        Args:
            rows: (n,) rows of the table of cells.
            columns: names out of FIELDS and CELLS, or `cell_id`.

        Returns:
            n rows, in the order of `rows`.
        """
        fields = pa.array(self.field_of(rows))
        found: dict[str, Any] = {}
        for name in columns:
            if name == "cell_id":
                found[name] = self.cell_ids(rows)
            elif name in CELLS.names:
                found[name] = self.of_cell(name)[rows]
            else:
                found[name] = self.of_field(name).take(fields).to_pandas()
        return pd.DataFrame(found)

    @cached_property
    def _keys(self) -> pa.Array:
        parts = [self.of_field(name).cast(TEXT) for name in ("field_id", "version")]
        return pc.binary_join_element_wise(*parts, "@")

    def _fields_where(self, name: str, wanted: Any) -> np.ndarray:
        column = self.of_field(name)
        text = pa.types.is_dictionary(column.type) or column.type == TEXTS
        if text and isinstance(wanted, Mapping):
            raise CropIndexError(f"{name} is text and has no limits: give a value or a list of values")
        if not text:
            values = column.to_numpy(zero_copy_only=False) if not column.null_count else _with_nan(column)
            return _holds(values, wanted)
        values = [wanted] if isinstance(wanted, str) else list(wanted)
        known = column.dictionary if pa.types.is_dictionary(column.type) else pc.unique(column.flatten())
        missing = [value for value in values if pc.index(known, pa.scalar(value, TEXT)).as_py() < 0]
        if missing:
            near = get_close_matches(str(missing[0]), known.drop_null().to_pylist(), 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise CropIndexError(f"no field in the index has {name} {', '.join(map(str, missing))}{hint}")
        wanted_set = pa.array(values, TEXT)
        if pa.types.is_dictionary(column.type):
            codes = pc.is_in(column.dictionary, wanted_set).to_numpy(zero_copy_only=False)
            places = column.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
            return np.append(codes, False)[places]
        hits = pc.list_parent_indices(column).filter(pc.is_in(column.flatten(), wanted_set))
        chosen = np.zeros(self.n_fields, bool)
        chosen[hits.to_numpy()] = True
        return chosen


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers `starts[i]` to `starts[i] + counts[i] - 1` of all i, one after the other: (counts.sum(),) int32."""
    total = int(counts.sum())
    steps = np.ones(total, np.int32)
    some = counts > 0
    if not total:
        return steps
    firsts, sizes = starts[some], counts[some]
    places = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    steps[places] = firsts - np.concatenate([[0], (firsts + sizes - 1)[:-1]])
    return np.cumsum(steps, dtype=np.int32)


def _holds(values: np.ndarray, wanted: Any) -> np.ndarray:
    """Whether a condition on numbers or truth values holds; never for NaN."""
    if not isinstance(wanted, Mapping):
        return np.isin(values, wanted if isinstance(wanted, list | tuple | set) else [wanted])
    if not wanted or set(wanted) - RANGE:
        raise CropIndexError(f"limits {dict(wanted)}: allowed are min and max")
    holds = np.ones(len(values), bool)
    if "min" in wanted:
        holds &= values >= wanted["min"]
    if "max" in wanted:
        holds &= values <= wanted["max"]
    return holds


def _with_nan(column: pa.Array) -> np.ndarray:
    return column.cast(REAL).fill_null(np.nan).to_numpy(zero_copy_only=False)
