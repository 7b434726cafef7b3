"""Gene sets from annotations that say on which evidence, and by whom: what the atlas' own images told can stay out."""

import csv
import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wherein.atomic import atomic_path
from wherein.summary import stage_summary

GAF_COLUMNS = {"gene": 2, "qualifier": 3, "term": 4, "evidence": 6, "aspect": 8, "assigned_by": 14}
"""Places of columns in a GAF file, from 0 (Gene Ontology Consortium, annotation file format 2.2)."""

UPWARDS = ("is_a:", "relationship: part_of")
"""Relations of the ontology along which an annotation holds for the term above as well."""


class AnnotationError(ValueError):
    """A file of annotations or an ontology that cannot be read; the message says what was found and expected."""


class Annotation(NamedTuple):
    """One line: a gene, a term, and why.

    Attributes:
        gene: symbol or identifier.
        term: identifier.
        name: of the term; empty if the file does not say.
        evidence: code, as IDA or IEA; empty if the file does not say.
        assigned_by: group; empty if the file does not say.
    """

    gene: str
    term: str
    name: str
    evidence: str
    assigned_by: str


class Ontology(NamedTuple):
    """Terms of an OBO file.

    Attributes:
        names: of each term that is not obsolete.
        parents: terms right above each, of the same namespace: a function that is part of a process is no process.
        instead: present identifier of each alternative one.
    """

    names: dict[str, str]
    parents: dict[str, tuple[str, ...]]
    instead: dict[str, str]


def make_gene_sets(name: str, source: Mapping[str, Any], target: str | Path, summary: str | Path) -> None:
    """Make gene sets from annotations.

    Args:
        name: of the gene sets.
        source: annotations (path), ontology (path or None), aspect, leave_out_assigned_by, leave_out_evidence.
        target: results/gene_sets/{name}.gmt, written: terms by identifier, genes by name.
        summary: results/summaries/make_gene_sets/{name}.json, written: annotations read, used, and left out by reason.

    Raises:
        AnnotationError: a file cannot be read, or nothing is left.
    """
    with stage_summary(summary, "make_gene_sets", name) as told:
        ontology = read_obo(source["ontology"]) if source["ontology"] else None
        counts = {"in": 0, "kept": 0, "negated": 0, "assigned_by": 0, "evidence": 0, "obsolete": 0}
        direct: dict[str, set[str]] = defaultdict(set)
        names: dict[str, str] = dict(ontology.names) if ontology else {}
        for one, negated in read_annotations(source["annotations"], source["aspect"]):
            counts["in"] += 1
            term = ontology.instead.get(one.term, one.term) if ontology else one.term
            reason = _reason(one._replace(term=term), negated, source, ontology)
            counts[reason] += 1
            if reason == "kept":
                direct[term].add(one.gene)
                names.setdefault(term, one.name or term)
        sets = propagated(direct, ontology) if ontology else direct
        if not sets:
            raise AnnotationError(f"gene sets {name}: of {counts['in']} annotations none is left ({counts})")
        with atomic_path(target) as partial, partial.open("w", encoding="utf-8", newline="") as written:
            for term in sorted(sets):
                written.write("\t".join((f"{names.get(term, term)} ({term})", term, *sorted(sets[term]))) + "\n")
        told.counts = counts
        told.notes = _notes(name, source, counts, ontology)


def read_annotations(path: str | Path, aspect: str) -> Iterator[tuple[Annotation, bool]]:
    """Read a GAF file, or a table with the columns gene and term.

    Args:
        path: plain or .gz.
        aspect: which ontology of a GAF file: C, P or F.

    Yields:
        Each annotation of the aspect, and whether it says that the gene is NOT there.

    Raises:
        AnnotationError: there is no such file, or it is neither.
    """
    lines = _lines(path)
    first = next(lines, "")
    if not first.startswith("!"):
        yield from _table(path, first, lines)
        return
    for number, line in enumerate(lines, start=2):
        if line.startswith("!") or not line.strip():
            continue
        parts = line.split("\t")
        if len(parts) < 15:
            raise AnnotationError(f"{path}, line {number}: found {len(parts)} columns, a GAF file has 15 or more")
        own = {column: parts[place].strip() for column, place in GAF_COLUMNS.items()}
        if own["aspect"] == aspect:
            negated = "NOT" in own["qualifier"].split("|")
            yield Annotation(own["gene"], own["term"], "", own["evidence"], own["assigned_by"]), negated


