"""Vectors made elsewhere, read from text, Parquet or AnnData a block of rows at a time."""

import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein.exchange.vector_table import ANNDATA, COLUMNS, PARQUET, file_format
from wherein.sources.table import TableError, likely_separator

BLOCK = 2048
"""Rows in memory at once: 16 MB of vectors of 2,048 features."""

LOOKED_AT = 200
"""Rows of a text table that tell which columns are numbers."""

NAME = "name"
"""Column of a block that holds the rows' own names, where the table has no column that says what they show."""

Block = tuple[int, pd.DataFrame, np.ndarray]
"""Number of the first row, from 0; what the table says of the rows (text, by our names; None where it says nothing),
and their vectors (n, D) float32, NaN where a value is missing or no number."""


class VectorTable(Protocol):
    """A table of vectors that is open for reading.

    Attributes:
        features: names of the D features; empty where the table has none.
        notes: sentences on columns that were left out.
    """

    features: list[str]
    notes: list[str]

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""

    def rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Vectors of some rows, (n, D) float32, in the order asked for."""


def open_vectors(
    path: str, key: str | None = None, features: str | None = None, columns: Mapping[str, str] | None = None
) -> VectorTable:
    """Open a table of vectors.

    Args:
        path: TSV or CSV (plain or gzipped), Parquet, or AnnData (.h5ad), known by its first bytes.
        key: Parquet: the column that holds lists; AnnData: a key of obsm, or of layers. None for the only column of
            lists, else columns of numbers; for X.
        features: regular expression of the names of columns that are features; None for all columns of numbers that are
            not known by a name of ours.
        columns: names that the table has for our columns, ours first.

    Raises:
        TableError: there are no vectors in it, or not where `key` or `features` say.
    """
    theirs = {ours: (columns or {}).get(ours, ours) for ours in COLUMNS}
    kind = {PARQUET: ParquetVectors, ANNDATA: AnnDataVectors}.get(file_format(path), TextVectors)
    try:
        return kind(path, key, features, theirs)
    except (pa.ArrowInvalid, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise TableError(f"{path} cannot be read as a table of vectors: {error}") from error


class TextVectors:
    """Vectors of a text table: a column a feature."""

    def __init__(self, path: str, key: str | None, features: str | None, theirs: Mapping[str, str]) -> None:
        if key is not None:
            raise TableError(f"{path} is a text table, in which no key {key!r} can be: leave sources.*.key out")
        self._path = path
        with open(path, "rb") as file:
            self._packed = file.read(2) == b"\x1f\x8b"
        names = self._column_names()
        start = self._read(names, nrows=LOOKED_AT)
        self._meta = {ours: name for ours, name in theirs.items() if name in names}
        if not {"field_id", "genes", "ensembl_ids"} & set(self._meta):
            self._meta[NAME] = names[0]
        numbers = [name for name in names if start[name].dtype.kind in "fiu" and start[name].notna().any()]
        self.features, self.notes = _feature_columns(path, names, numbers, set(self._meta.values()), features)
        self._names = names

    def _column_names(self) -> list[str]:
        """Names of all columns, each once.

        A table that R or a program in its manner has written has no name for the column of row names: its rows have one
        cell more than the header, whose names are those of the other columns.
        """
        with (gzip.open if self._packed else open)(self._path, "rt", newline="", encoding="utf-8-sig") as lines:
            self._separator = likely_separator(lines.readline())
            lines.seek(0)
            rows = csv.reader(lines, delimiter=self._separator)
            header, first = [name.strip() for name in next(rows, [])], next(rows, [])
        if first and len(first) not in (len(header), len(header) + 1):
            raise TableError(
                f"{self._path}, row 2: found {len(first)} cells for {len(header)} columns; each row needs as many "
                "cells as the header, or one more in front for its name"
            )
        named = header if len(first) <= len(header) else ["row name", *header]
        found: list[str] = []
        for place, name in enumerate(named):
            # a column without a name is called by its place among the header's names
            plain = name or str(place - (len(named) - len(header)))
            found.append(plain if plain not in found and (name or plain not in named) else f"{plain} ({place})")
        return found

    def _read(self, names: list[str], **options: Any) -> Any:
        return pd.read_csv(
            self._path, sep=self._separator, compression="gzip" if self._packed else None, encoding="utf-8-sig",
            low_memory=False, header=0, names=names, index_col=False, **options,
        )  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        # names are text: a gene NA1 or a well 007 is no number
        dtype = dict.fromkeys(self._meta.values(), str)
        first = 0
        try:
            # all columns: where some are chosen, pandas says nothing of a row that is too long
            for part in self._read(self._names, chunksize=BLOCK, dtype=dtype):
                meta = pd.DataFrame({ours: part[name].to_numpy(object) for ours, name in self._meta.items()})
                yield first, _texts(meta), _numbers(part[self.features])
                first += len(part)
        except pd.errors.ParserError as error:
            raise TableError(f"{self._path} cannot be read as a table of vectors: {error}") from error

    def rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Vectors of some rows, in the order asked for."""
        rows = np.asarray(wanted, np.int64)
        found = np.zeros((len(rows), len(self.features)), np.float32)
        last = rows.max(initial=-1)
        for first, _, vectors in self.blocks():
            if first > last:
                break
            inside = np.flatnonzero((rows >= first) & (rows < first + len(vectors)))
            found[inside] = vectors[rows[inside] - first]
        return found


