"""All figures of one model."""

import json
from pathlib import Path
from typing import Any

import anndata
import pandas as pd

from wherein.views.maps import draw_heatmap, draw_proteins, draw_units, how_laid_out, location_order, told
from wherein.views.scores import draw_classes, draw_enrichment, draw_heterogeneity


def plot_model(
    model: str, level: str, inputs: dict[str, str], settings: dict[str, Any], outputs: dict[str, str]
) -> None:
    """Draw the maps, the heat map, the scores and the findings of one model.

    Args:
        model: name of the model.
        level: `cell` or `field`: what one vector describes.
        inputs: paths of proteins, units, clusters, classes, scores, enrichment and heterogeneity.
        settings: the section `report` of the configuration.
        outputs: PNGs umap_units, umap_proteins, heatmap, classes, enrichment and heterogeneity.
    """
    proteins = anndata.read_h5ad(inputs["proteins"])
    units = pd.read_parquet(inputs["units"])
    scores = json.loads(Path(inputs["scores"]).read_text(encoding="utf-8"))
    order = location_order([scores.get("vocabulary")], told(units["location"]))
    draw_units(units, level, model, settings, order, outputs["umap_units"], how_laid_out(proteins, units))
    draw_proteins(proteins, model, settings, order, outputs["umap_proteins"])
    draw_heatmap(proteins, model, settings, order, outputs["heatmap"])
    draw_classes(read_tsv(inputs["classes"]), scores, model, settings, outputs["classes"])
    clusters = read_tsv(inputs["clusters"])
    draw_enrichment(read_tsv(inputs["enrichment"]), clusters, model, settings, outputs["enrichment"])
    draw_heterogeneity(read_tsv(inputs["heterogeneity"]), model, settings, outputs["heterogeneity"])


def read_tsv(path: str) -> pd.DataFrame:
    """Read a table of findings. A gene may be called NA or NAN: only an empty cell is null."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"cluster": str, "gene": str})
