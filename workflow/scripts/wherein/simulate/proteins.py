"""The proteins that simulated sources show: real genes with their published locations, and which of them are drawn."""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

TABLES = Path(__file__).resolve().parents[4] / "resources" / "demo"

MULTI_SHARE = 0.4
"""Share of proteins with several locations."""


class Protein(NamedTuple):
    """One gene of the tables in resources/demo.

    Attributes:
        gene: symbol.
        ensembl_id: Ensembl gene id; for yeast the systematic name.
        published: locations as published.
        locations: where it is drawn: classes of `hpa19`, or the yeast terms of the table.
        reliability: as published; None for yeast.
        varies: `spatial`, `intensity` or None: how it differs from cell to cell, as published.
        cycle: whether its amount follows the cell cycle, as published.
    """

    gene: str
    ensembl_id: str
    published: tuple[str, ...]
    locations: tuple[str, ...]
    reliability: str | None = None
    varies: str | None = None
    cycle: bool = False


NAMES = {"human": ("proteins.tsv", "more_proteins.tsv"), "yeast": ("yeast_proteins.tsv",)}
"""Tables of each organism, the second for sources of more proteins than the first one has."""


def read_proteins(organism: str, number: int = 0) -> tuple[Protein, ...]:
    """Read the tables of an organism's proteins.

    A small source draws from the first table alone, whatever the others have.

    Args:
        organism: `human` or `yeast`.
        number: proteins wanted; as many tables are read as it takes, at least the first.

    Returns:
        The proteins in the order of the tables (by symbol).
    """
    found: tuple[Protein, ...] = ()
    for name in NAMES[organism]:
        if not found or len(found) < number:
            found += _read(name)
    return found


@cache
def _read(name: str) -> tuple[Protein, ...]:
    with open(TABLES / name, newline="", encoding="utf-8") as lines:
        return tuple(
            Protein(
                gene=row["gene"],
                ensembl_id=row.get("ensembl_id") or row["orf"],
                published=tuple(row["published"].split(";")),
                locations=tuple(row["locations"].split(";")),
                reliability=row.get("reliability") or None,
                varies=row.get("varies") or None,
                cycle=row.get("cycle") == "yes",
            )
            for row in csv.DictReader(lines, delimiter="\t")
        )


def classes_of(proteins: tuple[Protein, ...]) -> list[str]:
    """Every location of these proteins, sorted."""
    return sorted({location for protein in proteins for location in protein.locations})


def draw_proteins(organism: str, number: int, rng: np.random.Generator) -> list[Protein]:
    """Draw proteins so that they are spread over all classes, MULTI_SHARE of them in several places.

    Classes take turns in a drawn order. In its turn a class takes a protein that is there alone, or, as often as
    MULTI_SHARE asks for, one that is there among other places; proteins that vary from cell to cell come first.

    Args:
        organism: `human` or `yeast`.
        number: how many.
        rng: source of the draw.

    Returns:
        The proteins, each once, in a random order.

    Raises:
        ValueError: the table has fewer.
    """
    table = read_proteins(organism, number)
    if number > len(table):
        raise ValueError(
            f"a simulated source of {number} proteins: resources/demo has {len(table)} for {organism}; set `proteins` "
            f"to at most {len(table)}, and `fields_per_protein` higher for more fields"
        )
    order = [table[i] for i in rng.permutation(len(table))]
    order.sort(key=lambda protein: not (protein.varies == "spatial" or protein.cycle))
    classes = [classes_of(table)[i] for i in rng.permutation(len(classes_of(table)))]
    drawn: list[Protein] = []
    while len(drawn) < number:
        for place in classes:
            found = _next_of(place, order, drawn)
            if found is not None and len(drawn) < number:
                drawn.append(found)
                order.remove(found)
    return [drawn[i] for i in rng.permutation(number)]


def _next_of(place: str, order: list[Protein], drawn: list[Protein]) -> Protein | None:
    """First protein of a class in `order`, of the kind (one place or several) that `drawn` has too little of."""
    several = sum(len(protein.locations) > 1 for protein in drawn)
    wants_several = several < MULTI_SHARE * len(drawn)
    here = [protein for protein in order if place in protein.locations]
    fitting = [protein for protein in here if (len(protein.locations) > 1) == wants_several]
    return next(iter(fitting or here), None)
