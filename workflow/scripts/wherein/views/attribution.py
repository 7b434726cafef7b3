"""Licences and attributions of everything that a run is made from; what nobody gave is said, never left out."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wherein.views.pages import UNKNOWN_HERE
from wherein.views.site_tables import RunTables, paths_of

SOURCE_KINDS = {
    "table": "images of a table",
    "crops": "crops made elsewhere",
    "vectors": "vectors made elsewhere",
    "hpa": "Human Protein Atlas",
    "opencell": "OpenCell",
    "simulated": "simulated cells",
}
"""What the report calls each kind of source."""

DRAWN_FROM = {
    "yeast": "drawn by this workflow; names and locations of proteins from the yeast GFP collection under stress "
    "(Breker, Gymrek & Schuldiner 2013)",
    "human": "drawn by this workflow; names and locations of proteins from the Human Protein Atlas of 2021 (CC BY-SA)",
}
"""Attribution of simulated cells: resources/README.md says where their proteins come from."""


class Credit(NamedTuple):
    """A row of the table of licences.

    Attributes:
        name: of the source, the weights or the gene sets, as the configuration has it.
        kind: what it is.
        release: its release, version or checksum.
        licence: as given, or how to give it.
        attribution: as given, or how to give it.
        missing: whether licence or attribution were not given.
    """

    name: str
    kind: str
    release: str
    licence: str
    attribution: str
    missing: bool


def attributions(
    run: RunTables, sources: Mapping[str, Any], gene_sets: Mapping[str, Any], inputs: dict[str, Any]
) -> list[Credit]:
    """List licences and attributions of the sources, the weights and the gene sets of this run.

    Args:
        run: its tables.
        sources: the section `sources` of the configuration.
        gene_sets: the key `biology.gene_sets`: a path, an address, a library and organism, or
            annotations, by name; and the complexes.
        inputs: paths by the names that the rule `build_site` gives them.

    Returns:
        Sources, weights, gene sets, each in the order of the configuration.
    """
    rows = [_source(name, source) for name, source in sources.items()]
    used = {model.settings.get("weights") for model in run.models}
    rows += [_weights(row) for row in _rows(paths_of(inputs, "weights")) if row["name"] in used]
    told = {row["file"]: row for row in _rows(paths_of(inputs, "gene_set_licences"))}
    rows += [_gene_sets(name, source, told) for name, source in gene_sets.items()]
    return rows


def _source(name: str, source: Mapping[str, Any]) -> Credit:
    licence, attribution = source.get("licence"), source.get("attribution")
    if source["kind"] == "simulated":
        licence = licence or "none needed"
        attribution = attribution or DRAWN_FROM["yeast" if source.get("mode") == "yeast" else "human"]
    return Credit(
        name,
        SOURCE_KINDS[source["kind"]],
        str(source.get("release", UNKNOWN_HERE)),
        licence or f"not given: set sources.{name}.licence",
        attribution or f"not given: set sources.{name}.attribution",
        not (licence and attribution),
    )


def _weights(row: Mapping[str, str]) -> Credit:
    return Credit(
        row["name"],
        "weights",
        f"sha256 {row['sha256'][:12]}",
        row["licence"] or "not given: fill in its row of resources/weights.tsv",
        row["source"] or "not given: fill in its row of resources/weights.tsv",
        not (row["licence"] and row["source"]),
    )


def _gene_sets(name: str, source: Any, told: Mapping[str, Mapping[str, str]]) -> Credit:
    """A library is looked up by its name, else what configuration calls it; a file by its name."""
    if isinstance(source, Mapping) and "annotations" in source:
        names, origin = [Path(source["annotations"]).name, f"{name}.gmt"], str(source["annotations"])
    elif isinstance(source, Mapping):
        names = [source["library"], f"{name}.gmt"]
        origin = f"library {source['library']} ({source.get('organism', 'human')})"
    else:
        names, origin = [Path(source).name, f"{name}.gmt"], str(source)
    row = next((told[each] for each in names if each in told), {})
    how = f"not given: add a row for {names[0]} to resources/gene_sets/licences.tsv"
    return Credit(
        name,
        "gene sets",
        row.get("release") or UNKNOWN_HERE,
        row.get("licence") or how,
        f"{row['source']} [{origin}]" if row.get("source") else f"not given; taken from {origin}",
        not (row.get("licence") and row.get("source")),
    )


def _rows(paths: Sequence[str]) -> list[dict[str, str]]:
    if not paths:
        return []
    with open(paths[0], newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))