class ParquetVectors:
    """Vectors of a Parquet file: a column of lists, or a column a feature."""

    def __init__(self, path: str, key: str | None, features: str | None, theirs: Mapping[str, str]) -> None:
        self._file = pq.ParquetFile(path)
        schema = self._file.schema_arrow
        lists = [field.name for field in schema if _is_list_of_numbers(field.type)]
        if key is not None and key not in lists:
            raise TableError(f"{path}: found no column of lists {key!r}; those of the file are {lists or 'none'}")
        if key is None and len(lists) > 1:
            raise TableError(f"{path}: found the columns of lists {lists}; name that of vectors under sources.*.key")
        self._list = key or (lists[0] if lists else None)
        self._meta = {ours: name for ours, name in theirs.items() if name in schema.names}
        self.notes: list[str] = []
        if not {"field_id", "genes", "ensembl_ids"} & set(self._meta):
            texts = [field.name for field in schema if _is_text(field.type)]
            if not texts:
                raise TableError(
                    f"{path}: there is no column that says what rows show; the file has {', '.join(schema.names[:8])}; "
                    "name one under sources.*.columns as genes, ensembl_ids or field_id"
                )
            self._meta[NAME] = next((name for name in texts if name.startswith("__index_level")), texts[0])
        self._columns: list[str] = []
        self.features = []
        self._width = 0
        if self._list:
            self._width = self._first_width()
            if not self._width:
                raise TableError(f"{path}: no row has a number in the lists of {self._list!r}")
        else:
            numbers = [field.name for field in schema if _is_number(field.type)]
            found = _feature_columns(path, schema.names, numbers, set(self._meta.values()), features)
            self._columns, self.notes = found
            self.features = list(self._columns)

    def _first_width(self) -> int:
        for batch in self._file.iter_batches(1, columns=[self._list]):
            if batch.column(0).is_valid()[0].as_py() and len(batch.column(0)[0]):
                return len(batch.column(0)[0])
        return 0

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        first = 0
        wanted = [*dict.fromkeys(self._meta.values()), *([self._list] if self._list else self._columns)]
        for batch in self._file.iter_batches(BLOCK, columns=wanted):
            meta = pd.DataFrame({ours: _joined(batch.column(name)) for ours, name in self._meta.items()})
            yield first, _texts(meta), self._vectors(batch)
            first += batch.num_rows

    def rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Vectors of some rows, in the order asked for: only their row groups are read."""
        rows = np.asarray(wanted, np.int64)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        found = np.zeros((len(rows), self._width if self._list else len(self._columns)), np.float32)
        for group in np.unique(np.searchsorted(starts, rows, side="right") - 1) if len(rows) else []:
            table = self._file.read_row_group(int(group), columns=[self._list] if self._list else self._columns)
            inside = np.flatnonzero((rows >= starts[group]) & (rows < starts[group + 1]))
            part = table.take(rows[inside] - starts[group]).combine_chunks()
            found[inside] = self._vectors(part.to_batches()[0])
        return found

    def _vectors(self, batch: pa.RecordBatch) -> np.ndarray:
        if not self._list:
            frame = batch.select(self._columns).to_pandas() if self._columns else pd.DataFrame()
            return frame.to_numpy(np.float32)
        found = np.full((batch.num_rows, self._width), np.nan, np.float32)
        for row, value in enumerate(batch.column(self._list)):
            # another length than the others' is no vector of this space
            if value.is_valid and len(value) == self._width:
                found[row] = value.values.to_numpy(zero_copy_only=False)
        return found


class AnnDataVectors:
    """Vectors of an AnnData file: X, a matrix of obsm, or a layer."""

    def __init__(self, path: str, key: str | None, features: str | None, theirs: Mapping[str, str]) -> None:
        import anndata

        self._data = anndata.read_h5ad(path, backed="r")
        self.notes: list[str] = []
        places = dict.fromkeys(self._data.obsm, "obsm") | dict.fromkeys(self._data.layers, "layers")
        if key is not None and key not in ("X", *places):
            raise TableError(f"{path}: found no {key!r}; it has {', '.join(['X', *places])}")
        where = places.get(key or "X")
        self._matrix = (
            self._data.X if where is None else self._data.obsm[key] if where == "obsm" else self._data.layers[key]
        )
        if self._matrix is None:
            raise TableError(f"{path} has no X; name a matrix under sources.*.key: {', '.join(places)}")
        obs = self._data.obs
        self._meta = pd.DataFrame(
            {ours: obs[name].astype(object).to_numpy() for ours, name in theirs.items() if name in obs}, index=obs.index
        )
        if not {"field_id", "genes", "ensembl_ids"} & set(self._meta):
            self._meta[NAME] = obs.index.astype(str).to_numpy()
        names = [str(name) for name in self._data.var_names] if where != "obsm" else []
        if isinstance(self._matrix, pd.DataFrame):
            names, self._matrix = [str(name) for name in self._matrix], self._matrix.to_numpy()
        self._keep = [place for place, name in enumerate(names) if features is None or re.search(features, name)]
        if names and not self._keep:
            raise TableError(f"{path}: no feature fits {features!r} (sources.*.features)")
        self.features = [names[place] for place in self._keep]

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        for first in range(0, len(self._meta), BLOCK):
            part = slice(first, first + BLOCK)
            yield first, _texts(self._meta.iloc[part].reset_index(drop=True)), self._dense(self._matrix[part])

    def rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Vectors of some rows, in the order asked for."""
        rows = np.asarray(wanted, np.int64)
        order = np.argsort(rows, kind="stable")
        part = self._dense(self._matrix[rows[order]])
        found = np.empty_like(part)
        found[order] = part
        return found

    def _dense(self, part: Any) -> np.ndarray:
        whole = np.asarray(part.toarray() if hasattr(part, "toarray") else part, np.float32)
        return whole[:, self._keep] if len(self._keep) not in (0, whole.shape[1]) else whole


