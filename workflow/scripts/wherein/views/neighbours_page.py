"""Data of the pages of neighbours and of the label audit: scripts that the browser loads a piece at a time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wherein.reasons import KEPT
from wherein.views.model import read_tsv
from wherein.views.site_data import Pictures, put
from wherein.views.site_tables import RunTables, paths_of

TABLES = ("nearest_proteins", "nearest_units", "audit", "audit_samples", "audit_scores", "neighbour_summaries")
"""Inputs of the rule `build_site` that these pages are made from, one a model."""

CHUNK = 100
"""Proteins whose neighbours one file holds."""

TILES = 5
"""Pictures of a protein in a strip."""

UNITS = 8
"""Nearest cells or fields that are shown of each protein's most typical one."""

MOST = 2000
"""Rows of the audit that a page holds, the most contradicted first."""

TYPICAL = 4
"""Proteins that stand for a location."""

FLAGS = ("same_label", "same_reagent", "same_sample", "same_plate")


def pictured(inputs: Mapping[str, Any]) -> list[str]:
    """Cells that the page of neighbours points at: typical ones of each protein, and the nearest to them."""
    wanted: list[str] = []
    for path in paths_of(dict(inputs), "nearest_units"):
        table = pd.read_parquet(path, columns=["unit_id", "neighbour", "rank"])
        near = table[table["rank"] <= UNITS]
        wanted += [*near["unit_id"].unique(), *near["neighbour"]]
    return list(dict.fromkeys(wanted))


def neighbour_pages(
    folder: Path, inputs: Mapping[str, Any], run: RunTables, pictures: Pictures, max_q: float
) -> list[dict[str, Any]]:
    """Write the data of both pages.

    Args:
        folder: where the scripts go.
        inputs: paths of TABLES, one a model each.
        run: the run's tables.
        pictures: where pictures are.
        max_q: q from which a finding counts as sure.

    Returns:
        For the templates, of each model: name, level, max_q, notes on its neighbours, and of `audit` and
        `audit_samples` each n, n_tests, n_sure, counts by finding, permutations, test, correction, universe, truth.
    """
    proteins = sorted({*run.judged["protein"].dropna()}, key=lambda name: (name.casefold(), name))
    place = {name: number for number, name in enumerate(proteins)}
    put(folder / "tiles.js", "tiles", _tiles(run, proteins, pictures))
    paths = {name: paths_of(dict(inputs), name) for name in TABLES}
    told = []
    for number, model in enumerate(run.models):
        own = {name: each[number] for name, each in paths.items()}
        near = _near(own, place, pictures)
        for start in range(0, len(proteins), CHUNK):
            name = f"near-{model.name}-{start // CHUNK:03d}"
            put(folder / f"{name}.js", name, {one: near[one] for one in proteins[start : start + CHUNK] if one in near})
        tables = {name: read_tsv(own[name]) for name in ("audit", "audit_samples")}
        content = {name: _audit(table, place) for name, table in tables.items()}
        content["typical"] = typical(tables["audit"], place)
        put(folder / f"audit-{model.name}.js", f"audit-{model.name}", content)
        summary = json.loads(Path(own["neighbour_summaries"]).read_text(encoding="utf-8"))
        truth = json.loads(Path(own["audit_scores"]).read_text(encoding="utf-8"))
        level = model.settings.get("level", "cell")
        told.append(
            {"name": model.name, "level": level, "max_q": max_q, "neighbour_notes": summary["notes"]}
            | {"exactly": summary.get("units_found") != "approximately"}
            | {name: _told(table, truth[kind], max_q) for (name, table), kind in
               zip(tables.items(), ("proteins", "samples"), strict=True)}
        )  # fmt: skip
    return told


