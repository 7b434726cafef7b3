"""What the atlas said of each protein in every release state, kept from run to run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein.analysis.aggregate import Scale
from wherein.digest import digest
from wherein.tables import TEXT, TEXTS, read_metadata, write_table

HISTORY = pa.schema(
    [
        ("state", TEXT),
        ("space", TEXT),
        ("protein", TEXT),
        ("ensembl_ids", TEXTS),
        ("labels", TEXTS),
        ("location", TEXT),
        ("n_units", pa.int64()),
        ("n_fields", pa.int64()),
        ("cluster", TEXT),
        ("umap_1", pa.float32()),
        ("umap_2", pa.float32()),
        ("vector", pa.list_(pa.float32())),
        ("fields", TEXTS),
        ("field_units", pa.list_(pa.int32())),
    ]
)
"""results/atlas/{model}/history.parquet"""

SPACE_WORDS = ("kind", "level", "weights_sha256", "normalization")
"""What embeddings say of themselves that decides whether vectors of two runs compare."""


class HistoryError(ValueError):
    """A history that cannot be read."""


def release_state(fields: str | Path, sources: Iterable[str]) -> str:
    """Name of the state that a run reads: the release of each source, as `hpa:v23;lab:1`.

    Args:
        fields: results/catalog/fields.parquet.
        sources: names of the sources that count.
    """
    releases = read_metadata(fields).get("releases", {})
    return ";".join(f"{source}:{releases.get(source, '')}" for source in sorted(set(sources)))


def space_of(embeddings: Iterable[str | Path], features: Sequence[str]) -> str:
    """Digest of what decides whether vectors of two runs compare: features, weights or named space, normalization."""
    said = [read_metadata(path) for path in embeddings]
    words = {digest([*(own.get(word) for word in SPACE_WORDS), *_named_space(own)]) for own in said}
    return digest([list(features), sorted(words)])


def _named_space(said: Mapping[str, Any]) -> list[str]:
    """What the configuration calls the space of vectors that were made elsewhere, which have no weights to tell it."""
    return [said["weights"]] if said.get("kind") == "published" and said.get("weights") else []


def state_rows(state: str, space: str, atlas: Any, scale: Scale, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of history.parquet for the present state.

    Args:
        state: its name.
        space: digest of the vectors' space.
        atlas: AnnData of proteins.h5ad.
        scale: how `layers["scaled"]` was made.
        table: the units, as `read_units` gives them.

    Returns:
        One row a protein, in the order of the atlas. `vector` is the scaled mean brought back to the model's own units,
        so that one outlying cell counts no more in it than it does on the map.
    """
    obs = atlas.obs
    own = table[~table["control"] & table["protein"].notna()]
    names = own["field_id"] + "@" + own["version"]
    counts = own.groupby(["protein", names.rename("field")], sort=True).size()
    fields = {protein: part.droplevel(0) for protein, part in counts.groupby(level=0)}
    vectors = atlas.layers["scaled"].astype(np.float64) * scale.spread + scale.centre
    return pd.DataFrame(
        {
            "state": state,
            "space": space,
            "protein": obs.index.astype(object),
            "ensembl_ids": [text.split(";") if text else [] for text in obs["ensembl_ids"]],
            "labels": [text.split(";") if text else [] for text in obs["labels"]],
            "location": obs["location"].astype(object).to_numpy(),
            "n_units": obs["n_units"].to_numpy(),
            "n_fields": obs["n_fields"].to_numpy(),
            "cluster": obs["cluster"].astype(object).to_numpy(),
            "umap_1": atlas.obsm["X_umap"][:, 0],
            "umap_2": atlas.obsm["X_umap"][:, 1],
            "vector": list(vectors.astype(np.float32)),
            "fields": [list(fields[protein].index) for protein in obs.index],
            "field_units": [fields[protein].to_numpy(np.int32) for protein in obs.index],
        }
    )


def read_history(path: str | Path) -> pd.DataFrame:
    """The history as it stands, empty where there is none yet.

    Raises:
        HistoryError: the file is broken.
    """
    if not Path(path).exists():
        return pd.DataFrame(columns=HISTORY.names)
    try:
        return pq.read_table(path, schema=HISTORY).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise HistoryError(
            f"{path} cannot be read ({error}): take it from a backup, or delete it; what moved is then told from the "
            "next release on"
        ) from error


def write_history(path: str | Path, history: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Put the rows of the present state at the end of the history, in place of any that it had, and write it.

    Args:
        path: results/atlas/{model}/history.parquet.
        history: as it stood.
        now: rows of the present state; where there are none the history stays as it is.

    Returns:
        The last other state of the same space, its rows in the order of the table; no rows where there is none.
    """
    state, space = (now["state"].iloc[0], now["space"].iloc[0]) if len(now) else (None, None)
    others = history[history["state"] != state]
    parts = [part for part in (others, now) if len(part)]
    write_table(path, pd.concat(parts, ignore_index=True) if parts else history, HISTORY)
    comparable = others[others["space"] == space]
    last = comparable["state"].iloc[-1] if len(comparable) else None
    return comparable[comparable["state"] == last].reset_index(drop=True)
