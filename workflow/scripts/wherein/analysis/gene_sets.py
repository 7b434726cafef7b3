"""Gene sets as files have them, the names of genes in them, and which of a run's proteins each set holds."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from wherein.identifiers import Identifiers

LOSSES = ("what", "library", "identifier", "symbol", "how")
"""results/biology/{model}/identifiers.tsv"""

CELLULAR_COMPONENTS = frozenset(
    ("GO:0005575", "GO:0005634", "GO:0005730", "GO:0005737", "GO:0005739", "GO:0005783", "GO:0005794", "GO:0005829")
)
"""Cellular component, nucleus, nucleolus, cytoplasm, mitochondrion, endoplasmic reticulum, Golgi apparatus, cytosol."""

ID_IN_NAME = re.compile(r"\s*\(([A-Za-z]+[:_]\w+|R-[A-Z]{3}-\d+)\)\s*$")
"""An identifier in brackets at the end of a term's name, as in `nucleolus (GO:0005730)`."""

ID = re.compile(r"[A-Za-z]+[:_]\w+|R-[A-Z]{3}-\d+")
"""The second column of a GMT file, where it holds an identifier rather than a description or an address."""


class GeneSetError(ValueError):
    """A file of gene sets that cannot be read; the message says where and what was expected."""


class GeneSet(NamedTuple):
    """One line of a GMT file.

    Attributes:
        term: name, without an identifier.
        term_id: identifier; None if the line has none.
        genes: symbols, in upper case.
    """

    term: str
    term_id: str | None
    genes: frozenset[str]


def read_gmt(path: str | Path) -> list[GeneSet]:
    """Read gene sets: a line a set, tab-separated, name, identifier or description, then symbols.

    Args:
        path: a GMT file, plain or compressed (.gz).

    Returns:
        The sets in the order of the file, sets without genes left out.

    Raises:
        GeneSetError: the file is missing or is no GMT file.
    """
    path = Path(path)
    if not path.is_file():
        raise GeneSetError(f"gene sets {path}: there is no such file; biology.gene_sets names a GMT file")
    opened = gzip.open if path.suffix == ".gz" else open
    sets = []
    try:
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                parts = [part.strip() for part in line.rstrip("\r\n").split("\t")]
                if not any(parts):
                    continue
                if len(parts) < 3:
                    raise GeneSetError(
                        f"gene sets {path}, line {number}: found {len(parts)} columns separated by tabs; "
                        "a GMT file has a name, an identifier or description, and one gene or more"
                    )
                genes = frozenset(part.upper() for part in parts[2:] if part)
                if genes:
                    sets.append(GeneSet(*_named(parts[0], parts[1]), genes))
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise GeneSetError(f"gene sets {path}: neither UTF-8 text nor text compressed by gzip ({error})") from error
    return sets


def _named(name: str, second: str) -> tuple[str, str | None]:
    in_name = ID_IN_NAME.search(name)
    term = name[: in_name.start()] if in_name else name
    if ID.fullmatch(second):
        return term, second
    return term, in_name.group(1) if in_name else None


def members_in_universe(sets: list[GeneSet], symbols: dict[str, frozenset[str]]) -> list[list[str]]:
    """Proteins of the universe that each set holds.

    Args:
        sets: gene sets.
        symbols: the universe: protein -> its genes' symbols in upper case.

    Returns:
        For each set, names of its proteins in the order of `symbols`.
    """
    proteins_of: dict[str, list[int]] = {}
    for place, own in enumerate(symbols.values()):
        for gene in own:
            proteins_of.setdefault(gene, []).append(place)
    names = list(symbols)
    known = proteins_of.keys()
    return [[names[i] for i in sorted({i for gene in one.genes & known for i in proteins_of[gene]})] for one in sets]


def worth_testing(members: list[list[str]], universe: int, smallest: int, largest: int | None) -> list[int]:
    """Places of the sets worth a test: neither too small nor too large in the universe, nor all of it."""
    top = universe - 1 if largest is None else min(largest, universe - 1)
    return [index for index, own in enumerate(members) if smallest <= len(own) <= top]


def has_cellular_components(sets: Iterable[GeneSet]) -> bool:
    """Whether gene sets are, or hold, the Gene Ontology's cellular components, which the atlas' own images feed."""
    return any(one.term_id in CELLULAR_COMPONENTS for one in sets)


