"""Everything that the pages are made from, read once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from wherein.tables import read_metadata, read_tables
from wherein.views.cell_pictures import CONTROLS
from wherein.views.examples import fields_with_verdict
from wherein.views.model import read_tsv
from wherein.views.releases import read_changes

UNIT_COLUMNS = ("unit_id", "field_id", "version", "fold")


@dataclass
class ModelTables:
    """What one model found.

    Attributes:
        name: of the model.
        settings: its configuration.
        units: results/atlas/{model}/units.parquet.
        proteins: results/atlas/{model}/proteins.h5ad.
        clusters, classes, enrichment, heterogeneity, heterogeneity_fields, heterogeneity_samples, cell_labels,
            exclusive, compartments, moved: the tables of those names.
        scores: scores.json.
        predictions: one row a unit, columns unit_id, field_id, version and one a class.
        class_names: those classes, in the order of their vocabulary.
        figures: folder of its figures.
    """

    name: str
    settings: dict[str, Any]
    units: pd.DataFrame
    proteins: anndata.AnnData
    clusters: pd.DataFrame
    classes: pd.DataFrame
    enrichment: pd.DataFrame
    heterogeneity: pd.DataFrame
    heterogeneity_fields: pd.DataFrame
    heterogeneity_samples: pd.DataFrame
    cell_labels: pd.DataFrame
    exclusive: pd.DataFrame
    compartments: pd.DataFrame
    moved: pd.DataFrame
    scores: dict[str, Any]
    predictions: pd.DataFrame
    class_names: list[str]
    figures: Path


@dataclass
class RunTables:
    """What the run found.

    Attributes:
        judged: one row a current field version, with its verdict and a column `protein` (name, `controls` or null).
        ledger: one row an outlined cell of a current field version, with `protein`, `cell_line` and `control`.
        left_out: what this run leaves out and why.
        overrides: curators' words, and whether what they name was found.
        changes: of fields from release to release, with their proteins.
        balance: how many came in, were kept and fell to each reason.
        summaries: of every job.
        segmentation: scores of the outlines; empty without truth.
        models: in the order of the configuration.
        abundance: results/biology/abundance.parquet.
    """

    judged: pd.DataFrame
    ledger: pd.DataFrame
    left_out: pd.DataFrame
    overrides: pd.DataFrame
    changes: pd.DataFrame
    balance: pd.DataFrame
    summaries: list[dict[str, Any]]
    segmentation: dict[str, Any]
    models: list[ModelTables]
    abundance: pd.DataFrame


def read_run(inputs: dict[str, Any], models: dict[str, Any]) -> RunTables:
    """Read all tables of a run.

    Args:
        inputs: paths by the names that the rule `build_site` gives them.
        models: the section `models` of the configuration.

    Returns:
        The tables.
    """
    judged = fields_with_verdict(inputs["fields"], paths_of(inputs, "qc"))
    judged["protein"] = judged["name"].where(
        judged["name"].notna() | ~judged["control"].fillna(False).astype(bool), CONTROLS
    )
    known = judged[["field_id", "version", "protein", "cell_line", "control"]]
    ledger = read_tables(paths_of(inputs, "cells"))
    ledger = ledger.merge(known, on=["field_id", "version"], how="inner") if len(ledger) else ledger.reindex(
        columns=[*dict.fromkeys([*ledger.columns, *known.columns])]
    )  # fmt: skip
    segmentation = paths_of(inputs, "segmentation")
    return RunTables(
        judged=judged,
        ledger=ledger,
        left_out=read_tsv(inputs["left_out"]),
        overrides=read_tsv(inputs["overrides"]),
        changes=read_changes(inputs["diff"], inputs["fields"]),
        balance=read_tsv(inputs["balance"]),
        summaries=[_json(path) for path in paths_of(inputs, "summaries")],
        segmentation=_json(segmentation[0]) if segmentation else {},
        models=[
            read_model(Path(path).parent.name, inputs, number, models)
            for number, path in enumerate(paths_of(inputs, "units"))
        ],
        abundance=pd.read_parquet(inputs["abundance"]),
    )


def read_model(name: str, inputs: dict[str, Any], number: int, models: dict[str, Any]) -> ModelTables:
    """Read the tables of the model that is `number` in every list of inputs."""
    paths = {key: paths_of(inputs, key)[number] for key in _MODEL_INPUTS}
    predictions = pd.read_parquet(paths["predictions"])
    told = read_metadata(paths["predictions"]).get("classes")
    return ModelTables(
        name=name,
        settings=models.get(name, {}),
        units=pd.read_parquet(paths["units"]),
        proteins=anndata.read_h5ad(paths["proteins"]),
        clusters=read_tsv(paths["clusters"]),
        classes=read_tsv(paths["classes"]),
        enrichment=read_tsv(paths["enrichment"]),
        heterogeneity=read_tsv(paths["heterogeneity"]),
        heterogeneity_fields=read_tsv(paths["heterogeneity_fields"]),
        **{name: read_tsv(paths[name]) for name in SINGLE_CELLS},
        moved=read_tsv(paths["moved"]),
        scores=_json(paths["scores"]),
        predictions=predictions,
        class_names=[column for column in told or predictions.columns if column not in UNIT_COLUMNS],
        figures=Path(paths["model_figures"]).parent,
    )


SINGLE_CELLS = ("heterogeneity_samples", "cell_labels", "exclusive", "compartments")
"""Tables of the page of heterogeneity."""

_MODEL_INPUTS = (
    *SINGLE_CELLS,
    *("units", "proteins", "clusters", "classes", "enrichment", "heterogeneity", "heterogeneity_fields"),
    *("moved", "scores", "predictions", "model_figures"),
)


def paths_of(inputs: dict[str, Any], name: str) -> list[str]:
    """Paths of a named input: Snakemake gives one path as a text and several as a list."""
    found = inputs.get(name, [])
    return [found] if isinstance(found, str) else [str(path) for path in found]


def top_classes(predictions: pd.DataFrame, classes: Sequence[str], most: int) -> list[list[tuple[str, float]]]:
    """The most probable classes of each row.

    Args:
        predictions: one column a class, probabilities.
        classes: names of those columns.
        most: number of classes.

    Returns:
        For each row (class, probability), the most probable first; empty where nothing was predicted.
    """
    if not len(classes) or not len(predictions):
        return [[] for _ in range(len(predictions))]
    values = predictions[list(classes)].to_numpy(float)
    order = np.argsort(-np.nan_to_num(values, nan=-1), axis=1, kind="stable")[:, :most]
    return [
        [(classes[column], float(row[column])) for column in best if np.isfinite(row[column])]
        for row, best in zip(values, order, strict=True)
    ]


def predicted_locations(model: ModelTables, judged: pd.DataFrame, most: int = 3) -> dict[str, list[tuple[str, float]]]:
    """Where a model puts each protein: the mean probability of its units, the classes that reach their threshold.

    Args:
        model: with predictions, and with thresholds in its table of classes.
        judged: with the protein of each field version.
        most: most locations of a protein.

    Returns:
        protein -> (class, mean probability); the most probable class alone where none reaches its threshold.
    """
    if not model.class_names or not len(model.predictions):
        return {}
    named = model.predictions.merge(judged[["field_id", "version", "protein"]], on=["field_id", "version"])
    means = named.groupby("protein")[model.class_names].mean()
    level = model.scores.get("level")
    rows = model.classes[model.classes["level"] == level] if level else model.classes
    threshold = {row["class"]: row["threshold"] for _, row in rows.iterrows() if pd.notna(row["threshold"])}
    found = {}
    for protein, best in zip(means.index, top_classes(means, model.class_names, len(model.class_names)), strict=True):
        sure = [(name, share) for name, share in best if share >= threshold.get(name, 0.5)]
        found[str(protein)] = (sure or best[:1])[:most]
    return found


def neighbours(model: ModelTables, most: int = 6, block: int = 512) -> dict[str, list[tuple[str, float]]]:
    """Proteins that look most alike to a model: nearest by Euclidean distance of their principal components.

    Args:
        model: with the atlas of its proteins.
        most: most neighbours of a protein.
        block: proteins whose distances are held in memory at once.

    Returns:
        protein -> (other protein, distance), the nearest first; empty for a protein without position.
    """
    names = [str(name) for name in model.proteins.obs_names]
    codes = np.asarray(model.proteins.obsm.get("X_pca", model.proteins.X), np.float64)
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in names}
    if len(names) < 2 or not codes.size:
        return found
    norms = (codes**2).sum(axis=1)
    for start in range(0, len(names), block):
        own = slice(start, start + block)
        squared = np.maximum(norms[own, None] + norms[None] - 2 * codes[own] @ codes.T, 0)
        squared[np.arange(squared.shape[0]), np.arange(start, start + squared.shape[0])] = np.inf
        nearest = np.argsort(squared, axis=1, kind="stable")[:, : min(most, len(names) - 1)]
        for row, best in enumerate(nearest):
            finite = [other for other in best if np.isfinite(squared[row, other])]
            found[names[start + row]] = [(names[other], float(np.sqrt(squared[row, other]))) for other in finite]
    return found


def _json(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))
