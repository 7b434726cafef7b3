"""Protein complexes as files have them, and which of them a run can be asked about."""

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wherein.analysis.gene_sets import GeneSet, GeneSetError, read_gmt

COLUMNS = {
    "id": ("ComplexID", "complex_id"),
    "name": ("ComplexName", "complex_name"),
    "organism": ("Organism", "organism"),
    "genes": ("subunits(Gene name)", "subunits_gene_name"),
}
"""Columns of CORUM's coreComplexes.txt, in releases up to 4.1 and since 5.0."""


class Complex(NamedTuple):
    """A complex and those of its subunits that a run has.

    Attributes:
        name: as the file has it.
        identifier: likewise; None if it has none.
        n_subunits: different genes.
        n_missing: genes that no protein of the run stands for.
        proteins: places of the run's proteins that are subunits, rising.
    """

    name: str
    identifier: str | None
    n_subunits: int
    n_missing: int
    proteins: tuple[int, ...]


def read_complexes(path: str | Path, organism: str) -> list[GeneSet]:
    """Read complexes from CORUM's table or a GMT file.

    Args:
        path: plain or .gz.
        organism: complexes of which organism count, where the table says it.

    Returns:
        One set a complex.

    Raises:
        GeneSetError: the file is missing, is neither, or has no complex of the organism.
    """
    path = Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as text:
            lines = text.readlines()
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise GeneSetError(f"complexes {path} cannot be read ({error}); biology.complexes.file names them") from error
    head = lines[0].rstrip("\r\n").replace('"', "").split("\t") if lines else []
    place = {
        column: next((head.index(name) for name in names if name in head), None) for column, names in COLUMNS.items()
    }
    if place["name"] is None or place["genes"] is None:
        return read_gmt(path)
    try:
        # a quote that nothing closes would else take all lines behind it for one cell
        rows = list(csv.reader(lines, delimiter="\t", strict=True))
    except csv.Error as error:
        raise GeneSetError(f"complexes {path}: a cell begins with a quote that is not closed ({error})") from error
    cells = [
        {column: row[at] if at is not None and at < len(row) else "" for column, at in place.items()}
        for row in rows[1:]
    ]
    kept = [row for row in cells if not row["organism"] or row["organism"] == organism]
    if not kept:
        there = ", ".join(sorted({row["organism"] for row in cells}))
        raise GeneSetError(f"complexes {path}: found none of {organism}; biology.complexes.organism may be {there}")
    found = []
    for row in kept:
        genes = frozenset(gene.strip().upper() for gene in row["genes"].split(";") if gene.strip() not in ("", "None"))
        if genes:
            found.append(GeneSet(row["name"], f"CORUM:{row['id']}" if row["id"] else None, genes))
    return found


def complexes_of_run(sets: Sequence[GeneSet], symbols: dict[str, frozenset[str]]) -> list[Complex]:
    """Find the subunits that a run has.

    Args:
        sets: complexes.
        symbols: protein -> its genes' symbols, in the order of the run.

    Returns:
        Complexes of which the run has two subunits and two proteins or more: two reagents of one gene are alike in any
        case. Of several with the same proteins and subunits, the first.
    """
    of_gene: dict[str, list[int]] = {}
    for place, genes in enumerate(symbols.values()):
        for gene in genes:
            of_gene.setdefault(gene, []).append(place)
    found, seen = [], set()
    for one in sets:
        proteins = tuple(sorted({place for gene in one.genes for place in of_gene.get(gene, ())}))
        missing = sum(gene not in of_gene for gene in one.genes)
        if min(len(proteins), len(one.genes) - missing) < 2 or (proteins, one.genes) in seen:
            continue
        seen.add((proteins, one.genes))
        found.append(Complex(one.term, one.term_id, len(one.genes), missing, proteins))
    return found


def exclusive(complexes: Sequence[Complex]) -> list[bool]:
    """Choose complexes as cytoself 2022 does (Methods, "Ground-truth labels for localization").

    All subunits are in the run, no subunit is in two of the chosen, and each has more than one. The paper does not say
    which of two that share a subunit it takes: here the larger one, of equal ones the first by name. (Of the 55 that
    OpenCell's 1,310 targets hold whole in CORUM's core set, this chooses 34; the paper has 38 of another release.)

    Returns:
        For each complex whether it is chosen.
    """
    order = sorted(range(len(complexes)), key=lambda place: (-len(complexes[place].proteins), complexes[place].name))
    chosen, taken = [False] * len(complexes), set()
    for place in order:
        own = set(complexes[place].proteins)
        if complexes[place].n_missing == 0 and complexes[place].n_subunits > 1 and not own & taken:
            chosen[place] = True
            taken |= own
    return chosen