def symbols_of_proteins(
    obs: Any, known: Identifiers | None
) -> tuple[dict[str, frozenset[str]], list[dict[str, str | None]]]:
    """Gene symbols of each protein.

    Args:
        obs: of proteins.h5ad: columns genes and ensembl_ids, by name of the protein.
        known: table of identifiers; without one, symbols are taken as they stand.

    Returns:
        protein -> its genes' symbols in upper case, and rows of identifiers.tsv: what was translated and what was lost.
        A protein without a symbol is found by its Ensembl ids, if there is a table.
    """
    symbols, rows = {}, []
    for name, genes, ids in zip(obs.index, obs["genes"], obs["ensembl_ids"], strict=True):
        own = _parts(genes) or (_parts(ids) if known else [])
        found, told = translated(own, known)
        symbols[str(name)] = frozenset(found[gene] for gene in own)
        if not own:
            told = [{"identifier": str(name), "symbol": None, "how": "no_symbol"}]
        rows += [{"what": "protein", "library": None, **row} for row in told]
    return symbols, rows


def sets_by_symbol(
    sets: list[GeneSet], known: Identifiers | None, library: str
) -> tuple[list[GeneSet], list[dict[str, str | None]]]:
    """Gene sets with their genes under their present symbols.

    Args:
        sets: gene sets.
        known: table of identifiers; without one nothing is translated.
        library: name of the gene sets.

    Returns:
        The sets, and rows of identifiers.tsv. A name that the table does not know stays as it is.
    """
    if known is None:
        return sets, []
    found, rows = translated(sorted({gene for one in sets for gene in one.genes}), known)
    named = [one._replace(genes=frozenset(found[gene] for gene in one.genes)) for one in sets]
    return named, [{"what": "gene_set", "library": library, **row} for row in rows]


def translated(names: Iterable[str], known: Identifiers | None) -> tuple[dict[str, str], list[dict[str, str | None]]]:
    """Bring names of genes to symbols in upper case.

    Args:
        names: symbols, identifiers or synonyms.
        known: table of identifiers, or None.

    Returns:
        name -> symbol (the name itself where it is not known or not clear), and for each name that is not a present
        symbol: identifier, symbol (None if lost), how (`translated`, `unknown` or `ambiguous`).
    """
    found, rows = {}, []
    for name in names:
        gene = known.find(name) if known else None
        found[name] = (gene.symbol if gene and gene.symbol else name).upper()
        if known is None or (found[name] == name.upper() and gene and gene.symbol):
            continue
        how = "translated" if gene and gene.symbol else "ambiguous" if known.is_ambiguous(name) else "unknown"
        rows.append({"identifier": name, "symbol": found[name] if how == "translated" else None, "how": how})
    return found, rows


def read_genome(path: str | Path, known: Identifiers | None) -> frozenset[str]:
    """Read the genes of a genome, against which enrichment may be asked for beside the run's own proteins.

    Args:
        path: a table with a column `symbol`, plain or .gz, of which only protein-coding genes count where it has a
            column `gene_type`; or one name a line.
        known: table of identifiers, or None.

    Returns:
        Symbols in upper case.

    Raises:
        GeneSetError: there is no such file, it is no text, or holds no gene.
    """
    path = Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as text:
            lines = [line.rstrip("\r\n") for line in text if line.strip()]
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise GeneSetError(f"genome {path} cannot be read ({error}); biology.genome names a table or a list") from error
    head = re.split(r"[\t,]", lines[0]) if lines else []
    names = lines
    if "symbol" in head:
        table = csv.DictReader(lines, delimiter="\t" if "\t" in lines[0] else ",")
        coding = [
            row for row in table if (row.get("gene_type", "protein-coding") or "").replace("_", "-") == "protein-coding"
        ]
        names = [row["symbol"] or "" for row in coding]
    symbols = frozenset(translated((name.strip() for name in names if name.strip()), known)[0].values())
    if not symbols:
        raise GeneSetError(f"genome {path}: found no gene; it needs a column `symbol`, or one gene a line")
    return symbols


def _parts(text: Any) -> list[str]:
    return [part.strip() for part in str(text).replace("/", ";").split(";") if part.strip()]
