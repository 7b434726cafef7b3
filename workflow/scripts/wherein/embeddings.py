"""Embeddings of a model over all shards, side by side."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from wherein.tables import read_metadata, read_vectors


class EmbeddingError(ValueError):
    """Embeddings of a model that cannot stand in one matrix."""


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
    tables, parts, names = [], [], []
    for path in paths:
        units, vectors = read_vectors([path])
        if len(units):
            tables.append(units)
            parts.append(vectors)
            names.append([str(name) for name in read_metadata(path).get("dimensions") or []])
    if not tables:
        return pd.DataFrame(columns=["unit_id", "field_id", "version"]), np.zeros((0, 0), np.float32), [], False, []
    units = pd.concat(tables, ignore_index=True)
    named = all(len(own) == part.shape[1] for own, part in zip(names, parts, strict=True))
    if not named:
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) > 1:
            raise EmbeddingError(
                f"shards have vectors of {', '.join(map(str, widths))} features without names, so that they cannot be "
                "put side by side: run the sources with different roles as separate models"
            )
        return units, np.concatenate(parts), [f"f{index:04d}" for index in range(widths[0])], False, []
    shared = [name for name in names[0] if all(name in own for own in names)]
    if not shared:
        raise EmbeddingError(
            "shards have no feature in common: run the sources with different roles as separate models"
        )
    lost = sorted({name for own in names for name in own} - set(shared))
    notes = [f"features that only some sources have were left out: {', '.join(lost)}"] if lost else []
    columns = [[own.index(name) for name in shared] for own in names]
    together = np.concatenate([part[:, column] for part, column in zip(parts, columns, strict=True)])
    return units, together, shared, True, notes
