"""Fields of a table of vectors made elsewhere: each row, or the rows of each field_id, is one, without pixels."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wherein.digest import digest
from wherein.exchange.vector_reading import NAME, open_vectors, vector_digests
from wherein.exchange.vector_table import Place
from wherein.identifiers import Gene, IdentifierError, Identifiers, ensembl_id, read_identifiers
from wherein.labels import spelling
from wherein.reasons import FIELD_REASONS, check_reason
from wherein.sources.hpa import GeneWords, LocationTable, read_locations
from wherein.sources.table import LIST_COLUMNS, TEXT_COLUMNS, TableError, items, text, truth

log = logging.getLogger(__name__)

Row = dict[str, Any]
"""A row of fields.parquet as the catalog plans it, by column; `vectors` lists its rows of the table."""

SHOWN = 10
"""Names that a note lists."""

UNKNOWN = check_reason("unknown_identifier", FIELD_REASONS)
NO_VECTOR = check_reason("no_vector", FIELD_REASONS)
NOT_FINITE = check_reason("not_finite", FIELD_REASONS)
DUPLICATE = check_reason("duplicate_vector", FIELD_REASONS)


@dataclass
class _Work:
    """What is known while a table is read, row by row.

    Attributes:
        fields: by field_id.
        columns: our columns that the table has.
        seen: digests of the rows of each name, without the number after it.
        lost: names that no gene has, in their order; ambiguous ones apart.
        translated: number of names that became another symbol.
        unlabelled: genes that the table of locations does not have.
        problems: sentences on what is wrong.
    """

    name: str
    source: Row
    identifiers: Identifiers | None
    locations: LocationTable | None
    by_symbol: dict[str, tuple[str, GeneWords]]
    columns: frozenset[str] = frozenset()
    fields: dict[str, Row] = field(default_factory=dict)
    seen: dict[str, list[str]] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    ambiguous: dict[str, None] = field(default_factory=dict)
    translated: int = 0
    unlabelled: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def vector_fields(name: str, source: Row) -> tuple[list[Row], list[str]]:
    """List the fields of a table of vectors.

    At level field each row is a field: named by the column field_id, else `{source}_{name of the protein}`; further
    rows of one name are `{...}~2` and so on, other preparations of the protein, or duplicates where their numbers are
    the same. At level cell the rows of one field_id (one protein, without that column) are the cells of one field.

    Args:
        name: of the source.
        source: its configuration, with defaults.

    Returns:
        Columns of fields.parquet that the table knows, `roles` (none), `dtype`, `version` and `vectors`: a list of
        Place; and sentences on what was found.

    Raises:
        TableError: the table cannot be read, or contradicts itself.
    """
    try:
        identifiers = read_identifiers(source["identifiers"]) if source["identifiers"] else None
    except IdentifierError as error:
        raise TableError(f"sources.{name}.identifiers: {error}") from error
    locations = read_locations(source["labels"]) if source["labels"] else None
    by_symbol = {words.symbol.upper(): (gene, words) for gene, words in locations.genes.items()} if locations else {}
    work = _Work(name, source, identifiers, locations, by_symbol)
    beside = _Probabilities(name, source)
    table = open_vectors(source["table"], source["key"], source["features"], source["columns"])
    for first, meta, vectors in table.blocks():
        work.columns = frozenset(meta.columns)
        rows = meta.to_dict("records")
        names = [_own_name(row) for row in rows]
        places, more = beside.of(rows, first)
        reasons = _faults(vectors)
        for number, told in enumerate(vector_digests(vectors, more)):
            place = Place(0, first + number, places[number], told, *reasons[number])
            _add(work, rows[number], names[number], place)
    if work.problems:
        raise TableError("\n".join([f"{source['table']}, {sentence}" for sentence in work.problems[:SHOWN]]))
    if not work.fields:
        raise TableError(f"{source['table']}: there is no row; one row a vector is needed (sources.{name}.table)")
    for row in work.fields.values():
        row["version"] = digest([place.digest for place in row["vectors"]])
    return list(work.fields.values()), [*table.notes, *beside.notes, *_notes(work)]


def _own_name(row: Row) -> str | None:
    """What a row calls itself, and a table of probabilities too: its gene, its Ensembl id, or its field."""
    for column in (NAME, "genes", "ensembl_ids", "field_id"):
        if found := text(row.get(column) or ""):
            return found
    return None


def _faults(vectors: np.ndarray) -> list[tuple[str | None, str | None]]:
    """Why each vector cannot be used, and what was found; None for those that can."""
    width = vectors.shape[1]
    told: list[tuple[str | None, str | None]] = []
    for known, missing in zip(np.isfinite(vectors).sum(axis=1), np.isnan(vectors).sum(axis=1), strict=True):
        if missing == width:
            told.append((NO_VECTOR, "no value of the vector is there"))
        elif known < width:
            told.append((NOT_FINITE, f"{width - known} of {width} values are missing or no finite numbers"))
        else:
            told.append((None, None))
    return told


def _add(work: _Work, cells: Row, name: str | None, place: Place) -> None:
    """Put one row of the table into its field."""
    field_row = _described(work, cells, name)
    base, explicit = field_row["field_id"], "field_id" in work.columns and bool(text(cells.get("field_id") or ""))
    if name is None and not field_row["control"]:
        place = place._replace(reason=UNKNOWN, detail="the row has no name")
    elif field_row.pop("unknown"):
        place = place._replace(reason=UNKNOWN, detail=f"{name} is in {work.source['identifiers']} no name of one gene")
    field_row.pop("unknown", None)
    if work.source["level"] == "cell":
        _add_cell(work, field_row, place)
        return
    seen = work.seen.setdefault(base, [])
    number = max(len(seen), 1)
    # a name with a number may be the table's own
    while field_row["field_id"] in work.fields:
        number += 1
        field_row["field_id"] = f"{base}~{number}"
    if seen:
        if place.digest in seen and place.reason is None:
            place = place._replace(reason=DUPLICATE, detail=f"the same numbers as in another row of {base}")
        elif explicit and place.reason is None:
            place = place._replace(reason=DUPLICATE, detail=f"another row has the field_id {base}")
    seen.append(place.digest)
    work.fields[field_row["field_id"]] = {**field_row, "vectors": [place]}


def _add_cell(work: _Work, field_row: Row, place: Place) -> None:
    known = work.fields.setdefault(field_row["field_id"], {**field_row, "vectors": []})
    differing = [key for key, value in field_row.items() if known[key] != value]
    if differing:
        work.problems.append(
            f"row {place.row + 1} of the vectors: the field {field_row['field_id']!r} has another "
            f"{', '.join(differing)} than in the row where it is first; cells of one field share what is known of it: "
            f"give the table a column field_id that tells fields apart, or name it under sources.{work.name}.columns"
        )
    seen = work.seen.setdefault(field_row["field_id"], [])
    if place.digest in seen and place.reason is None:
        place = place._replace(reason=DUPLICATE, detail="the same numbers as another cell of the field")
    seen.append(place.digest)
    known["vectors"].append(place._replace(number=len(known["vectors"])))


def _described(work: _Work, cells: Row, name: str | None) -> Row:
    """What a row of the table says of its field, in columns of fields.parquet."""

    def cell(column: str) -> str:
        return cells.get(column) or ""

    row: Row = {"field_id": text(cell("field_id")), "roles": [], "dtype": "float32"}
    row |= {column: text(cell(column)) for column in TEXT_COLUMNS}
    row |= {column: items(cell(column)) for column in LIST_COLUMNS}
    row["cell_line"] = row["cell_line"] or work.source["cell_line"]
    try:
        row["control"] = truth(cell("control"))
    except ValueError as error:
        raise TableError(f"{work.source['table']}: {error} (column control)") from error
    if NAME in cells and name:
        row["ensembl_ids" if ensembl_id(name) else "genes"] = items(name)
    row["unknown"] = False
    if not row["control"]:
        _translate(work, row)
        _label(work, row)
    shown = "/".join(row["genes"] or row["ensembl_ids"]) or name or ("control" if row["control"] else "unnamed")
    row["field_id"] = row["field_id"] or f"{work.name}_{shown}"
    if row["sample"] is None and row["reagent"] is None and not row["control"]:
        # nobody tells the antibody or tag: the protein stands for it, or all rows would be one preparation
        row["sample"] = "/".join(part for part in (shown, row["cell_line"], row["condition"]) if part)
    return row | {"pixel_size_um": None, "full_scale": None}


def _translate(work: _Work, row: Row) -> None:
    """Bring the names of a row's genes to symbols and Ensembl ids, in place; note what is lost."""
    row["ensembl_ids"] = [ensembl_id(gene) or gene for gene in row["ensembl_ids"]]
    if work.identifiers is None:
        return
    asked = row["genes"] or row["ensembl_ids"]
    found: list[Gene] = []
    for gene in asked:
        known = work.identifiers.find(gene)
        if known is not None:
            found.append(known)
            work.translated += known.symbol != gene
        else:
            (work.ambiguous if work.identifiers.is_ambiguous(gene) else work.lost)[gene] = None
    if found:
        row["genes"] = list(dict.fromkeys(gene.symbol or gene.ensembl_ids[0] for gene in found))
        ids = [*row["ensembl_ids"], *(known for gene in found for known in gene.ensembl_ids)]
        row["ensembl_ids"] = list(dict.fromkeys(ids))
    elif asked and work.source["unknown"] == "reject":
        row["unknown"] = True


