"""The split: which fold a field is in, so that no gene, reagent or near-duplicate image is on both sides.

`gene_fold` is for models that predict locations: genes that share a reagent or near-duplicate fields form one group,
and a group lies in one fold; groups are shared out so that every fold has its part of the fields of every location.
`field_fold` is for models whose target is the protein's identity: the fields of one protein are shared out over the
folds.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein import tables
from wherein.metrics.multilabel import spread_over_folds
from wherein.reasons import PASSED
from wherein.stratification import label_matrix, lot, stratify
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

CONTROL = "control"
"""gene_group of fields without a specific protein signal."""


def split_run(
    fields: str,
    qc: Sequence[str],
    cells: Sequence[str],
    settings: Mapping[str, Any],
    split: str,
    summary: str,
) -> None:
    """Share out all passed fields of the run over folds; what had a fold keeps it.

    Args:
        fields: fields.parquet.
        qc: qc tables of all shards.
        cells: ledgers of all shards, for the number of cells in each fold.
        settings: the configuration's section `split`.
        split: the table to write; if it is there already, its folds are kept.
        summary: the stage's summary.
    """
    with stage_summary(summary, "split", "run", ("numpy", "pandas")) as report:
        everything = tables.read_tables([fields])
        judged = tables.read_tables(qc, ["field_id", "version", "status", "phash"])
        passed = judged[judged["status"] == PASSED][["field_id", "version", "phash"]]
        current = everything[everything["retired_in"].isna()].merge(passed, on=["field_id", "version"])
        before = tables.read_tables([split]) if Path(split).exists() else pd.DataFrame(columns=tables.SPLIT.names)
        table, notes = make_split(current, everything, before, settings)
        tables.write_table(split, table, tables.SPLIT, {"settings": dict(settings)})
        report.counts = {"in": len(current), "kept": len(table)}
        report.notes += notes
        report.extra["spread"] = fold_spread(current, table, settings["folds"])
        report.extra["folds"] = fold_counts(table, tables.read_tables(cells, ["field_id", "version", "status"]))
        for note in notes:
            LOG.info(note)


def make_split(
    current: pd.DataFrame, everything: pd.DataFrame, before: pd.DataFrame, settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Folds of the current fields.

    Args:
        current: rows of fields.parquet that passed, with `phash` (16 hexadecimal characters or null).
        everything: all rows of fields.parquet, the retired ones included: what genes an old field had.
        before: the split of the last run; empty for a first run.
        settings: `folds`, `seed`, `near_duplicate_bits`, `tag_genes`.

    Returns:
        table: columns of tables.SPLIT, sorted by field_id.
        notes: sentences on what could not be kept apart.
    """
    notes: list[str] = []
    folds, seed = settings["folds"], settings["seed"]
    rows = current.sort_values("field_id").reset_index(drop=True)
    proteins = rows[~rows["control"].astype(bool)]
    duplicates = near_duplicates(proteins["phash"], settings["near_duplicate_bits"])
    group_of, found = gene_groups(proteins, everything, duplicates, settings["tag_genes"])
    notes += found
    groups = pd.Series(CONTROL, index=rows.index, dtype=object)
    groups.loc[proteins.index] = [group_of[position] for position in proteins.index]
    old = before[(before["gene_fold"] < folds) & (before["field_fold"] < folds)].drop_duplicates("field_id")
    if len(old) < len(before):
        notes.append(f"{len(before) - len(old)} fields were in folds that {folds} folds do not have: drawn again")
    old = old.set_index("field_id")

    gene_fold = pd.Series(-1, index=rows.index, dtype=np.int64)
    found_folds, found = _gene_folds(rows.loc[proteins.index], groups.loc[proteins.index], everything, old, folds, seed)
    notes += found
    gene_fold.update(found_folds)
    controls = rows[rows["control"].astype(bool)]
    together = controls["sample"].fillna(controls["field_id"])
    if 0 < together.nunique() < folds:
        notes.append(
            f"controls come from {together.nunique()} samples, fewer than the {folds} folds: their fields are dealt "
            "out singly, so that controls of one preparation lie on both sides"
        )
        together = controls["field_id"]
    gene_fold.update(_deal(controls, together, old["gene_fold"], folds, seed))

    images = _image_groups(rows, duplicates)
    field_fold = pd.concat(
        [_deal(part, images.loc[part.index], old["field_fold"], folds, seed) for _, part in rows.groupby(groups)]
        or [pd.Series(dtype=np.int64)]
    )
    table = rows[["field_id", "version", "phash"]].assign(
        gene_group=groups, gene_fold=gene_fold, field_fold=field_fold.reindex(rows.index)
    )
    return table[tables.SPLIT.names], notes


