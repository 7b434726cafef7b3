"""Scores of a drawn run's models, broken down, probed and compared by the real stages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from unit.fake_run import FakeRun
from wherein import tables
from wherein.analysis.leaks import probe_leaks
from wherein.atomic import write_json
from wherein.labels import vocabulary
from wherein.metrics.pointing import POINTING_COLUMNS, pointing_table
from wherein.models.break_down import break_down
from wherein.models.evaluate import CLASS_COLUMNS, class_table, overall
from wherein.models.scored import Scored
from wherein.models.statistics import class_intervals, scorable, write_fields
from wherein.models.training.history import HISTORY
from wherein.views.comparison import compare_models
from wherein.views.score_figures import plot_scores
from wherein.views.training_figures import plot_training

EVALUATION = {
    "vocabulary": "hpa19",
    "controls": "leave_out",
    "draws": 100,
    "seed": 0,
    "leak_deals": 100,
    "leak_queries": 1000,
}
TABLES = ("groups", "tests", "curves", "confusion", "judges", "annotated")
COMPARISON = {
    "models": "models.tsv",
    "pairs": "models_pairs.tsv",
    "classes": "models_classes.tsv",
    "tests": "models_tests.tsv",
    "labels": "labels.tsv",
    "scores": "figures/models_scores.png",
    "precision_recall": "figures/models_precision_recall.png",
    "classes_figure": "figures/models_classes.png",
    "training_counts": "figures/models_training_counts.png",
    "speed": "figures/models_speed.png",
    "input_sizes": "figures/models_input_sizes.png",
    "labels_figure": "figures/labels.png",
}


def write_fake_scores(run: FakeRun, settings: dict[str, Any], people: bool = True) -> None:
    """Score fields of every model by drawn probabilities, break the scores down, probe, compare and draw them.

    Args:
        run: the drawn run; its models may be empty.
        settings: the section `report` of the configuration.
        people: whether two people annotated the fields, too.
    """
    catalog = tables.current_fields(run.path("catalog/fields.parquet"))
    # two plates and a reagent for each protein
    catalog["plate"] = [f"P{number % 2}" for number in range(len(catalog))]
    folds = catalog[["field_id", "version"]].assign(
        gene_group=["/".join(own) or "control" for own in catalog["genes"]],
        gene_fold=[int(number) % 3 for number in pd.factorize(catalog["sample"])[0]],
        field_fold=[number % 2 for number in range(len(catalog))],
    )
    tables.write_table(run.path("split/split.parquet"), folds, tables.SPLIT)
    annotations = run.root / "people.csv"
    labelled = catalog[[len(own) == 1 for own in catalog["labels"]]]
    rows = [
        {
            "field_id": row.field_id,
            "annotator": who,
            "group": "expert",
            "locations": row.labels[0] if right else "Nucleoli",
        }
        for number, row in enumerate(labelled.itertuples())
        for who, right in (("A", number % 3 != 0), ("B", number % 4 != 0))
    ]
    pd.DataFrame(rows).to_csv(annotations, index=False)
    for number, model in enumerate(run.models):
        _score(run, model, catalog.merge(folds, on=["field_id", "version"]), np.random.default_rng(number))
        _later(run, model, str(annotations) if people else None, settings)
    compare(run, settings)


def _score(run: FakeRun, model: str, rows: pd.DataFrame, rng: np.random.Generator) -> None:
    words = vocabulary("hpa19")
    passed = pd.concat([pd.read_parquet(path) for path in run.per_shard("qc/{shard}.parquet")])
    passed = passed.loc[passed["status"] == "passed", ["field_id", "version"]]
    rows = rows.merge(passed, on=["field_id", "version"])
    level = run.models[model]["level"]
    if model not in ("classic", "gapnet"):
        rows = rows.iloc[:0]
    truth = words.indicator([list(own) for own in rows["labels"]])
    probabilities = np.clip(0.5 * truth + rng.random(truth.shape) * 0.6, 0, 1).astype(np.float32)
    units = rows[["field_id", "version", "gene_group", "control"]].assign(
        unit_id=rows["field_id"] + "@" + rows["version"], fold=rows["gene_fold"].astype(float)
    )
    scored = Scored(units, truth, truth.any(axis=1), probabilities, np.full(truth.shape, 0.5))
    fields = scorable(scored, rows)
    sure = class_intervals(fields, 100, 0)
    table = class_table(scored, words, "field").assign(**sure.classes)
    both = [table.assign(level="cell"), table] if level == "cell" else [table]
    folder = run.root / "evaluation" / model
    tables.write_tsv(folder / "classes.tsv", pd.concat(both), CLASS_COLUMNS)
    told = json.loads((folder / "scores.json").read_text())
    found = {**overall(scored), "intervals": sure.means}
    write_json(folder / "scores.json", {**told, "vocabulary": "hpa19", "classifier": "random_forest", "fields": found})
    write_fields(str(folder / "fields.parquet"), fields, words, model)
    values = pd.DataFrame(probabilities, columns=list(words.classes))
    metadata = {"vocabulary": "hpa19", "classes": list(words.classes)}
    if not len(rows):
        about = units[["unit_id", "field_id", "version"]].assign(fold=0)
        tables.write_predictions(folder / "predictions.parquet", about, values, metadata)
    vectors = (2 * truth @ rng.normal(0, 1, (truth.shape[1], 8)) + rng.normal(0, 1, (len(rows), 8))).astype(np.float32)
    path = run.root / "embeddings" / model / "drawn.parquet"
    tables.write_vectors(path, units[["unit_id", "field_id", "version"]], vectors, {"dimensions": []})


def _later(run: FakeRun, model: str, annotations: str | None, settings: dict[str, Any]) -> None:
    folder = run.root / "evaluation" / model
    common = {
        "model": model,
        "scored": str(folder / "fields.parquet"),
        "fields": run.path("catalog/fields.parquet"),
        "split": run.path("split/split.parquet"),
        "embeddings": [run.path(f"embeddings/{model}/drawn.parquet")],
    }
    paths = {name: str(folder / f"{name}.tsv") for name in TABLES}
    break_down(
        **common, training=[], annotations=annotations, evaluation=EVALUATION,
        outputs={**paths, "breakdown": str(folder / "breakdown.json")},
        summary=run.path(f"summaries/break_down/{model}.json"),
    )  # fmt: skip
    probe_leaks(
        **common, settings=EVALUATION, neighbours=str(folder / "neighbours.tsv"), leaks=str(folder / "leaks.json"),
        summary=run.path(f"summaries/probe_leaks/{model}.json"),
    )  # fmt: skip
    inputs = {name: str(folder / f"{name}.tsv") for name in (*TABLES, "classes", "neighbours") if name != "annotated"}
    figures = run.root / "report" / "figures" / model
    figures.mkdir(parents=True, exist_ok=True)
    names = ("curves", "confusion", "groups", "leaks", "judges")
    outputs = {name: str(figures / f"{name}.png") for name in names}
    plot_scores(model, {**inputs, "leaks": str(folder / "leaks.json")}, settings, outputs)


def compare(run: FakeRun, settings: dict[str, Any]) -> None:
    """Compare the models of a run whose scores were broken down."""
    per_model = {name: "evaluation/{model}/" + file for name, file in (
        ("scores", "scores.json"), ("groups", "groups.tsv"), ("scored", "fields.parquet"),
        ("predictions", "predictions.parquet"), ("breakdown", "breakdown.json"), ("leaks", "leaks.json"),
        ("tests", "tests.tsv"),
    )}  # fmt: skip
    compare_models(
        inputs={
            "fields": run.path("catalog/fields.parquet"),
            "split": run.path("split/split.parquet"),
            **{
                name: [run.path(pattern.format(model=model)) for model in run.models]
                for name, pattern in per_model.items()
            },
            "embed": sorted(str(path) for path in (run.root / "summaries" / "embed").glob("*.json")),
            "train": [],
        },
        models={name: {"field_px": None, "training": None, **told} for name, told in run.models.items()},
        evaluation=EVALUATION,
        settings=settings,
        outputs={name: str(Path(run.path("report")) / file) for name, file in COMPARISON.items()},
        summary=run.path("summaries/compare/run.json"),
    )


def write_fake_maps(run: FakeRun, model: str, settings: dict[str, Any]) -> dict[str, list[str]]:
    """Maps of a model as if it had been trained here, a history and its figures; gives further inputs of the pages."""
    rng = np.random.default_rng(0)
    folder = run.root / "evaluation" / model
    about = [
        {"unit_id": f"f{number}@v", "field_id": f"f{number}", "version": "v", "class": name, "kind": kind,
         "probability": 0.5, "signal": None if kind == "missed" else 0.4, "signal_even": 0.2,
         "compartment": 0.3 if kind == "right" else None, "compartment_even": 0.1}
        for number, (name, kind) in enumerate([("Cytosol", "right"), ("Cytosol", "missed"), ("Nucleoli", "false")])
    ]  # fmt: skip
    told = json.dumps({"model": model, "own_maps": False, "roles": ["nucleus", "protein"], "pictures": about}).encode()
    arrays = {f"image_{number}": rng.integers(0, 255, (2, 40, 60), np.uint8) for number in range(3)}
    arrays |= {f"map_{number}": rng.integers(0, 255, (40, 60), np.uint8) for number in range(3)}
    np.savez_compressed(folder / "attention.npz", about=np.frombuffer(told, np.uint8), **arrays)
    rows = pd.DataFrame(
        {"kind": np.repeat(["right", "missed", "false"], 12), "class": np.tile(["Cytosol", "Nucleoli", "Vesicles"], 12),
         "cluster": np.tile(["A", "B", "C", "D"], 9), "signal": rng.random(36), "signal_even": rng.random(36) / 2,
         "compartment": np.where(np.arange(36) < 24, rng.random(36), np.nan), "compartment_even": rng.random(36) / 2,
         "compartment_cells": rng.random(36)}
    )  # fmt: skip
    tables.write_tsv(folder / "pointing.tsv", pointing_table(rows, 100, 0), POINTING_COLUMNS)
    trained = run.root / "models" / model
    trained.mkdir(parents=True)
    (trained / "card.md").write_text("# Model, drawn\n")
    epochs = pd.DataFrame(rng.random((6, len(HISTORY))), columns=HISTORY).assign(epoch=range(1, 7))
    epochs.to_csv(trained / "history.csv", index=False)
    write_json(trained / "train.json", {"best_epoch": 4})
    figures = run.root / "report" / "figures" / model
    plot_training(
        model, {"history": str(trained / "history.csv"), "train": str(trained / "train.json"),
                "shares": str(folder / "pointing.tsv")},
        settings, {name: str(figures / f"{name}.png") for name in ("history", "pointing")},
    )  # fmt: skip
    return {
        "maps": [str(folder / "attention.npz")],
        "shares": [str(folder / "pointing.tsv")],
        "cards": [str(trained / "card.md")],
    }