def _label(work: _Work, row: Row) -> None:
    """Give a row without locations those of the table of locations, with what else that says of its genes, in place."""
    if work.locations is None:
        return
    known = [words for gene in row["ensembl_ids"] if (words := work.locations.genes.get(gene))]
    known = known or [work.by_symbol[gene.upper()][1] for gene in row["genes"] if gene.upper() in work.by_symbol]
    if not known:
        work.unlabelled["/".join(row["genes"] or row["ensembl_ids"])] = None
        return
    for column in ("variation_intensity", "variation_spatial", "cycle_dependent"):
        row[column] = list(dict.fromkeys(term for words in known for term in getattr(words, column)))
    row["reliability"] = row["reliability"] or next((words.reliability for words in known if words.reliability), None)
    if row["labels"]:
        return
    row["labels_main"] = list(dict.fromkeys(term for words in known for term in words.main))
    row["labels"] = list(dict.fromkeys([*row["labels_main"], *(term for words in known for term in words.others)]))
    ids = (work.locations.go_ids.get(spelling(term)) for term in row["labels"])
    row["go_ids"] = list(dict.fromkeys(go_id for go_id in ids if go_id))


def _name_beside(row: Row, by_field: bool) -> str | None:
    """What a row calls itself beside another table: its field where both tables name fields, of which genes have many.

    Args:
        row: of a table.
        by_field: whether both tables have the column field_id.
    """
    return (text(row.get("field_id") or "") if by_field else None) or _own_name(row)


