"""The answer to a query, as tables and as one page that stands alone: its pictures are in it."""

import base64
import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein import __version__
from wherein.analysis.aggregate import open_units
from wherein.analysis.atlas_space import read_atlas
from wherein.analysis.clustering import clustered_points
from wherein.analysis.finding import PROTEINS, TRUST, UNITS, Answer, answer
from wherein.analysis.history import space_of
from wherein.analysis.items import describe, plates_of
from wherein.analysis.neighbours import unit_scores
from wherein.analysis.placing import read_map
from wherein.atomic import atomic_path
from wherein.labels import vocabulary
from wherein.queries import is_file, read_examples
from wherein.readers import UnreadableImage
from wherein.summary import stage_summary
from wherein.tables import read_tables, write_tsv
from wherein.views.cell_pictures import CropImages
from wherein.views.composites import composite, contrast, fitted, legend_in_words, median_limits, reduced
from wherein.views.examples import FieldImages
from wherein.views.pages import environment

log = logging.getLogger(__name__)

LISTS = ("qc", "cells", "embeddings", "crops", "files")
"""Inputs of which there is one a shard."""

SHOWN = 12
"""Units that were asked with and are shown."""


def find_alike(
    query: str,
    model: str,
    level: str,
    inputs: dict[str, Any],
    settings: dict[str, Any],
    report: dict[str, Any],
    outputs: dict[str, str],
    summary: str | Path,
) -> None:
    """Answer a query with the proteins and units that look most like it.

    Args:
        query: a protein, a unit, or the path of a list of examples.
        model: name of the model.
        level: `cell` or `field`.
        inputs: paths proteins, unit_map, fields, samples, listed; lists of paths qc, cells, embeddings, crops, files.
        settings: what `find_settings` takes of the section `atlas`.
        report: section `report` of the configuration.
        outputs: paths proteins, units, trust, page, written.
        summary: results/summaries/find_alike/{asked}/{model}.json, written.

    Raises:
        QueryError: the run has nothing of this name.
    """
    with stage_summary(
        summary, "find_alike", f"{Path(summary).parent.name}/{model}", ("numpy", "scikit-learn")
    ) as told:
        units = open_units(
            inputs["embeddings"], inputs["fields"], inputs["cells"], inputs["qc"], level, samples=inputs["samples"]
        )
        units.table["plate"] = plates_of(units.table, inputs["fields"])
        atlas = read_atlas(inputs["proteins"])
        names = [str(name) for name in atlas.obs_names]
        shown = (units.table["protein"].notna() & ~units.table["control"]).to_numpy()
        codes = pd.Categorical(units.table["protein"].where(shown), names).codes.astype(np.int64)
        points = clustered_points(np.asarray(atlas.layers["scaled"]), atlas.obsm["X_pca"], settings["points"])
        items = describe(units.table, codes, len(names), np.asarray(points, float), vocabulary(settings["vocabulary"]))
        known = {name: atlas.obs[name].astype(str).to_numpy() for name in ("labels", "ensembl_ids")}
        items = items._replace(table=items.table.assign(**known))
        saved = read_map(inputs["unit_map"], level, space_of(inputs["embeddings"], units.features), units.features)
        asked = read_examples(query) if is_file(query) else query
        found = answer(asked, units.table, unit_scores(units, saved), codes, items, settings)
        for name, table, columns in (
            ("proteins", found.proteins, PROTEINS),
            ("units", found.units, UNITS),
            ("trust", found.trust, TRUST),
        ):
            write_tsv(outputs[name], table, columns)
        content = page_content(query, model, level, found, units.table, inputs, {**settings, **report})
        with atomic_path(outputs["page"]) as partial:
            partial.write_text(environment().get_template("find.html").render(**content), encoding="utf-8")
        told.counts = {
            "in": len(units.table),
            "kept": len(found.units),
            "less_alike": len(units.table) - len(found.units),
        }
        told.notes = found.notes
        told.extra = {"query": query, "kind": found.kind, "method": found.method, "seed": settings["seed"]}


