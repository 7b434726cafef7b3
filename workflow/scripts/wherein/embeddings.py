"""Embeddings of a model over all shards: side by side, or block by block where they do not fit in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.tables import read_metadata

BLOCK = 4096
"""Vectors that are held at once: 32 MB of 2,048 features."""

UNIT_COLUMNS = ("unit_id", "field_id", "version")


class EmbeddingError(ValueError):
    """Embeddings of a model that cannot stand in one matrix."""


class Part(NamedTuple):
    """Embeddings of one shard.

    Attributes:
        path: results/embeddings/{model}/{shard}.parquet.
        number: of its vectors.
        columns: places of the shared features in them; None for all, in their order.
    """

    path: str | Path
    number: int
    columns: list[int] | None


@dataclass
class Embeddings:
    """Embeddings of all shards, the vectors still on the disk.

    Attributes:
        units: unit_id, field_id, version; one row a vector, shard after shard.
        features: names of the D features that all shards share.
        named: whether the model itself names its features.
        notes: which features were left out.
        parts: the shards that have vectors, in their order.
    """

    units: pd.DataFrame
    features: list[str]
    named: bool
    notes: list[str]
    parts: list[Part]

    def blocks(self, kept: np.ndarray | None = None, rows: int = BLOCK) -> Iterator[np.ndarray]:
        """Read the vectors in the order of `units`, a few at a time.

        Args:
            kept: (N,) bool, which of the units to read; None for all.
            rows: most vectors of a block.

        Yields:
            (at most `rows`, D) float32, NaN where the model could not measure; never an empty one.
        """
        start = 0
        for part in self.parts:
            with pq.ParquetFile(part.path) as file:
                for batch in file.iter_batches(rows, columns=["vector"]):
                    column = batch.column(0)
                    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
                    if part.columns is not None:
                        vectors = vectors[:, part.columns]
                    if kept is not None:
                        vectors = vectors[kept[start : start + len(column)]]
                    start += len(column)
                    if len(vectors):
                        yield vectors


def open_embeddings(paths: Iterable[str | Path]) -> Embeddings:
    """Find out what embeddings of all shards there are, and which features they share. Reads no vector.

    Args:
        paths: results/embeddings/{model}/{shard}.parquet.

    Raises:
        EmbeddingError: shards have no feature in common.
    """
    tables, found, names = [], [], []
    for path in paths:
        with pq.ParquetFile(path) as file:
            number, width = file.metadata.num_rows, file.schema_arrow.field("vector").type.list_size
            units = file.read(list(UNIT_COLUMNS)).to_pandas() if number else None
        if units is not None:
            tables.append(units)
            found.append((path, number, width))
            names.append([str(name) for name in read_metadata(path).get("dimensions") or []])
    if not tables:
        return Embeddings(pd.DataFrame(columns=UNIT_COLUMNS), [], False, [], [])
    units = pd.concat(tables, ignore_index=True)
    if not all(len(own) == width for own, (_, _, width) in zip(names, found, strict=True)):
        widths = sorted({width for _, _, width in found})
        if len(widths) > 1:
            raise EmbeddingError(
                f"shards have vectors of {', '.join(map(str, widths))} features without names, so that they cannot be "
                "put side by side: run the sources with different roles as separate models"
            )
        features = [f"f{index:04d}" for index in range(widths[0])]
        return Embeddings(units, features, False, [], [Part(path, number, None) for path, number, _ in found])
    shared = [name for name in names[0] if all(name in own for own in names)]
    if not shared:
        raise EmbeddingError(
            "shards have no feature in common: run the sources with different roles as separate models"
        )
    lost = sorted({name for own in names for name in own} - set(shared))
    notes = [f"features that only some sources have were left out: {', '.join(lost)}"] if lost else []
    parts = [
        Part(path, number, None if own == shared else [own.index(name) for name in shared])
        for own, (path, number, _) in zip(names, found, strict=True)
    ]
    return Embeddings(units, shared, True, notes, parts)


def read_embeddings(paths: Iterable[str | Path]) -> tuple[pd.DataFrame, np.ndarray, list[str], bool, list[str]]:
    """Embeddings of all shards as one matrix of the features that they share.

    Args:
        paths: results/embeddings/{model}/{shard}.parquet.

    Returns:
        units: unit_id, field_id, version; one row a vector.
        vectors: (N, D) float32, NaN where the model could not measure.
        features: their D names.
        named: whether the model itself names its features.
        notes: which features were left out.

    Raises:
        EmbeddingError: shards have no feature in common.
    """
    found = open_embeddings(paths)
    return found.units, matrix_of(found), found.features, found.named, found.notes


def matrix_of(found: Embeddings, kept: np.ndarray | None = None) -> np.ndarray:
    """All vectors, or those that are kept, as one (N, D) float32 matrix."""
    number = len(found.units) if kept is None else int(np.count_nonzero(kept))
    vectors = np.empty((number, len(found.features)), np.float32)
    start = 0
    for block in found.blocks(kept):
        vectors[start : start + len(block)] = block
        start += len(block)
    return vectors
