"""Which fields of an image release a run works on: filters by what they show, and a maximum per protein."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]


class Filter(NamedTuple):
    """One list of the configuration that fields have to match.

    Attributes:
        key: its key, for the reader.
        wanted: what the user listed; everything is wanted if empty.
        names: what a field has, of which one has to be wanted.
        spelling: what counts in the spelling of either.
    """

    key: str
    wanted: list[str]
    names: Callable[[Row], Iterable[str | None]]
    spelling: Callable[[str], str] = str.upper


def chosen(rows: list[Row], filters: Iterable[Filter], most: int | None) -> tuple[list[Row], list[str]]:
    """Keep the fields that every filter lets through, at most so many of each protein.

    Args:
        rows: fields with `field_id`, `ensembl_ids`, `reagent`, `cell_line` and what the filters look at.
        filters: those of the configuration.
        most: most fields of one protein, or None.

    Returns:
        The fields, in their order, and sentences on what was left out or not found.
    """
    notes = []
    for rule in filters:
        if not rule.wanted:
            continue
        wanted = {rule.spelling(name): name for name in rule.wanted}
        found: set[str] = set()
        kept = []
        for row in rows:
            here = wanted.keys() & {rule.spelling(name) for name in rule.names(row) if name}
            found |= here
            if here:
                kept.append(row)
        notes += [f"{rule.key}: no field is of {name!r}" for key, name in wanted.items() if key not in found]
        if len(kept) < len(rows):
            notes.append(f"{rule.key}: {len(rows) - len(kept)} of {len(rows)} fields are not asked for")
        rows = kept
    if most is not None:
        kept = at_most(rows, most)
        if len(kept) < len(rows):
            notes.append(f"max_fields_per_protein: {len(rows) - len(kept)} of {len(rows)} fields are above {most}")
        rows = kept
    return rows, notes


def at_most(rows: list[Row], most: int) -> list[Row]:
    """Keep at most so many fields of each protein: one of each reagent and cell line in turn.

    The choice depends on the names of the fields alone, not on their order.
    """
    taken: Counter[Any] = Counter()
    ranked = []
    for row in sorted(rows, key=lambda row: row["field_id"]):
        preparation = (*_protein(row), row["reagent"] or "", row["cell_line"] or "")
        ranked.append(((taken[preparation], preparation, row["field_id"]), row))
        taken[preparation] += 1
    number: Counter[Any] = Counter()
    kept = set()
    for _, row in sorted(ranked, key=lambda item: item[0]):
        number[_protein(row)] += 1
        if number[_protein(row)] <= most:
            kept.add(row["field_id"])
    return [row for row in rows if row["field_id"] in kept]


def _protein(row: Row) -> tuple[str, ...]:
    return tuple(row["ensembl_ids"])
