"""The level `cells` of the aggregates: every cell with its vector as AnnData, streamed to the disk.

What scanpy looks for is written first (obs, var, obsm, uns), with room for the vectors and for their places on the
atlas's components, which then follow shard by shard: memory grows with what is known of a cell, not with the vectors.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.analysis.aggregate import Scale
from wherein.analysis.atlas import location
from wherein.analysis.atlas_space import scale_of_atlas
from wherein.labels import Vocabulary

CHUNK = 1024
"""Cells of a chunk: 8 MB of 2,048 features."""

SHARD = 16
"""Chunks of a file of the Zarr store."""

TEXTS = ("field_id", "version", "gene", "location", "genes", "ensembl_ids", "labels", "source", "sample", "reagent")
"""Columns of obs that a cell has from its field, as categories; with `cell_line` and `control`."""

Blocks = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Reads wanted vectors: yields rows of neighbours in ascending order, (n,) int, and vectors (n, D) float32."""


class Places(NamedTuple):
    """How vectors find their places on the atlas's components: `(scale.apply(x) - middle) @ loadings`.

    Attributes:
        scale: of the atlas; unknown values stand at the centre, as far from no group as can be.
        middle: (D,) float64, mean of the scaled proteins.
        loadings: (D, K) float64.
    """

    scale: Scale
    middle: np.ndarray
    loadings: np.ndarray

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """(n, K) float32."""
        return ((self.scale.apply(vectors) - self.middle) @ self.loadings).astype(np.float32)


def places_of(atlas: Any, features: list[str]) -> Places | None:
    """What `proteins.h5ad` says of them; None where it has other features, or no components."""
    if list(atlas.var_names) != list(features) or "PCs" not in atlas.varm or not atlas.n_obs:
        return None
    return Places(
        scale_of_atlas(atlas, features)[0],
        np.asarray(atlas.layers["scaled"], np.float64).mean(axis=0),
        np.asarray(atlas.varm["PCs"], np.float64),
    )


def describe_cells(fields: pd.DataFrame, field_of: np.ndarray, unit_ids: np.ndarray, words: Vocabulary) -> pd.DataFrame:
    """What is known of each cell: obs of the level.

    Args:
        fields: one row a field version, with the columns that `ShardUnits.table` has.
        field_of: (N,) row of each cell's field.
        unit_ids: (N,) names of the cells.
        words: vocabulary of locations.
    """
    known = fields.assign(
        gene=fields["protein"],
        location=[location(words, [labels]) for labels in fields["labels"]],
        **{name: [_joined(items) for items in fields[name]] for name in ("genes", "ensembl_ids", "labels")},
    )
    obs = pd.DataFrame(index=pd.Index(unit_ids, dtype=object))
    for name in (*TEXTS, "cell_line"):
        codes, kinds = pd.factorize(known[name].astype(object), sort=True)
        obs[name] = pd.Categorical.from_codes(codes[field_of], kinds)
    obs["control"] = known["control"].to_numpy(bool)[field_of] if len(known) else np.zeros(0, bool)
    return obs


def map_places(units: str | Path | None, unit_ids: np.ndarray) -> np.ndarray | None:
    """Places of cells on the atlas's map of units.

    Args:
        units: results/atlas/{model}/units.parquet; None where there is none.
        unit_ids: (N,) names of the cells.

    Returns:
        (N, 2 or 3) float32, NaN for a cell that is not on the map.
    """
    if units is None:
        return None
    names = ("umap_1", "umap_2", "umap_3")
    table = pq.read_table(units, columns=["unit_id", *names]).to_pandas().set_index("unit_id")
    shown = names if table["umap_3"].notna().any() else names[:2]
    return table[list(shown)].reindex(unit_ids).to_numpy(np.float32)


def write_cells(folder: Path, skeleton: Any, blocks: Blocks, features: int, places: Places | None) -> None:
    """Write `cells.h5ad` and `cells.zarr`.

    Args:
        folder: where to.
        skeleton: AnnData without X and obsm X_pca.
        blocks: reads the vectors.
        features: D.
        places: on the atlas's components; None for none.
    """
    import anndata
    import h5py
    import zarr

    number = skeleton.n_obs
    widths = {"X": features} | ({} if places is None else {"obsm/X_pca": places.loadings.shape[1]})
    skeleton.write_h5ad(folder / "cells.h5ad")
    with anndata.settings.override(zarr_write_format=3), warnings.catch_warnings():
        # anndata reads the metadata of all arrays from one place, which the format's third version has no word for yet
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        skeleton.write_zarr(folder / "cells.zarr")
        store = zarr.open_group(folder / "cells.zarr", mode="a")
        with h5py.File(folder / "cells.h5ad", "a") as file:
            arrays = [_room(file, store, name, (number, width)) for name, width in widths.items()]
            for rows, vectors in _gathered(blocks(np.ones(number, bool)), number):
                values = [vectors] if places is None else [vectors, places.of(vectors)]
                for pair, block in zip(arrays, values, strict=True):
                    for array in pair:
                        array[rows] = block
        zarr.consolidate_metadata(folder / "cells.zarr")


def _room(file: Any, store: Any, name: str, shape: tuple[int, int]) -> tuple[Any, Any]:
    """An array in both files that is filled later, with the words by which anndata knows an array."""
    for group in (file, store):
        if name in group:
            del group[name]
    rows = max(1, min(CHUNK, shape[0]))
    chunks = (rows, max(1, shape[1]))
    told = {"encoding-type": "array", "encoding-version": "0.2.0"}
    first = file.create_dataset(name, shape, "f4", chunks=chunks if shape[0] and shape[1] else None)
    first.attrs.update(told)
    shards = (rows * SHARD, chunks[1])
    second = store.create_array(name, shape=shape, dtype="float32", chunks=chunks, shards=shards, attributes=told)
    return first, second


def _gathered(blocks: Iterator[tuple[np.ndarray, np.ndarray]], number: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Vectors in pieces that begin and end where files of the store do, so that each of these is written once."""
    whole = CHUNK * SHARD
    held: list[np.ndarray] = []
    start = stop = 0
    for _, vectors in blocks:
        held.append(np.asarray(vectors, np.float32))
        stop += len(vectors)
        while stop - start >= whole:
            joined = np.concatenate(held)
            yield slice(start, start + whole), joined[:whole]
            held, start = [joined[whole:]], start + whole
    if stop > start:
        yield slice(start, stop), np.concatenate(held)
    if stop != number:
        raise ValueError(f"{number} cells were described and {stop} vectors were read: a table changed meanwhile")


def _joined(items: Any) -> str:
    return "" if items is None else ";".join(dict.fromkeys(str(item) for item in items))