def page_content(
    query: str,
    model: str,
    level: str,
    found: Answer,
    table: pd.DataFrame,
    inputs: dict[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What the template of the page is filled with.

    Args:
        query, model, level: as for `find_alike`.
        found: the answer.
        table: the units.
        inputs: paths crops, cells, files, listed.
        settings: sections `find` and `report`.
    """
    asked = table.iloc[found.asked[:SHOWN]]
    first = found.units.head(settings["pictures"])
    wanted = [*asked["unit_id"], *first["unit_id"]]
    pictures = unit_pictures(wanted, table, level, inputs, settings)
    rank = dict(zip(found.trust["example"], found.trust["rank"], strict=True))
    return {
        "version": __version__,
        "query": query,
        "model": model,
        "level": level,
        "kind": found.kind,
        "method": found.method,
        "notes": found.notes,
        "background": found.ranking.background if found.ranking else None,
        "n_asked": len(found.asked),
        "asked": [
            {"unit": unit, "protein": protein, "picture": pictures.get(unit), "rank": rank.get(unit)}
            for unit, protein in zip(asked["unit_id"], asked["protein"], strict=True)
        ],
        "units": [{**row, "picture": pictures.get(row["unit_id"])} for row in _rows(first)],
        "proteins": _rows(found.proteins),
        "total": len(found.units),
        "pixels": bool(pictures),
        "colours": legend_in_words(["protein", "nucleus", "microtubules", "er", "reference"]).capitalize(),
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def unit_pictures(
    wanted: Sequence[str], table: pd.DataFrame, level: str, inputs: dict[str, Any], settings: dict[str, Any]
) -> dict[str, str]:
    """Pictures of units as addresses that hold them; all of one source at one contrast.

    Args:
        wanted: names of units.
        table: the units, with source, field_id, version.
        level: `cell` or `field`.
        inputs: paths crops, cells, files, listed.
        settings: `cell_tile_px`, `low_percentile`, `high_percentile`.

    Returns:
        Unit -> `data:` address; units without pixels are left out.
    """
    own = table[table["unit_id"].isin(set(wanted))].drop_duplicates("unit_id")
    read = _crops if level == "cell" else _fields
    channels = read(own, inputs, settings["cell_tile_px"] * 2)
    source = dict(zip(own["unit_id"], own["source"], strict=True))
    limits: dict[str, list[Any]] = {}
    for unit, channel in channels.items():
        limits.setdefault(source[unit], []).append(
            contrast(channel, settings["low_percentile"], settings["high_percentile"])
        )
    common = {name: median_limits(each) for name, each in limits.items()}
    return {
        unit: _address(composite(channel, common[source[unit]]), settings["cell_tile_px"] if level == "cell" else 240)
        for unit, channel in channels.items()
    }


def _crops(own: pd.DataFrame, inputs: dict[str, Any], longest: int) -> dict[str, dict[str, np.ndarray]]:
    stores = {Path(path).stem for path in inputs["crops"]}
    ledger = read_tables(inputs["cells"], ["cell_id", "shard", "crop_index"])
    ledger = ledger[ledger["cell_id"].isin(set(own["unit_id"]))]
    ledger = ledger[ledger["crop_index"].notna() & ledger["shard"].isin(stores)]
    if not len(ledger):
        return {}
    images = CropImages(inputs["crops"]).read(ledger)
    return {unit: reduced(one, longest)[0] for unit, one in zip(ledger["cell_id"], images, strict=True)}


def _fields(own: pd.DataFrame, inputs: dict[str, Any], longest: int) -> dict[str, dict[str, np.ndarray]]:
    images = FieldImages(inputs["files"], inputs.get("listed"))
    found = {}
    for row in own.itertuples():
        try:
            found[row.unit_id] = reduced(images.read(row.field_id, row.version), longest)[0]
        except UnreadableImage as error:
            log.info("%s has no picture: %s", row.unit_id, error)
    return found


def _address(picture: np.ndarray, size: int) -> str:
    from PIL import Image

    held = BytesIO()
    Image.fromarray(fitted(picture, size)).save(held, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode()