def read_obo(path: str | Path) -> Ontology:
    """Read an ontology.

    Args:
        path: an OBO file, plain or .gz.

    Raises:
        AnnotationError: there is no such file, or it has no terms.
    """
    names, above, instead, spaces = {}, {}, {}, {}
    for stanza in _stanzas(_lines(path)):
        identifier = next((line[4:].strip() for line in stanza if line.startswith("id: ")), "")
        if not identifier or "is_obsolete: true" in stanza:
            continue
        names[identifier] = next((line[6:].strip() for line in stanza if line.startswith("name: ")), identifier)
        # behind the identifier may stand qualifiers in braces, and a comment behind them
        above[identifier] = [re.split("[{!]", line)[0].split()[-1] for line in stanza if line.startswith(UPWARDS)]
        spaces[identifier] = next((line for line in stanza if line.startswith("namespace: ")), "")
        instead.update({line[8:].strip(): identifier for line in stanza if line.startswith("alt_id: ")})
    if not names:
        raise AnnotationError(f"{path}: found no [Term] in it; biology.gene_sets.*.ontology names an OBO file")
    parents = {
        term: tuple(parent for parent in own if spaces.get(parent) == spaces[term]) for term, own in above.items()
    }
    return Ontology(names, parents, instead)


def propagated(direct: Mapping[str, set[str]], ontology: Ontology) -> dict[str, set[str]]:
    """Give every term the genes of the terms below it.

    Args:
        direct: genes annotated to each term.
        ontology: its terms.

    Returns:
        Genes of each term that has any.
    """
    above: dict[str, frozenset[str]] = {}

    def ancestors(term: str) -> frozenset[str]:
        if term not in above:
            # a loop in a broken ontology ends here
            above[term] = frozenset()
            own = ontology.parents.get(term, ())
            above[term] = frozenset(own).union(*(ancestors(parent) for parent in own))
        return above[term]

    found: dict[str, set[str]] = defaultdict(set)
    for term, genes in direct.items():
        for every in (term, *ancestors(term)):
            found[every] |= genes
    return dict(found)


def _reason(one: Annotation, negated: bool, source: Mapping[str, Any], ontology: Ontology | None) -> str:
    if negated:
        return "negated"
    if one.assigned_by in source["leave_out_assigned_by"]:
        return "assigned_by"
    if one.evidence in source["leave_out_evidence"]:
        return "evidence"
    return "obsolete" if ontology and one.term not in ontology.names else "kept"


def _notes(name: str, source: Mapping[str, Any], counts: Mapping[str, int], ontology: Ontology | None) -> list[str]:
    groups, codes = source["leave_out_assigned_by"], source["leave_out_evidence"]
    notes = [f"{name}: {counts['kept']} of {counts['in']} annotations count; {counts['negated']} say NOT"]
    if groups:
        notes.append(f"{name}: {counts['assigned_by']} annotations assigned by {', '.join(groups)} are left out")
    if codes:
        notes.append(f"{name}: {counts['evidence']} annotations of the evidence {', '.join(codes)} are left out")
    if counts["obsolete"]:
        notes.append(f"{name}: {counts['obsolete']} annotations name a term that the ontology does not have")
    if ontology is None:
        notes.append(f"{name}: no ontology is given: terms hold what was annotated to them alone, not to terms below")
    return notes


def _table(path: str | Path, first: str, lines: Iterator[str]) -> Iterator[tuple[Annotation, bool]]:
    delimiter = "\t" if "\t" in first else ","
    header = next(csv.reader([first], delimiter=delimiter), [])
    if not {"gene", "term"} <= set(header):
        raise AnnotationError(
            f"{path}: found the columns {', '.join(header) or 'none'}; annotations are a GAF file, whose first line "
            "begins with !gaf-version, or a table with the columns gene and term"
        )
    for row in csv.DictReader(lines, header, delimiter=delimiter):
        own = {field: (row.get(field) or "").strip() for field in Annotation._fields}
        if own["gene"] and own["term"]:
            yield Annotation(**own), "NOT" in (row.get("qualifier") or "").split("|")


def _stanzas(lines: Iterator[str]) -> Iterator[list[str]]:
    """Lines of each [Term]."""
    stanza: list[str] | None = None
    for line in lines:
        if line.startswith("["):
            if stanza:
                yield stanza
            stanza = [] if line.strip() == "[Term]" else None
        elif stanza is not None:
            stanza.append(line)
    if stanza:
        yield stanza


def _lines(path: str | Path) -> Iterator[str]:
    path = Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as text:
            yield from (line.rstrip("\r\n") for line in text)
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise AnnotationError(f"{path} cannot be read as UTF-8 text, plain or gzipped ({error})") from error