def _tiles(run: RunTables, proteins: list[str], pictures: Pictures) -> dict[str, Any]:
    """Up to TILES pictures of cells of each protein, and one of a field, in the order of the list of proteins."""
    cells: dict[str, list[list[int]]] = {}
    kept = run.ledger[run.ledger["status"] == KEPT]
    for protein, cell in zip(kept["protein"], kept["cell_id"], strict=True):
        picture = pictures.cells.of_cell.get(cell)
        if picture is not None:
            cells.setdefault(protein, []).append([picture.sheet, picture.coloured, picture.plain])
    fields: dict[str, list[int]] = {}
    for row in run.judged[["protein", "field_id", "version"]].itertuples():
        seen = pictures.fields.get((row.field_id, row.version))
        if seen is not None:
            fields.setdefault(row.protein, [seen.sheet, seen.tile])
    # spread over all: the first ones are of one field, and lie at its upper edge
    spread = {name: own[:: max(1, len(own) // TILES)][:TILES] for name, own in cells.items()}
    return {"cells": [spread.get(name, []) for name in proteins], "field": [fields.get(name) for name in proteins]}


def _near(paths: Mapping[str, str], place: dict[str, int], pictures: Pictures) -> dict[str, dict[str, Any]]:
    """Neighbours of each protein: `n` (place, cosine, distance, flags), and of its typical unit `u`."""
    found: dict[str, dict[str, Any]] = {}
    for row in pd.read_parquet(paths["nearest_proteins"]).itertuples():
        own = found.setdefault(row.protein, {"n": [], "u": []})
        flags = [_flag(getattr(row, name)) for name in FLAGS]
        own["n"].append([place.get(row.neighbour, -1), row.cosine, row.distance, flags])
    units = pd.read_parquet(paths["nearest_units"])
    units = units[units["rank"] <= UNITS]
    for row in units.drop_duplicates(["protein", "rank"]).itertuples():
        own = found.setdefault(row.protein, {"n": [], "u": []})
        if not own["u"]:
            own["unit"] = [row.unit_id, _picture(row.unit_id, pictures)]
        flags = [_flag(getattr(row, name)) for name in FLAGS[1:]]
        near = place.get(row.neighbour_protein, -1)
        own["u"].append([row.neighbour, _picture(row.neighbour, pictures), near, row.cosine, row.distance, flags])
    return found


def _flag(value: Any) -> int | None:
    return None if value is None or pd.isna(value) else int(bool(value))


def _picture(unit: str, pictures: Pictures) -> list[Any] | None:
    """Where a unit's picture is: kind, sheet and tile."""
    cell = pictures.cells.of_cell.get(unit)
    if cell is not None:
        return ["cells", cell.sheet, cell.coloured]
    field = pictures.fields.get(tuple(unit.rsplit("@", 1))) if "@" in unit else None
    return None if field is None else ["fields", field.sheet, field.tile]


COLUMNS = (
    *("rank", "protein", "sample", "cell_lines", "n_units", "annotated", "suggested", "finding", "score"),
    *("support_annotated", "support_suggested", "p", "q", "n_neighbours", "same_plate", "predicted"),
)
"""Columns of the audit that the page has as they are."""


def _audit(table: pd.DataFrame, place: dict[str, int]) -> dict[str, Any]:
    """The first rows of an audit; neighbours as places in the list of proteins."""
    rows = table.head(MOST)
    lists = {
        name: [[place.get(one, -1) for one in text.split(";")] if isinstance(text, str) else [] for text in rows[name]]
        for name in ("neighbours", "neighbours_say")
    }
    return {**{name: rows[name] for name in COLUMNS}, **lists, "total": len(table)}


def typical(table: pd.DataFrame, place: dict[str, int]) -> dict[str, list[int]]:
    """Proteins that stand for each location: those of it alone first, then those whose neighbours support them most."""
    fits = table[table["finding"].isin(["fits"]) & table["annotated"].notna() & table["protein"].isin(place.keys())]
    fits = fits.assign(_several=fits["annotated"].str.count(";"))
    fits = fits.sort_values(["_several", "support_annotated"], ascending=[True, False], kind="stable")
    found: dict[str, list[int]] = {}
    for protein, said in zip(fits["protein"], fits["annotated"], strict=True):
        for name in said.split(";"):
            if len(own := found.setdefault(name, [])) < TYPICAL:
                own.append(place[protein])
    return found


def _told(table: pd.DataFrame, truth: dict[str, Any] | None, max_q: float) -> dict[str, Any]:
    """What the template says of one audit."""
    tested = table[table["p"].notna()]
    sure = tested[tested["q"] <= max_q]
    one = tested.iloc[0] if len(tested) else None
    return {
        "n": len(table),
        "n_tests": len(tested),
        "n_sure": int((sure["finding"] != "fits").sum()),
        "counts": {str(name): int(count) for name, count in sure["finding"].value_counts().items() if name != "fits"},
        "permutations": 0 if one is None else int(tested["permutations"].max()),
        **{name: "" if one is None else str(one[name]) for name in ("test", "universe", "correction")},
        "truth": truth if truth and truth["n_wrong"] else None,
    }
