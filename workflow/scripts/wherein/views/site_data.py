"""Data of the pages: scripts that put compact tables into the browser's memory, no server needed."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.tested import STATED
from wherein.atomic import atomic_path
from wherein.reasons import KEPT
from wherein.views.cell_pictures import CellPictures, Picture
from wherein.views.examples import most_saturated, sharpest
from wherein.views.field_pictures import FieldPicture
from wherein.views.maps import how_laid_out, location_order, sampled, told
from wherein.views.releases import mark_of, moves, release_data
from wherein.views.site_tables import ModelTables, RunTables, neighbours, predicted_locations, top_classes
from wherein.views.style import MULTI, UNKNOWN, class_styles

CHUNK = 40
"""Proteins whose cells one file holds."""

MEASURES = ("n_nuclei", "n_marker", "contrast", "marker_fit")
"""Measures of quality control that a field's row shows; sharpness and saturation are put together from several."""


@dataclass
class Pictures:
    """Where the pictures are.

    Attributes:
        cells: of cells.
        fields: (field_id, version) -> of fields.
        field_heights: rows of each sheet of fields.
    """

    cells: CellPictures
    fields: dict[tuple[str, str], FieldPicture]
    field_heights: list[int]


def write_data(folder: Path, run: RunTables, shown: pd.DataFrame, pictures: Pictures, settings: dict[str, Any]) -> int:
    """Write all data of the pages.

    Args:
        folder: where the scripts go.
        run: the run's tables.
        shown: the cells whose pictures there are.
        pictures: where they are.
        settings: the section `report` of the configuration.

    Returns:
        Number of proteins.
    """
    proteins = sorted({*run.judged["protein"].dropna()}, key=lambda name: (name.casefold(), name))
    place = {name: number for number, name in enumerate(proteins)}
    field_place = {
        key: number for number, key in enumerate(zip(run.judged["field_id"], run.judged["version"], strict=True))
    }
    put(folder / "run.js", "run", _run(run, pictures, settings))
    put(folder / "fields.js", "fields", _fields(run, pictures))
    put(folder / "proteins.js", "proteins", _proteins(run, proteins, pictures))
    put(folder / "releases.js", "releases", release_data(run.changes, place))
    cell_rows = _cells(run, shown, pictures, field_place)
    near = {model.name: neighbours(model) for model in run.models}
    shares = {model.name: _shares(model, run.judged) for model in run.models}
    fields_of = run.judged.assign(place=range(len(run.judged))).groupby("protein")["place"].apply(list).to_dict()
    amounts = _amounts(run.abundance)
    for start in range(0, len(proteins), CHUNK):
        content = {
            name: {
                "cells": cell_rows.get(name, []),
                "contrast": pictures.cells.contrast_of.get(name, []),
                "fields": fields_of.get(name, []),
                "neighbours": {model: found[name] for model, found in near.items() if found.get(name)},
                "shares": {model: found[name] for model, found in shares.items() if found.get(name)},
                "abundance": amounts.get(name, []),
            }
            for name in proteins[start : start + CHUNK]
        }
        put(folder / f"protein-{start // CHUNK:03d}.js", f"protein-{start // CHUNK:03d}", content)
    for model in run.models:
        put(folder / f"map-{model.name}.js", f"map-{model.name}", _map(model, run, place, pictures, settings))
        put(
            folder / f"heterogeneity-{model.name}.js",
            f"heterogeneity-{model.name}",
            _heterogeneity(model, shown, pictures),
        )
    return len(proteins)


