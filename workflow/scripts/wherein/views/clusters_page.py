"""What the page of clusters says beside the atlas's clusters: agreement, stability, further groups, figures."""

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import pandas as pd

from wherein.views.model import read_tsv
from wherein.views.pages import UNKNOWN_HERE, file_name, percent, share
from wherein.views.site_tables import paths_of
from wherein.views.style import words

GROUPINGS = {
    "tree": "clusters of the tree",
    "leiden": "communities (Leiden)",
    "tree of single locations": "clusters of the single-location proteins by themselves, as many as locations",
    "leiden of single locations": "communities of the single-location proteins by themselves",
}
"""How the page calls groupings."""

MOST_TERMS = 8
"""Most terms of a group."""


def grouped(inputs: dict[str, Any], folder: Path, max_q: float) -> dict[str, dict[str, Any]]:
    """Copy the figures of groups, and tell what the template shows of each model.

    Args:
        inputs: paths by the names that the rule `build_site` gives them.
        folder: of the pages, with the folder `figures/{model}`.
        max_q: highest false discovery rate of a term that counts as found.

    Returns:
        model -> `agreement`, `stability` (by cluster of the tree), `communities`, `named`, `within`, `trees`,
        `organelles`.
    """
    names = ("groups_of_proteins", "agreement", "spectrum", "group_terms", "within_figures", "cell_tree_figures")
    paths = {name: paths_of(inputs, name) for name in names}
    found = {}
    for number, path in enumerate(paths["groups_of_proteins"]):
        model = Path(path).parent.name
        own = {name: Path(each[number]) for name, each in paths.items()}
        groups, terms = read_tsv(str(own["groups_of_proteins"])), read_tsv(str(own["group_terms"]))
        told = [_group(row, terms, max_q) for row in groups.to_dict("records")]
        spectrum = anndata.read_h5ad(own["spectrum"], backed="r").uns["wherein"]
        inside = [row for row in told if row["grouping"] == "within"]
        found[model] = {
            "agreement": [_agreement(row) for row in read_tsv(str(own["agreement"])).to_dict("records")],
            "stability": {row["cluster"]: row for row in told if row["grouping"] == "tree"},
            "communities": [row for row in told if row["grouping"] == "leiden"],
            "named": [row for row in told if row["grouping"] == "named"],
            "within": _by_label(inside, own["within_figures"], folder / "figures" / model),
            "trees": _copied(own["cell_tree_figures"], folder / "figures" / model),
            "organelles": _organelles(json.loads(str(spectrum))["organelles"]),
        }
    return found


def verdict(stability: float | None) -> str:
    """How far to trust a cluster, in the words of Hennig 2007."""
    if stability is None or pd.isna(stability):
        return "not judged"
    if stability >= 0.85:
        return "highly stable"
    return "valid" if stability >= 0.75 else "in doubt" if stability >= 0.6 else "not to be trusted"


def _group(row: dict[str, Any], terms: pd.DataFrame, max_q: float) -> dict[str, Any]:
    own = terms[(terms["grouping"] == row["grouping"]) & (terms["cluster"].astype(str) == str(row["cluster"]))]
    labelled = isinstance(row["label"], str)
    own = own[own["label"] == row["label"]] if labelled else own[own["label"].isna()]
    located = isinstance(row["top_location"], str)
    return {
        "grouping": row["grouping"],
        "label": row["label"] if labelled else None,
        "cluster": str(row["cluster"]),
        "n_proteins": int(row["n_proteins"]),
        "genes": str(row["genes"]).split(";"),
        "top": f"{row['top_location']} {row['top_location_share']:.0%}" if located else "no published location",
        "stability": share(row["stability"]),
        "chance": share(row["stability_chance"]),
        "draws": UNKNOWN_HERE if pd.isna(row["draws"]) else int(row["draws"]),
        "resampled": row["resampled"] if isinstance(row["resampled"], str) else None,
        "verdict": verdict(row["stability"]),
        "terms": [_term(each, max_q) for each in own.sort_values("p").head(MOST_TERMS).to_dict("records")],
    }


def _term(row: dict[str, Any], max_q: float) -> dict[str, Any]:
    return {
        "term": row["term"],
        "term_id": row["term_id"] if isinstance(row["term_id"], str) else "",
        "library": words(str(row["gene_set_library"])),
        **{name: row[name] for name in ("k", "n", "K", "N", "n_tests")},
        "p": f"{row['p']:.2g}",
        "q": f"{row['q']:.2g}",
        "genes": str(row["genes"]).replace(";", ", "),
        "sure": row["q"] <= max_q,
    }


def _agreement(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": GROUPINGS.get(row["grouping"], row["grouping"]),
        **{name: int(row[name]) for name in ("n_proteins", "n_clusters", "n_locations", "permutations")},
        **{name: share(row[name]) for name in ("ari", "ari_low", "ari_high", "ami", "ari_chance_high")},
        "p": UNKNOWN_HERE if pd.isna(row["p"]) else f"{row['p']:.2g}",
    }


def _organelles(said: dict[str, Any]) -> dict[str, Any]:
    known = said["top"][0] is not None and not pd.isna(said["top"][0])
    return {
        **said,
        "known": known,
        "top": [percent(each) for each in said["top"]],
        "chance": percent(said["chance"]),
        "p": f"{said['p']:.2g}" if known else UNKNOWN_HERE,
    }


def _by_label(rows: list[dict[str, Any]], source: Path, folder: Path) -> list[dict[str, Any]]:
    figures = {Path(name).stem: name for name in _copied(source, folder)}
    told = []
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        told.append(
            {
                "label": label,
                "clusters": own,
                "n_proteins": sum(row["n_proteins"] for row in own),
                "figure": figures.get(file_name(label)),
            }
        )
    return told


def _copied(source: Path, folder: Path) -> list[str]:
    """Copy the figures of a folder; their places below `folder`."""
    target = folder / source.name
    target.mkdir(parents=True, exist_ok=True)
    names = []
    for path in sorted(source.glob("*.png")):
        shutil.copyfile(path, target / path.name)
        names.append(f"{source.name}/{path.name}")
    return names