def _feature_columns(
    path: str, names: Sequence[str], numbers: Sequence[str], meta: set[str], features: str | None
) -> tuple[list[str], list[str]]:
    """Columns that are features, and notes on those that are left out."""
    if features is not None:
        wanted = [name for name in names if re.search(features, str(name)) and name not in meta]
        wrong = [name for name in wanted if name not in numbers]
        if wrong:
            raise TableError(f"{path}: the column {wrong[0]!r} fits sources.*.features, but holds no numbers")
    else:
        wanted = [name for name in numbers if name not in meta]
    if not wanted:
        raise TableError(
            f"{path}: no column holds numbers{'' if features is None else f' and fits {features!r}'}; the table begins "
            f"with {', '.join(map(str, names[:8]))}"
        )
    left = [str(name) for name in names if name not in meta and name not in wanted]
    shown = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
    return list(wanted), [f"{Path(path).name}: columns that are no features were left out: {shown}"] if left else []


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    return lists and _is_number(kind.value_type)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _joined(column: pa.Array) -> list[Any]:
    """Values of a column, lists of names joined by `;`."""
    return [";".join(map(str, value)) if isinstance(value, list) else value for value in column.to_pylist()]


def _texts(meta: pd.DataFrame) -> pd.DataFrame:
    """Every value as text, None where nothing is known."""
    return meta.astype(object).apply(lambda column: column.map(lambda value: None if pd.isna(value) else str(value)))


def _numbers(part: pd.DataFrame) -> np.ndarray:
    """(n, D) float32; what is no number becomes NaN."""
    if any(kind.kind not in "fiu" for kind in part.dtypes):
        part = part.apply(pd.to_numeric, errors="coerce")
    return part.to_numpy(np.float32)


def numbered(features: Sequence[str]) -> bool:
    """Whether names of features only count them (`1`, `2`; `f000`; `dim_12`): such have no units of their own."""
    stems = {re.sub(r"\d+", "", name) for name in features}
    return len(stems) <= 1 and all(re.search(r"\d", name) for name in features)


def vector_digests(vectors: np.ndarray, more: np.ndarray | None = None) -> list[str]:
    """12 hexadecimal characters of each row's numbers, and of those of a second matrix of as many rows."""
    from hashlib import blake2b

    own = np.ascontiguousarray(vectors, np.float32)
    beside = np.zeros((len(own), 0), np.float32) if more is None else np.ascontiguousarray(more, np.float32)
    return [blake2b(own[row].tobytes() + beside[row].tobytes(), digest_size=6).hexdigest() for row in range(len(own))]