def put(path: Path, name: str, content: Any) -> None:
    """Write a script that hands `content` to the page under `name`: a page from a folder may not fetch JSON."""
    text = json.dumps(plain(content), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # U+2028 and U+2029 end a line in old JavaScript, and `</script` would end the script in a page
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("</", "<\\/")
    with atomic_path(path) as partial:
        partial.write_text(f"wherein.put({json.dumps(name)},{text});\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """Any value of a table as JSON knows it: null for missing, four significant digits for reals."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return None if value is None or value is pd.NA or value is pd.NaT else str(value)


def _run(run: RunTables, pictures: Pictures, settings: dict[str, Any]) -> dict[str, Any]:
    seen = {name for model in run.models for name in (*model.class_names, *told(model.units["location"]))}
    order = location_order([model.scores.get("vocabulary") for model in run.models], seen)
    return {
        "models": [
            {"name": model.name, "level": model.settings.get("level", "cell"), "classes": model.class_names}
            for model in run.models
        ],
        "styles": {name: list(style) for name, style in class_styles(order).items()},
        "cellTile": settings["cell_tile_px"],
        "fieldTile": settings["field_tile_px"],
        "maxQ": settings["max_q"],
        "cellSheets": pictures.cells.heights,
        "fieldSheets": pictures.field_heights,
    }


def _fields(run: RunTables, pictures: Pictures) -> dict[str, Any]:
    judged = run.judged
    counts = run.ledger.groupby(["field_id", "version"])["status"].agg(
        outlined="size", kept=lambda status: int((status == KEPT).sum())
    )
    keys = list(zip(judged["field_id"], judged["version"], strict=True))
    found = [pictures.fields.get(key) for key in keys]
    columns = ("field_id", "version", "source", "protein", "cell_line", "reagent", "condition", "control", "status",
               "reason", "detail", "override", "height", "width", "pixel_size_um", "release", "pixels")  # fmt: skip
    return {
        **{name: judged[name] for name in columns if name in judged},
        "labels": [list(labels) if labels is not None else [] for labels in judged["labels"]],
        **{name: _whole(judged[name]) for name in MEASURES if name in judged},
        "focus": sharpest(judged),
        "saturated": most_saturated(judged),
        "outlined": [int(counts["outlined"].get(key, 0)) for key in keys],
        "kept": [int(counts["kept"].get(key, 0)) for key in keys],
        "picture": [None if each is None else [each.sheet, each.tile] for each in found],
        "shownAt": [None if each is None else f"{each.colours}; {each.contrast}" for each in found],
    }


def _amounts(abundance: pd.DataFrame) -> dict[str, list[Any]]:
    """Protein -> [cell line, condition, signal, its ends, q, detected, replicates, background] of each of its rows."""
    columns = ["cell_line", "condition", "signal", "signal_low", "signal_high", "q", "detected", "n_samples",
               "background_from"]  # fmt: skip
    found: dict[str, list[Any]] = {}
    for name, values in zip(abundance["protein"], abundance[columns].to_numpy(object).tolist(), strict=True):
        found.setdefault(name, []).append(values)
    return found


def _whole(values: pd.Series) -> list[Any]:
    """Counts read as real numbers, because some are null, as whole numbers again."""
    return [None if pd.isna(value) else int(value) if float(value).is_integer() else value for value in values]


def _proteins(run: RunTables, proteins: list[str], pictures: Pictures) -> dict[str, Any]:
    by_protein = dict(list(run.judged.groupby("protein")))
    kept = run.ledger[run.ledger["status"] == KEPT].groupby("protein").size()
    first: dict[str, Picture] = {}
    owner = dict(zip(run.ledger["cell_id"], run.ledger["protein"], strict=True))
    for cell_id, picture in pictures.cells.of_cell.items():
        first.setdefault(owner[cell_id], picture)
    groups = [by_protein[name] for name in proteins]
    return {
        "name": proteins,
        "ensembl": [together(rows["ensembl_ids"]) for rows in groups],
        "labels": [together(rows["labels"]) for rows in groups],
        "lines": [sorted(set(rows["cell_line"].dropna())) for rows in groups],
        "reagents": [sorted(set(rows["reagent"].dropna())) for rows in groups],
        "sources": [sorted(set(rows["source"])) for rows in groups],
        "reliability": [sorted(set(rows["reliability"].dropna())) for rows in groups],
        "n_fields": [len(rows) for rows in groups],
        "n_passed": [int((rows["reason"] == "passed").sum()) for rows in groups],
        "n_cells": [int(kept.get(name, 0)) for name in proteins],
        "picture": [_where(first.get(name)) for name in proteins],
        "chunk": [number // CHUNK for number in range(len(proteins))],
        "models": {model.name: _of_model(model, run, proteins) for model in run.models},
    }


def _of_model(model: ModelTables, run: RunTables, proteins: list[str]) -> dict[str, Any]:
    predicted = predicted_locations(model, run.judged)
    obs = model.proteins.obs
    cluster = dict(zip(obs.index.astype(str), obs["cluster"].astype(str), strict=True))
    location = dict(zip(obs.index.astype(str), obs["location"].astype(object), strict=True))
    striking = model.heterogeneity.sort_values("spread_z", ascending=False).drop_duplicates("gene").set_index("gene")
    return {
        "predicted": [predicted.get(name, []) for name in proteins],
        "cluster": [cluster.get(name) for name in proteins],
        "location": [location.get(name) or None for name in proteins],
        "spread_z": [striking["spread_z"].get(name) for name in proteins],
        "q": [striking["q"].get(name) for name in proteins],
        "moves": {**moves(model.moved), **mark_of(model.moved, proteins)},
    }


def together(lists: Iterable[Any]) -> list[str]:
    """The items of several lists, each once, in the order in which they come; None is an empty list."""
    return list(dict.fromkeys(item for each in lists if each is not None for item in each))


def _where(picture: Picture | None) -> list[int] | None:
    return None if picture is None else [picture.sheet, picture.coloured, picture.plain]


def _cells(
    run: RunTables, shown: pd.DataFrame, pictures: Pictures, field_place: dict[tuple[str, str], int]
) -> dict[str, list[Any]]:
    """Protein -> [label, field, sheet, coloured, plain, area, {model: [[class, probability], ...]}] of each cell."""
    said: dict[str, dict[str, list[tuple[str, float]]]] = {}
    wanted = set(shown["cell_id"])
    for model in run.models:
        own = model.predictions[model.predictions["unit_id"].isin(wanted)]
        for unit, best in zip(own["unit_id"], top_classes(own, model.class_names, 2), strict=True):
            if best:
                said.setdefault(unit, {})[model.name] = best
    rows: dict[str, list[Any]] = {}
    for cell in shown.itertuples():
        picture = pictures.cells.of_cell[cell.cell_id]
        place = field_place[(cell.field_id, cell.version)]
        where = [picture.sheet, picture.coloured, picture.plain]
        rows.setdefault(cell.protein, []).append([cell.label, place, *where, cell.area_um2, said.get(cell.cell_id, {})])
    return rows


def _shares(model: ModelTables, judged: pd.DataFrame) -> dict[str, list[tuple[str, int]]]:
    """Protein -> (class, number of units for which it is the most probable), the most frequent first."""
    if not model.class_names or not len(model.predictions):
        return {}
    named = model.predictions.merge(judged[["field_id", "version", "protein"]], on=["field_id", "version"])
    best = [found[0][0] if found else None for found in top_classes(named, model.class_names, 1)]
    counts = named.assign(best=best).dropna(subset=["best", "protein"]).groupby("protein")["best"].value_counts()
    shares: dict[str, list[tuple[str, int]]] = {}
    for (protein, name), count in counts.items():
        shares.setdefault(protein, []).append((name, int(count)))
    return shares


def _map(
    model: ModelTables, run: RunTables, place: dict[str, int], pictures: Pictures, settings: dict[str, Any]
) -> dict[str, Any]:
    whole = model.units.dropna(subset=["umap_1", "umap_2"])
    units = sampled(whole, settings["points_per_class"])
    # cells with a picture last, so that they lie on top and are found first under the pointer
    seen = units["unit_id"].isin(pictures.cells.of_cell.keys())
    units = pd.concat([units[~seen], units[seen]])
    of_unit = dict(zip(model.predictions["unit_id"], top_classes(model.predictions, model.class_names, 1), strict=True))
    protein = units[["field_id", "version"]].merge(
        run.judged[["field_id", "version", "protein"]], on=["field_id", "version"], how="left"
    )["protein"]
    best = [found[0][0] if (found := of_unit.get(unit)) else None for unit in units["unit_id"]]
    obs = model.proteins.obs
    umap = np.asarray(model.proteins.obsm.get("X_umap", np.full((len(obs), 2), np.nan)), float)
    known = np.isfinite(umap).all(axis=1)
    by_field = [pictures.fields.get(key) for key in zip(units["field_id"], units["version"], strict=True)]
    return {
        "total": len(whole),
        "unit": units["unit_id"].tolist(),
        "x": units["umap_1"],
        "y": units["umap_2"],
        "z": units["umap_3"] if "umap_3" in units and units["umap_3"].notna().any() else None,
        "layout": how_laid_out(model.proteins, model.units),
        "protein": [place.get(name, -1) for name in protein],
        "control": units["control"].fillna(False).astype(bool),
        "picture": [_where(pictures.cells.of_cell.get(unit)) for unit in units["unit_id"]],
        "fieldPicture": [None if each is None else [each.sheet, each.tile] for each in by_field],
        **_coded("location", told(units["location"])),
        **_coded("line", units["cell_line"].fillna("not given")),
        **_coded("predicted", pd.Series(best, dtype=object).fillna("none")),
        "proteins": {
            "x": umap[known, 0],
            "y": umap[known, 1],
            "z": umap[known, 2] if umap.shape[1] > 2 else None,
            "layout": how_laid_out(model.proteins),
            "protein": [place.get(str(name), -1) for name in obs.index[known]],
            **_coded("location", told(obs["location"])[known]),
        },
    }


def _coded(name: str, values: pd.Series) -> dict[str, Any]:
    """A column of few different texts as their list and numbers into it, `Multi` and unlabelled last."""
    order = sorted(set(values), key=lambda text: (text in (MULTI, UNKNOWN), text))
    number = {text: index for index, text in enumerate(order)}
    return {f"{name}Names": order, name: [number[text] for text in values]}


def _heterogeneity(model: ModelTables, shown: pd.DataFrame, pictures: Pictures) -> dict[str, Any]:
    table, fields, samples = model.heterogeneity, model.heterogeneity_fields, model.heterogeneity_samples
    both = model.compartments[model.compartments["labels"] == "both"]
    # the statement of a table is the same in every row, and the page says it in words
    own = {"cells_low", "cells_high", *STATED}
    ends = {key: (_ids(rows.head(3)), _ids(rows.tail(3))) for key, rows in _by_brightness(shown)}
    keys = list(zip(fields["field_id"], fields["version"], strict=True))
    return {
        "proteins": {
            **{name: table[name] for name in table.columns if name not in own},
            **{end: [examples_of(ids, pictures) for ids in table[f"cells_{end}"]] for end in ("low", "high")},
        },
        "fields": {
            **{name: fields[name] for name in fields.columns},
            "dim": [examples_of(ends.get(key, ("", ""))[0], pictures) for key in keys],
            "bright": [examples_of(ends.get(key, ("", ""))[1], pictures) for key in keys],
        },
        "samples": {
            **{name: samples[name] for name in samples.columns if name not in own},
            **{end: [examples_of(ids, pictures) for ids in samples[f"cells_{end}"]] for end in ("low", "high")},
        },
        "labels": {name: model.cell_labels[name] for name in model.cell_labels.columns},
        "exclusive": {name: model.exclusive[name] for name in model.exclusive.columns if name not in own},
        "compartments": {name: both[name] for name in both.columns},
    }


def _by_brightness(shown: pd.DataFrame) -> Iterable[tuple[Any, pd.DataFrame]]:
    """The shown cells of each field, the dimmest in the protein channel first; none without that channel."""
    if "mean_protein" not in shown:
        return []
    return shown.sort_values("mean_protein").groupby(["field_id", "version"])


def _ids(cells: pd.DataFrame) -> str:
    return ";".join(cells["cell_id"])


def examples_of(ids: Any, pictures: Pictures) -> list[Any]:
    """Pictures of the cells in a list joined by `;`; cells without a picture are left out."""
    if not isinstance(ids, str):
        return []
    found = [(cell, pictures.cells.of_cell.get(cell)) for cell in ids.split(";")]
    return [[cell, *_where(picture)] for cell, picture in found if picture is not None]  # type: ignore[misc]
