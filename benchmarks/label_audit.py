"""How many planted mistakes the label audit finds, and how many cells of a rare pattern a search by five examples.

Mistakes: a share of the samples of a finished run gets the labels of another sample (`wrong`), loses one of its labels
(`missing`) or gets one more (`extra`); proteins are parted into a tuning half, on which the statistic was chosen, and
another, on which it is reported here. `held_out` are samples of genes that a network did not learn from; of the others
it learned the labels before they were made wrong. `first_n`: share of as many as there are mistakes.
Patterns: cells of a run of known truth, those that divide and those of each set of locations that at most 2.5 % of the
cells have; five of them are the examples.

    python benchmarks/label_audit.py --run FOLDER [--models classic densenet121] [--half reported]
    python benchmarks/label_audit.py --cells FOLDER

FOLDER holds what a run has in results/: catalog/fields.parquet (or fields.parquet), qc, cells, embeddings, truth.
Prints a table and, last, one JSON line.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from wherein.analysis.aggregate import read_units, scaled_units
from wherein.analysis.label_votes import Votes, vote_weights, whitened
from wherein.analysis.nearest import memberships, nearest_points
from wherein.analysis.projection import principal_components
from wherein.analysis.rare_pattern import search, whiten_scores
from wherein.labels import vocabulary
from wherein.metrics.classification import auc
from wherein.models.truth import drawn_labels
from wherein.segmentation.masks import read_masks

KINDS = ("wrong", "extra", "missing")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="results of a run whose samples are given wrong labels")
    parser.add_argument("--cells", type=Path, help="results of a run of known truth, with vectors of cells")
    parser.add_argument("--models", nargs="+", default=["densenet121", "gapnet-pl", "classic"])
    parser.add_argument("--half", choices=("tuning", "reported"), default="reported")
    parser.add_argument("--share", type=float, default=0.1, help="of the samples of that half")
    parser.add_argument("--draws", type=int, default=20)
    told = {"benchmark": "label_audit"}
    asked = parser.parse_args()
    if asked.run:
        for model in asked.models:
            told[model] = mistakes(asked, model)
    if asked.cells:
        told["patterns"] = patterns(asked.cells, asked.draws)
    print(json.dumps(told))


def paths(folder: Path, what: str) -> list[str]:
    """Tables of all shards."""
    return sorted(str(path) for path in (folder / what).glob("*.parquet"))


def catalog_of(folder: Path) -> Path:
    """The catalog of a run."""
    whole = folder / "catalog" / "fields.parquet"
    return whole if whole.exists() else folder / "fields.parquet"


def mistakes(asked: argparse.Namespace, model: str) -> dict:
    """What the audit finds of each kind of mistake, over draws: means."""
    units = read_units(
        paths(asked.run, f"embeddings/{model}"),
        catalog_of(asked.run),
        paths(asked.run, "cells"),
        paths(asked.run, "qc"),
    )
    scaled, _, _ = scaled_units(units, "auto", 10)
    shown = (units.table["protein"].notna() & ~units.table["control"]).to_numpy()
    table, scaled = units.table[shown], scaled[shown]
    groups = table.groupby(["source", "sample"]).indices
    first = table.iloc[[rows[0] for rows in groups.values()]]
    points = whitened(np.stack([scaled[rows].mean(axis=0) for rows in groups.values()]), 100)
    labels = vocabulary("hpa19").indicator([list(own) for own in first["labels"]])
    proteins, reagents = first["protein"].to_numpy(str), first["reagent"].to_numpy(str)
    near = nearest_points(
        points, 20, "cosine", memberships(list(zip(proteins, reagents, strict=True))), among=labels.any(axis=1)
    )
    weights = vote_weights(near.cosine, near.index)
    half = np.array([sum(map(ord, name)) % 2 == 0 for name in proteins]) == (asked.half == "tuning")
    training = asked.run / "training" / f"{model}.parquet"
    learned = set()
    if training.exists():
        seen = pd.read_parquet(training, columns=["gene_group", "part"])
        learned = set(seen.loc[seen["part"] == "train", "gene_group"])
    held = ~np.isin(proteins, list(learned))
    found = {"samples": len(labels), "proteins": len(set(proteins)), "held_out": int(held.sum())}
    for kind in KINDS:
        rows = []
        for draw in range(asked.draws):
            rng = np.random.default_rng(draw)
            said, wrong = spoiled(labels, kind, asked.share, half, rng)
            score = Votes(said, near.index, weights).support().score
            score = np.nan_to_num(score, nan=-1)
            order = np.argsort(-score, kind="stable")
            own = np.flatnonzero(held[order])
            rows.append(
                (
                    wrong.mean(),
                    wrong.sum(),
                    wrong[order[:20]].mean(),
                    wrong[order[: wrong.sum()]].mean(),
                    auc(wrong[:, None], score[:, None])[0],
                    auc(wrong[held][:, None], score[held][:, None])[0],
                    wrong[order[own[: wrong[held].sum()]]].mean(),
                )
            )
        names = ("share", "n", "first_20", "first_n", "auc", "auc_held_out", "first_n_held_out")
        found[kind] = {name: round(float(value), 4) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}
        print(f"{model:14} {kind:8}", *(f"{name} {value:.3f}" for name, value in found[kind].items()))
    return found


def spoiled(labels: np.ndarray, kind: str, share: float, pool: np.ndarray, rng: np.random.Generator) -> tuple:
    """Labels, a share of which is made wrong, and which they are."""
    counts = labels.sum(axis=1)
    allowed = {"wrong": counts > 0, "missing": counts > 1, "extra": (counts > 0) & (counts < 3)}[kind] & pool
    rows = rng.permutation(np.flatnonzero(allowed))[: max(1, round(share * pool.sum()))]
    said, wrong = labels.copy(), np.zeros(len(labels), bool)
    wrong[rows] = True
    often = labels.mean(axis=0)
    for row in rows:
        if kind == "wrong":
            others = np.flatnonzero(~(labels & labels[row]).any(axis=1) & (counts > 0))
            said[row] = labels[rng.choice(others)]
        elif kind == "missing":
            said[row, rng.choice(np.flatnonzero(labels[row]))] = False
        else:
            odds = often * ~labels[row]
            said[row, rng.choice(len(odds), p=odds / odds.sum())] = True
    return said, wrong


def patterns(folder: Path, draws: int) -> dict:
    """What a search by five examples finds of rare patterns."""
    units = read_units(
        paths(folder, "embeddings/classic"),
        catalog_of(folder),
        paths(folder, "cells"),
        level="cell",
        ledger_columns=["y", "x", "nucleus_y", "nucleus_x"],
    )
    scaled, _, _ = scaled_units(units, "auto", 10)
    points = whiten_scores(principal_components(scaled, 50)[0])
    truth = drawn_cells(units.table, folder)
    sets = pd.Series([None if row is None else "+".join(sorted(row.locations)) for row in truth])
    marks = {"dividing": np.array([row is not None and bool(row.mitotic) for row in truth])}
    for name, count in sets.value_counts().items():
        if 20 <= count <= 0.025 * len(sets):
            marks[name] = (sets == name).to_numpy()
    rows = []
    for name, mark in marks.items():
        for draw in range(max(1, draws // 5)):
            rng = np.random.default_rng(draw)
            examples = np.sort(rng.permutation(np.flatnonzero(mark))[:5])
            ranking = search(points, examples, np.zeros(0, np.int64), {"background": 2000, "hard": 300, "seed": draw})
            others = np.setdiff1d(np.arange(len(mark)), examples)
            order = mark[others[np.argsort(-ranking.scores[others], kind="stable")]]
            rank = np.median(ranking.left_out)
            rows.append((name, mark.mean(), order[:20].mean(), order[:50].mean(), rank, ranking.method))
    table = pd.DataFrame(rows, columns=["pattern", "share", "first_20", "first_50", "left_out_rank", "method"])
    print(table.groupby("pattern")[["share", "first_20", "first_50", "left_out_rank"]].mean().round(3).to_string())
    told = {"cells": len(points), "patterns": len(marks), "searches": len(table)}
    for name, own in (
        ("dividing", table[table["pattern"] == "dividing"]),
        ("sets", table[table["pattern"] != "dividing"]),
    ):
        told[name] = {column: round(float(own[column].mean()), 4) for column in ("share", "first_20", "first_50")}
    # searches that say of themselves that they can be trusted do better
    sure = table["left_out_rank"] <= 40
    told["trusted"] = {"n": int(sure.sum()), "first_20": round(float(table.loc[sure, "first_20"].mean()), 4)}
    told["not_trusted"] = {"n": int((~sure).sum()), "first_20": round(float(table.loc[~sure, "first_20"].mean()), 4)}
    return told


def drawn_cells(table: pd.DataFrame, folder: Path) -> list:
    """The drawn cell of each unit, or None."""
    own: list = [None] * len(table)
    for truth in sorted((folder / "truth").iterdir()):
        drawn = pd.read_parquet(truth / "cells.parquet")
        cells = {(row.field_id, row.version, int(row.label)): row for row in drawn.itertuples()}
        known = set(zip(drawn["field_id"], drawn["version"], strict=True))
        for key, part in table.groupby(["field_id", "version"]):
            if key in known:
                nucleus, cell = read_masks(truth / "masks.zarr", *key)
                for place, label in zip(part.index, drawn_labels(part, nucleus, cell), strict=True):
                    own[place] = cells.get((*key, label))
    return own


if __name__ == "__main__":
    main()
