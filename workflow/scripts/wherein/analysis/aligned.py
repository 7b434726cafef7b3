"""Maps of proteins laid over one another by AlignedUMAP: of several models, or of several releases."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from anndata import read_h5ad

from wherein.analysis.history import read_history
from wherein.analysis.layout import SMALLEST_UMAP, Layout, aligned_coordinates, layout_of
from wherein.analysis.projection import principal_components
from wherein.summary import stage_summary
from wherein.tables import TEXT, write_table

log = logging.getLogger(__name__)

ALIGNED = pa.schema(
    [
        ("map", TEXT),
        ("place", pa.int32()),
        ("protein", TEXT),
        ("location", TEXT),
        *((f"umap_{axis}", pa.float32()) for axis in (1, 2, 3)),
        ("shift", pa.float32()),
    ]
)
"""results/aligned/models.parquet and results/aligned/releases/{model}.parquet"""

PACKAGES = ("anndata", "numpy", "scipy", "umap-learn")


class ProteinMap(NamedTuple):
    """Proteins of one map that is to be aligned.

    Attributes:
        name: of the model, or of the release state.
        proteins: (P,) their names.
        locations: (P,) their locations, or None.
        vectors: (P, D) on one scale.
    """

    name: str
    proteins: list[str]
    locations: list[str | None]
    vectors: np.ndarray


def align_models(
    models: Sequence[str],
    proteins: Sequence[str | Path],
    settings: dict[str, Any],
    aligned: str | Path,
    summary: str | Path,
) -> None:
    """Align the maps of proteins of several models.

    Args:
        models: their names, in the order in which neighbours are aligned.
        proteins: results/atlas/{model}/proteins.h5ad of each.
        settings: section `atlas` of the configuration.
        aligned: results/aligned/models.parquet, written.
        summary: results/summaries/align_models/run.json, written.
    """
    with stage_summary(summary, "align_models", "run", PACKAGES) as told:
        maps = []
        for model, path in zip(models, proteins, strict=True):
            atlas = read_h5ad(path)
            locations = [str(name) if pd.notna(name) else None for name in atlas.obs["location"]]
            maps.append(ProteinMap(model, list(atlas.obs_names), locations, np.asarray(atlas.layers["scaled"])))
        table, told.notes = align(maps, settings)
        told.counts = {"in": sum(len(own.proteins) for own in maps), "kept": len(table)}
        told.counts |= {"too_few_proteins": told.counts["in"] - len(table)} if told.counts["in"] > len(table) else {}
        write_table(aligned, table, ALIGNED, _said(settings, maps))


def align_releases(
    model: str,
    history: str | Path,
    proteins: str | Path,
    settings: dict[str, Any],
    aligned: str | Path,
    summary: str | Path,
) -> None:
    """Align the maps of proteins of the release states of one model that share a space of vectors.

    Args:
        model: its name.
        history: results/atlas/{model}/history.parquet.
        proteins: results/atlas/{model}/proteins.h5ad, for the scale of the present state.
        settings: section `atlas` of the configuration.
        aligned: results/aligned/releases/{model}.parquet, written.
        summary: results/summaries/align_releases/{model}.json, written.
    """
    with stage_summary(summary, "align_releases", model, PACKAGES) as told:
        rows, var = read_history(history), read_h5ad(proteins, backed="r").var
        comparable = rows[rows["space"] == rows["space"].iloc[-1]] if len(rows) else rows
        centre, spread, used = (var[name].to_numpy() for name in ("centre", "spread", "used"))
        maps = []
        for state, own in comparable.groupby("state", sort=False):
            vectors = (np.stack(own["vector"].tolist()) - centre) / spread
            vectors[:, ~used] = 0
            locations = [name if isinstance(name, str) else None for name in own["location"]]
            maps.append(ProteinMap(str(state), own["protein"].tolist(), locations, vectors))
        table, told.notes = align(maps, settings)
        told.counts = {"in": len(rows), "kept": len(table)}
        lost = {"other_space": len(rows) - len(comparable), "too_few_proteins": len(comparable) - len(table)}
        told.counts |= {reason: count for reason, count in lost.items() if count}
        write_table(aligned, table, ALIGNED, _said(settings, maps))


def align(maps: Sequence[ProteinMap], settings: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Lay maps over one another.

    Args:
        maps: in the order in which neighbours are aligned.
        settings: section `atlas` of the configuration.

    Returns:
        Rows of the table of aligned maps, map after map, and notes. With a single map of enough proteins there is
        nothing to align, and its first principal components are its places.
    """
    notes = []
    kept = [own for own in maps if len(own.proteins) >= SMALLEST_UMAP]
    if len(kept) < len(maps):
        few = ", ".join(own.name for own in maps if len(own.proteins) < SMALLEST_UMAP)
        notes.append(f"maps of fewer than {SMALLEST_UMAP} proteins are left out: {few}")
    layout = layout_of(settings)
    scores = [principal_components(own.vectors, settings["components"])[0] for own in kept]
    alike = [own.name for own, found in zip(kept, scores, strict=True) if not found.shape[1]]
    if alike:
        notes.append(f"all proteins have the same vector, and their places tell nothing: {', '.join(alike)}")
        scores = [found if found.shape[1] else np.zeros((len(found), 1), np.float32) for found in scores]
    if len(kept) > 1:
        names = [own.proteins for own in kept]
        places = aligned_coordinates(scores, names, layout, settings["alignment"], settings["alignment_window"])
    else:
        notes.append(f"there is {'one map' if kept else 'no map'}: nothing to align, principal components are shown")
        places = [_first(own, layout) for own in scores]
    parts, shifts, before = [], [], None
    for number, (own, laid) in enumerate(zip(kept, places, strict=True)):
        part = pd.DataFrame(laid, columns=[f"umap_{axis + 1}" for axis in range(laid.shape[1])])
        part = part.assign(map=own.name, place=number, protein=own.proteins, location=own.locations)
        here = pd.DataFrame(laid, index=own.proteins)
        shifts.append(np.full(len(here), np.nan) if before is None else _shift(here, before))
        parts.append(part)
        before = here
    if not parts:
        return pd.DataFrame(columns=ALIGNED.names), notes
    return pd.concat(parts, ignore_index=True).assign(shift=np.concatenate(shifts)), notes


def _first(scores: np.ndarray, layout: Layout) -> np.ndarray:
    shown = np.zeros((len(scores), layout.dimensions), np.float32)
    count = min(layout.dimensions, scores.shape[1])
    shown[:, :count] = scores[:, :count]
    return shown


def _shift(here: pd.DataFrame, before: pd.DataFrame) -> np.ndarray:
    """Distance of each protein from its place on the map before; NaN where it was not there."""
    return np.sqrt(((here - before.reindex(here.index)) ** 2).sum(axis=1, skipna=False)).to_numpy()


def _said(settings: dict[str, Any], maps: Sequence[ProteinMap]) -> dict[str, Any]:
    layout = layout_of(settings)
    return {
        "maps": [own.name for own in maps],
        "layout": layout.told(),
        "alignment": settings["alignment"],
        "window": settings["alignment_window"],
        "seed": settings["seed"],
    }