def near_duplicates(phash: pd.Series, bits: int) -> list[tuple[Hashable, Hashable]]:
    """Pairs of images whose hashes differ in at most `bits` bits.

    Two such hashes agree in at least one of `bits + 1` blocks of bits, so only those that share a block are compared.

    Args:
        phash: 16 hexadecimal characters each, or null, by any index.
        bits: 0 to 64.

    Returns:
        Pairs of index values, enough to connect all near-duplicates: of equal hashes, each with the first.
    """
    first: dict[int, Hashable] = {}
    pairs: list[tuple[Hashable, Hashable]] = []
    for place, text in phash.dropna().items():
        value = int(text, 16)
        if value in first:
            pairs.append((first[value], place))
        else:
            first[value] = place
    values = np.array(list(first), np.uint64)
    places = list(first.values())
    if bits == 0 or len(values) < 2:
        return pairs
    seen: set[tuple[int, int]] = set()
    for bucket in _buckets(values, bits):
        for start in range(0, len(bucket), 512):
            part = bucket[start : start + 512]
            near = np.bitwise_count(values[part][:, None] ^ values[bucket][None, :]) <= bits
            for left, right in zip(*np.nonzero(near), strict=True):
                a, b = int(part[left]), int(bucket[right])
                if a < b:
                    seen.add((a, b))
    return pairs + [(places[a], places[b]) for a, b in sorted(seen)]


