"""Names of genes: symbols, Ensembl, UniProt and Entrez identifiers brought to one gene each, and which are lost."""

import csv
import gzip
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})(?:\.\d+)?", re.IGNORECASE)
"""An Ensembl gene id, its version apart."""

HEADERS = {
    "symbol": ("symbol", "approved symbol", "gene name", "gene_symbol", "hgnc_symbol"),
    "ensembl": ("ensembl_gene_ids", "ensembl_gene_id", "ensembl gene id", "ensembl", "ensembl id", "gene"),
    "uniprot": ("uniprot_ids", "uniprot_id", "uniprot"),
    "entrez": ("entrez", "entrez_id", "ncbi gene id", "geneid"),
    "synonyms": ("synonyms", "aliases", "alias_symbol", "alias symbols", "prev_symbol", "previous symbols"),
}
"""What tables of identifiers call their columns, in lower case."""

SEPARATORS = re.compile(r"[;|,]\s*")


class IdentifierError(ValueError):
    """A table of identifiers cannot be used."""


class Gene(NamedTuple):
    """A gene as a table of identifiers knows it.

    Attributes:
        symbol: its present symbol; None where the table has none.
        ensembl_ids: its Ensembl gene ids.
    """

    symbol: str | None
    ensembl_ids: tuple[str, ...]


class Identifiers:
    """Genes by any of their names.

    A symbol goes before an identifier, that before a synonym. A name that stands for several genes in the same column
    (an Ensembl id of two records, a synonym of two genes) is `ambiguous` and is not translated: the first would be as
    wrong as the second.

    Attributes:
        ambiguous: names that stand for several genes.
    """

    def __init__(self, genes: Iterable[tuple[Gene, dict[str, list[str]]]]) -> None:
        self._of: dict[str, Gene] = {}
        self.ambiguous: set[str] = set()
        named = list(genes)
        for column in ("symbol", "ensembl", "uniprot", "entrez", "synonyms"):
            own: dict[str, Gene] = {}
            doubtful: set[str] = set()
            for gene, names in named:
                for key in (_key(name) for name in names.get(column, ())):
                    if own.setdefault(key, gene) != gene:
                        doubtful.add(key)
            for key, gene in own.items():
                if key in self._of or key in self.ambiguous:
                    continue
                if key in doubtful:
                    self.ambiguous.add(key)
                else:
                    self._of[key] = gene

    def find(self, name: str) -> Gene | None:
        """The gene of a name, None for one that no gene, or more than one, has."""
        return self._of.get(_key(name))

    def is_ambiguous(self, name: str) -> bool:
        """Whether several genes have this name."""
        return _key(name) in self.ambiguous


def ensembl_id(name: str) -> str | None:
    """An Ensembl gene id without its version, None for any other name."""
    found = ENSEMBL.fullmatch(name.strip())
    return found.group(1).upper() if found else None


def read_identifiers(path: str | Path) -> Identifiers:
    """Read a table of identifiers.

    Args:
        path: TSV or CSV, plain or gzipped, one row a gene, with a column of symbols or of Ensembl ids, and any of
            UniProt, Entrez and synonyms, known by HEADERS; several names in one cell stand between `;`, `|` or `,`.

    Raises:
        IdentifierError: there is no such file, or neither of the two columns in it.
    """
    try:
        content = Path(path).read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise IdentifierError(f"{path} cannot be read as a table of identifiers ({error})") from error
    first = text.split("\n", 1)[0]
    rows = list(csv.reader(io.StringIO(text), delimiter="\t" if "\t" in first else ","))
    header = [name.strip().casefold() for name in rows[0]] if rows else []
    place = {
        column: next((header.index(name) for name in names if name in header), None)
        for column, names in HEADERS.items()
    }
    if place["symbol"] is None and place["ensembl"] is None:
        raise IdentifierError(
            f"{path}: found the columns {', '.join(header) or 'none'}; a table of identifiers needs one of "
            f"{', '.join(HEADERS['symbol'])} or of {', '.join(HEADERS['ensembl'])}"
        )
    return Identifiers(_gene(row, place) for row in rows[1:] if row)


def _gene(row: list[str], place: dict[str, int | None]) -> tuple[Gene, dict[str, list[str]]]:
    names = {
        column: [name for name in SEPARATORS.split(row[at].strip()) if name] if at is not None and at < len(row) else []
        for column, at in place.items()
    }
    ids = tuple(dict.fromkeys(found for name in names["ensembl"] if (found := ensembl_id(name) or name)))
    return Gene(next(iter(names["symbol"]), None), ids), names


def _key(name: str) -> str:
    """What counts in a name: an Ensembl id without its version; nothing but upper and lower case set aside else."""
    return ensembl_id(name) or name.strip().upper()
