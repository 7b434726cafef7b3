"""The label audit: proteins and samples whose neighbours contradict their published locations."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.aggregate import UnitStream, open_units
from wherein.analysis.atlas_space import read_atlas, scale_of_atlas, scaled_proteins
from wherein.analysis.correction import adjusted
from wherein.analysis.items import KEY, Items, describe, plates_of
from wherein.analysis.label_votes import Votes, finding, vote_weights, whitened
from wherein.analysis.nearest import Nearest, memberships, nearest_points
from wherein.analysis.sums import GroupSums
from wherein.labels import Vocabulary, vocabulary
from wherein.summary import stage_summary
from wherein.tables import read_metadata, write_tsv

log = logging.getLogger(__name__)

AUDIT = (
    *("rank", "protein", "sample", "reagents", "cell_lines", "n_units"),
    *("annotated", "suggested", "finding", "score", "support_annotated", "support_suggested", "p", "q"),
    *("n_neighbours", "neighbours", "similarities", "neighbours_say", "same_plate", "predicted"),
    *("n_tests", "permutations", "test", "universe", "correction"),
)
"""results/biology/{model}/audit.tsv and audit_samples.tsv"""

TEST = "labels of the others dealt anew, one-sided"
CORRECTION = "Benjamini-Hochberg over all rows with a p"

SHOWN = 10
"""Neighbours that a row names."""

APART = ("reagent", "plate")
"""What, beside the gene, a neighbour may be asked not to share."""


def audit_labels(
    model: str,
    level: str,
    proteins: str | Path,
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    samples: str | Path,
    embeddings: Sequence[str | Path],
    predictions: str | Path,
    settings: dict[str, Any],
    by_protein: str | Path,
    by_sample: str | Path,
    summary: str | Path,
) -> None:
    """Ask of each protein, and of each sample, whether its neighbours have its labels.

    Args:
        model: name of the model.
        level: `cell` or `field`.
        proteins: results/atlas/{model}/proteins.h5ad.
        fields: results/catalog/fields.parquet.
        qc, cells, embeddings: of every shard of the model.
        samples: results/samples/samples.parquet.
        predictions: results/evaluation/{model}/predictions.parquet.
        settings: what `audit_settings` takes of the section `atlas`.
        by_protein: results/biology/{model}/audit.tsv, written.
        by_sample: results/biology/{model}/audit_samples.tsv, written.
        summary: results/summaries/audit_labels/{model}.json, written.
    """
    with stage_summary(summary, "audit_labels", model, ("numpy", "scipy")) as told:
        units = open_units(embeddings, fields, cells, qc, level, samples=samples)
        units.table["plate"] = plates_of(units.table, fields)
        atlas, words = read_atlas(proteins), vocabulary(settings["vocabulary"])
        said = _probabilities(predictions)
        shown = (units.table["protein"].notna() & ~units.table["control"]).to_numpy()
        codes, names = pd.factorize(units.table["protein"].where(shown), sort=True)
        place = {str(name): row for row, name in enumerate(atlas.obs_names)}
        vectors = scaled_proteins(atlas)
        own = np.full((len(names), vectors.shape[1]), np.nan)
        found = [place.get(str(name), -1) for name in names]
        own[np.array(found, int) >= 0] = vectors[[row for row in found if row >= 0]]
        tables = {}
        for what, path, (item_codes, count), own_vectors in (
            ("proteins", by_protein, (codes, len(names)), own),
            ("samples", by_sample, *_sample_means(units, shown, atlas)),
        ):
            items = describe(units.table, item_codes, count, own_vectors, words)
            tables[what] = judge(
                items, words, settings, what, [_predicted(own_fields, said) for own_fields in items.fields]
            )
            write_tsv(path, tables[what], AUDIT)
        counts = tables["proteins"]["finding"].value_counts()
        judged = int(tables["proteins"]["p"].notna().sum())
        told.counts = {"in": len(names), "kept": judged, "not_judged": len(names) - judged}
        told.extra = {"seed": settings["seed"]} | {
            what: {"judged": int(table["p"].notna().sum()), "found": found_in(table, settings["q"])}
            for what, table in tables.items()
        }
        told.notes = _notes(tables["proteins"], counts, judged, settings)


def _probabilities(path: str | Path) -> pd.DataFrame | None:
    """Mean probabilities of each field version; None for a model that predicts nothing."""
    classes = read_metadata(path).get("classes") or []
    table = pd.read_parquet(path)
    classes = [name for name in classes if name in table]
    if not classes or not len(table):
        return None
    return table.groupby(KEY)[classes].agg(["sum", "count"])


def _sample_means(units: UnitStream, shown: np.ndarray, atlas: Any) -> tuple[tuple[np.ndarray, int], np.ndarray]:
    """Number of each unit's sample (of one source and protein), how many there are, and their mean scaled vectors.

    Vectors are read once, block by block. A field of no known sample is one of its own.
    """
    table = units.table
    sample = table["sample"].where(table["sample"].notna(), "field " + table["field_id"])
    names = pd.Series(list(zip(table["source"], sample, table["protein"], strict=True)), dtype=object)
    codes, found = pd.factorize(names.where(shown))
    scale, columns = scale_of_atlas(atlas, units.features)
    used = scale.used
    sums = GroupSums(len(found), int(used.sum()))
    for rows, vectors in units.blocks():
        sums.add(scale.apply(vectors[:, columns])[:, used], codes[rows])
    return (codes, len(found)), sums.means()


def _predicted(keys: list[tuple[str, str]], said: pd.DataFrame | None, most: int = 3) -> str | None:
    """The most probable classes of some field versions, `class probability` joined by `;`."""
    if said is None:
        return None
    own = said.reindex(pd.MultiIndex.from_tuples(keys)).sum()
    with np.errstate(invalid="ignore"):
        means = own.xs("sum", level=1) / own.xs("count", level=1)
    best = means.dropna().sort_values(ascending=False, kind="stable").head(most)
    return ";".join(f"{name} {value:.2f}" for name, value in best.items()) or None


def judge(
    items: Items, words: Vocabulary, settings: dict[str, Any], what: str, predicted: Sequence[str | None]
) -> pd.DataFrame:
    """Let the neighbours of each item vote on its labels.

    Args:
        items: proteins or samples.
        words: their vocabulary.
        settings: `neighbours`, `components`, `permutations`, `apart`, `seed`.
        what: `proteins` or `samples`.
        predicted: (N,) what the model predicts of each, in words.

    Returns:
        Rows of audit.tsv, the most contradicted first; items without labels, vector or neighbours last.
    """
    number = len(items.table)
    known = np.isfinite(items.vectors).all(axis=1) if number else np.zeros(0, bool)
    labelled = items.labels.any(axis=1)
    points = np.full((number, 1), np.nan)
    if known.any():
        found = whitened(items.vectors[known], settings["components"])
        points = np.full((number, found.shape[1]), np.nan)
        points[known] = found
    groups = [[("gene", name) for name in own] for own in items.genes]
    for name, lists in (("reagent", items.reagents), ("plate", items.plates)):
        if name in settings["apart"]:
            groups = [[*own, *((name, one) for one in more)] for own, more in zip(groups, lists, strict=True)]
    near = nearest_points(points, settings["neighbours"], "cosine", memberships(groups), among=labelled & known)
    votes = Votes(items.labels, near.index, vote_weights(near.cosine, near.index))
    support = votes.support()
    p, deals = votes.p_values(settings["permutations"], settings["seed"])
    q, tested = adjusted(p), np.isfinite(p)
    suggested = items.labels.copy()
    chosen = support.best >= 0
    suggested[chosen] = votes.candidates[support.best[chosen]]
    silent = ~np.isfinite(support.suggested)
    findings = [
        "not_judged" if mute else finding(a, b) for mute, a, b in zip(silent, items.labels, suggested, strict=True)
    ]
    table = items.table.assign(
        annotated=[_joined(words, row) for row in items.labels],
        suggested=["" if mute else _joined(words, row) for mute, row in zip(silent, suggested, strict=True)],
        finding=findings,
        score=support.score,
        support_annotated=support.annotated,
        support_suggested=support.suggested,
        p=p,
        q=q,
        predicted=list(predicted),
        n_tests=int(tested.sum()),
        permutations=np.where(tested, deals, 0),
        test=TEST,
        universe=f"{int((labelled & known).sum())} {what} with a published location",
        correction=CORRECTION,
        **_told_neighbours(items, near, suggested),
    )
    order = np.lexsort((table["protein"].astype(str), np.nan_to_num(p, nan=2), -np.nan_to_num(support.score, nan=-1)))
    table = table.iloc[order].reset_index(drop=True)
    return table.assign(rank=np.arange(1, number + 1))


def _told_neighbours(items: Items, near: Nearest, suggested: np.ndarray) -> dict[str, Any]:
    """Neighbours of each item by name, those among them that have a suggested label, and the share on its plates."""
    names = items.table["protein"].astype(str).to_numpy(object)
    told: dict[str, list[Any]] = {
        name: [] for name in ("n_neighbours", "neighbours", "similarities", "neighbours_say", "same_plate")
    }
    for row, others in enumerate(near.index):
        there = others[others >= 0]
        new = suggested[row] & ~items.labels[row]
        say = [other for other in there if (items.labels[other] & new).any()]
        plates = set(items.plates[row])
        told["n_neighbours"].append(len(there))
        told["neighbours"].append(";".join(names[there[:SHOWN]]))
        told["similarities"].append(";".join(f"{value:.3f}" for value in near.cosine[row, : len(there)][:SHOWN]))
        told["neighbours_say"].append(";".join(dict.fromkeys(names[say])))
        told["same_plate"].append(
            float(np.mean([bool(plates & set(items.plates[other])) for other in there])) if len(there) else np.nan
        )
    return told


def _joined(words: Vocabulary, row: np.ndarray) -> str:
    return ";".join(name for name, there in zip(words.classes, row, strict=True) if there)


def found_in(table: pd.DataFrame, most_q: float) -> dict[str, int]:
    """Findings with a q of at most `most_q`, counted."""
    counts = table.loc[table["q"] <= most_q, "finding"].value_counts()
    return {str(name): int(count) for name, count in counts.items() if name != "fits"}


def _notes(table: pd.DataFrame, counts: pd.Series, judged: int, settings: dict[str, Any]) -> list[str]:
    if not judged:
        return ["no protein has both a published location and neighbours with one: no label was audited"]
    sure = found_in(table, settings["q"])
    told = ", ".join(f"{count} {name}" for name, count in sorted(sure.items())) or "none"
    notes = [
        (
            f"neighbours contradict the labels of {sum(sure.values())} of {judged} proteins (q at most "
            f"{settings['q']}, up to {settings['permutations']} deals of the labels, {CORRECTION}): {told}"
        )
    ]
    if counts.get("no_label"):
        notes.append(f"{int(counts['no_label'])} proteins have no label; what their neighbours suggest is in the table")
    return notes