class _Probabilities:
    """Rows of the table of class probabilities, by the names that rows of vectors have, or by their order."""

    def __init__(self, name: str, source: Row) -> None:
        self.notes: list[str] = []
        self._name, self._level = name, source["level"]
        self._row: dict[str, int] | None = None
        self._names: list[str | None] | None = None
        self._values: np.ndarray | None = None
        if not source["probabilities"]:
            return
        self._path = source["probabilities"]["table"]
        table = open_vectors(self._path, None, None, source["columns"])
        self._rows: list[Row] = []
        parts = []
        for _, meta, values in table.blocks():
            self._rows += meta.to_dict("records")
            parts.append(values)
        self._values = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _name_rows(self, by_field: bool) -> list[str | None]:
        names = [_name_beside(row, by_field) for row in self._rows]
        twice = [each for each, count in Counter(names).items() if count > 1]
        if not twice:
            self._row = {each: row for row, each in enumerate(names) if each is not None}
        elif self._level == "field":
            shown = ", ".join(str(each) for each in twice[:3])
            raise TableError(
                f"sources.{self._name}.probabilities.table: {self._path} has {shown} more than once: nothing tells "
                "which row belongs to which vector; a column field_id in both tables would"
            )
        return names

    def of(self, rows_of_vectors: list[Row], first: int) -> tuple[list[int | None], np.ndarray | None]:
        """Row of each vector, None where there is none, and its probabilities (NaN there).

        Args:
            rows_of_vectors: rows of the table of vectors.
            first: number of the first of them in that table.
        """
        if self._values is None:
            return [None] * len(rows_of_vectors), None
        by_field = all("field_id" in own[0] for own in (self._rows, rows_of_vectors) if own)
        if self._names is None:
            self._names = self._name_rows(by_field)
        names = [_name_beside(row, by_field) for row in rows_of_vectors]
        if self._row is not None:
            rows = [self._row.get(each) if each is not None else None for each in names]
        else:
            rows = [first + number for number in range(len(names))]
            if [*names] != self._names[first : first + len(names)]:
                raise TableError(
                    f"{self._path}: its rows are not those of the vectors, in their order, from row {first + 1} on; "
                    "where cells have no names of their own, both tables need the same rows"
                )
        values = np.full((len(names), self._values.shape[1]), np.nan, np.float32)
        known = np.array([row is not None for row in rows], bool)
        values[known] = self._values[[row for row in rows if row is not None]]
        without = int((~known).sum())
        if without:
            self.notes.append(f"{without} rows have a vector, but no class probabilities")
        return rows, values


def _notes(work: _Work) -> list[str]:
    told = [place.reason for row in work.fields.values() for place in row["vectors"]]
    notes = [f"{count} rows: {FIELD_REASONS[reason]}" for reason, count in Counter(told).items() if reason]
    if work.identifiers is not None:
        verb = "are left out" if work.source["unknown"] == "reject" else "keep the name that they have"
        notes += [f"{len(work.lost)} names that no gene has {verb}: {_some(work.lost)}"] if work.lost else []
        notes += (
            [f"{len(work.ambiguous)} names that several genes have {verb}: {_some(work.ambiguous)}"]
            if work.ambiguous
            else []
        )
        notes += [f"{work.translated} names were translated to the genes' present symbols"] if work.translated else []
    if work.unlabelled:
        notes.append(f"{len(work.unlabelled)} proteins have no published location: {_some(work.unlabelled)}")
    return notes


def _some(names: dict[str, None]) -> str:
    shown = list(names)[:SHOWN]
    return ", ".join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