def _buckets(values: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Indices of values that agree in one of `bits + 1` blocks of their 64 bits."""
    if bits >= 63:
        yield np.arange(len(values))
        return
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    for low, high in pairwise(edges):
        block = (values >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(block, kind="stable")
        starts = np.flatnonzero(np.diff(block[order])) + 1
        yield from (bucket for bucket in np.split(order, starts) if len(bucket) > 1)


def gene_groups(
    proteins: pd.DataFrame, everything: pd.DataFrame, duplicates: Iterable[tuple[Hashable, Hashable]], tag_genes: int
) -> tuple[dict[Hashable, str], list[str]]:
    """Connected genes: those that a field, a reagent or near-duplicate images show to be one matter.

    Args:
        proteins: fields with `genes`, `ensembl_ids`, `reagent`, `field_id`; controls left out.
        everything: all field versions; a reagent's genes in any release count.
        duplicates: pairs of rows of `proteins`.
        tag_genes: a reagent listed for more genes than this is a tag, which joins none.

    Returns:
        groups: the group's name (its symbols, joined by `/`) by row of `proteins`.
        notes: what joined genes besides reagents.
    """
    links = _Links()
    past = everything[~everything["control"].astype(bool)]
    tags = _tags(past, tag_genes)
    # links through fields of earlier releases stay, or a retired field would let its genes drift apart
    for names, field_id, reagent in zip(_names(past), past["field_id"], past["reagent"], strict=True):
        links.join(("field", field_id), *names, *([("reagent", reagent)] if _known(reagent, tags) else []))
    for field_id in proteins["field_id"]:
        links.join(("field", field_id))
    before = {place: links.root(("field", name)) for place, name in proteins["field_id"].items()}
    joined = 0
    for left, right in duplicates:
        joined += before[left] != before[right]
        links.join(*(("field", proteins.at[place, "field_id"]) for place in (left, right)))
    roots = {place: links.root(("field", name)) for place, name in proteins["field_id"].items()}
    symbols: dict[Hashable, set[str]] = defaultdict(set)
    for place, root in roots.items():
        symbols[root] |= set(_shown(proteins.loc[place]))
    notes = (
        [f"{joined} pairs of near-duplicate fields show different genes: these genes share a fold"] if joined else []
    )
    if tags:
        notes.append(f"{len(tags)} reagents are tags, listed for more than {tag_genes} genes: they join no genes")
    return {place: "/".join(sorted(symbols[root])) for place, root in roots.items()}, notes


def _known(reagent: object, tags: set[str]) -> bool:
    return isinstance(reagent, str) and reagent not in tags


def _tags(past: pd.DataFrame, tag_genes: int) -> set[str]:
    genes: dict[str, set[Hashable]] = defaultdict(set)
    for row, reagent in zip(_names(past), past["reagent"], strict=True):
        if isinstance(reagent, str):
            # the first name stands for the field's gene: ids and symbols of one gene must not count twice
            genes[reagent] |= set(row[:1])
    return {reagent for reagent, found in genes.items() if len(found) > tag_genes}


def _names(rows: pd.DataFrame) -> list[list[Hashable]]:
    return [
        [("ensembl", name) for name in _list(ids)] + [("gene", name) for name in _list(symbols)]
        for ids, symbols in zip(rows["ensembl_ids"], rows["genes"], strict=True)
    ]


def _shown(row: pd.Series) -> list[str]:
    return _list(row["genes"]) or _list(row["ensembl_ids"]) or [str(row["reagent"] or row["field_id"])]


def _list(value: Any) -> list[str]:
    return [] if value is None or isinstance(value, float) else list(value)


class _Links:
    """Disjoint sets of names (union-find with path halving)."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def root(self, name: Hashable) -> Hashable:
        parent = self._parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(self, first: Hashable, *others: Hashable) -> None:
        for other in others:
            self._parent[self.root(other)] = self.root(first)
        self.root(first)


def _gene_folds(
    proteins: pd.DataFrame, groups: pd.Series, everything: pd.DataFrame, old: pd.DataFrame, folds: int, seed: int
) -> tuple[pd.Series, list[str]]:
    """gene_fold by row: a field's own old fold, else its group's, else a new one."""
    notes: list[str] = []
    own = proteins["field_id"].map(old["gene_fold"]) if len(old) else pd.Series(np.nan, index=proteins.index)
    remembered = _folds_of_genes(everything, old)
    fold_of: dict[str, int] = {}
    mixed = []
    for name, part in proteins.groupby(groups):
        known = Counter(int(fold) for fold in own.loc[part.index].dropna())
        for names in _names(part):
            known.update(fold for gene in names for fold in remembered.get(gene, ()))
        if len(known) > 1:
            mixed.append(str(name))
        if known:
            fold_of[str(name)] = min(known, key=lambda fold: (-known[fold], fold))
    if mixed:
        notes.append(
            f"{len(mixed)} groups join genes that earlier runs put into different folds; each field keeps its fold, so "
            f"these genes lie on both sides: {', '.join(mixed[:5])}"
        )
    labels = {str(name): Counter(_terms(part)) for name, part in proteins.groupby(groups)}
    sizes = {str(name): len(part) for name, part in proteins.groupby(groups)}
    fold_of = stratify(labels, sizes, fold_of, folds, seed)
    drawn = groups.map(fold_of)
    return own.fillna(drawn).astype(np.int64), notes


def _terms(rows: pd.DataFrame) -> list[str]:
    """Labels of all rows, one after the other, each once a row; spelling in capitals is no difference."""
    return [term for terms in rows["labels"] for term in sorted({term.casefold() for term in _list(terms)})]


def _folds_of_genes(everything: pd.DataFrame, old: pd.DataFrame) -> dict[Hashable, set[int]]:
    """Folds in which genes lay in the last run, whatever became of their fields since."""
    found: dict[Hashable, set[int]] = defaultdict(set)
    rows = everything[everything["field_id"].isin(old.index) & ~everything["control"].astype(bool)]
    for names, field_id in zip(_names(rows), rows["field_id"], strict=True):
        for name in names:
            found[name].add(int(old.at[field_id, "gene_fold"]))
    return found


def _deal(rows: pd.DataFrame, together: pd.Series, old: pd.Series, folds: int, seed: int) -> pd.Series:
    """Deal sets of rows over folds as evenly as their sizes allow; a row with an old fold keeps it."""
    fold = rows["field_id"].map(old) if len(old) else pd.Series(np.nan, index=rows.index)
    fold = fold.astype(float)
    size = Counter(int(value) for value in fold.dropna())
    names = {name: part.index for name, part in rows.groupby(together)}
    for name in sorted(names, key=lambda name: lot(seed, str(name))):
        new = [place for place in names[name] if np.isnan(fold[place])]
        if not new:
            continue
        known = Counter(int(value) for value in fold.loc[names[name]].dropna())
        # sets of equal size start at a fold of their own, or every protein with one field would lie in fold 0
        start = int(lot(seed, f"first fold {rows['field_id'].iloc[0]}"), 16) % folds
        free = min(range(folds), key=lambda k: (size[k], (k - start) % folds))
        chosen = min(known, key=lambda k: (-known[k], k)) if known else free
        fold.loc[new] = chosen
        size[chosen] += len(new)
    return fold.astype(np.int64)


def _image_groups(rows: pd.DataFrame, duplicates: Iterable[tuple[Hashable, Hashable]]) -> pd.Series:
    """Name of the set of near-duplicate images that each row belongs to."""
    links = _Links()
    for left, right in duplicates:
        links.join(left, right)
    return pd.Series([rows.at[links.root(place), "field_id"] for place in rows.index], index=rows.index, dtype=object)


def fold_spread(current: pd.DataFrame, table: pd.DataFrame, folds: int) -> dict[str, float]:
    """How unequally locations and fields of proteins lie over the gene folds, 0 for alike.

    Args:
        current: fields with `field_id`, `version`, `labels`, `control`.
        table: columns of tables.SPLIT.
        folds: number of folds.

    Returns:
        `labels` and `fields`, see metrics.multilabel.spread_over_folds.
    """
    rows = current[~current["control"].astype(bool)].merge(table, on=["field_id", "version"])
    labels = [sorted({term.casefold() for term in _list(terms)}) for terms in rows["labels"]]
    unequal = spread_over_folds(label_matrix(labels), rows["gene_fold"].to_numpy(), folds)
    return dict(zip(("labels", "fields"), (round(value, 6) for value in unequal), strict=True))


def fold_counts(table: pd.DataFrame, cells: pd.DataFrame) -> list[dict[str, int]]:
    """Groups, fields and kept cells of every gene_fold."""
    kept = cells[cells["status"] == "kept"] if len(cells) else cells
    counts = kept.groupby(["field_id", "version"]).size() if len(kept) else pd.Series(dtype=int)
    n_cells = [int(counts.get((row.field_id, row.version), 0)) for row in table.itertuples()]
    with_cells = table.assign(cells=n_cells)
    return [
        {
            "fold": int(fold),
            "groups": int(part["gene_group"].nunique()),
            "fields": len(part),
            "cells": int(part["cells"].sum()),
        }
        for fold, part in with_cells.groupby("gene_fold")
    ]
