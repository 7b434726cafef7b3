"""The rule compare: tables and figures of all models side by side."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wherein import tables
from wherein.analysis.compare import (
    CLASS_COLUMNS,
    LABEL_COLUMNS,
    MODEL_COLUMNS,
    PAIR_COLUMNS,
    TEST_COLUMNS,
    Evaluated,
    class_table,
    group_test_table,
    label_table,
    model_table,
    pair_table,
)
from wherein.labels import vocabulary
from wherein.models.labelled import indicator
from wherein.models.scored import KEY
from wherein.models.statistics import read_fields
from wherein.summary import stage_summary
from wherein.views.comparison_figures import (
    draw_classes_of_models,
    draw_input_sizes,
    draw_labels,
    draw_precision_recall,
    draw_scores,
    draw_speed,
    draw_training_counts,
)


def compare_models(
    inputs: Mapping[str, Any],
    models: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    settings: dict[str, Any],
    outputs: Mapping[str, str],
    summary: str,
) -> None:
    """Compare all models that were evaluated.

    Args:
        inputs: `fields`, `split`, and for each model, in the same order, `scores`, `groups`, `scored`, `predictions`,
            `breakdown`, `leaks`, `tests`; `embed` and `train`, summaries of jobs.
        models: the section `models` of the configuration.
        evaluation: `vocabulary`, `controls`, `draws`, `seed`.
        settings: the section `report` of the configuration.
        outputs: tables `models`, `pairs`, `classes`, `tests`, `labels`, and PNGs `scores`, `precision_recall`,
            `classes_figure`, `training_counts`, `speed`, `input_sizes`, `labels_figure`.
        summary: the job's summary.
    """
    with stage_summary(summary, "compare", "run", ("numpy", "scipy", "matplotlib")) as report:
        found = read_models(inputs, models)
        catalog = tables.current_fields(inputs["fields"])
        folds = tables.read_tables([inputs["split"]], [*KEY, "field_fold"])
        folds = folds.merge(catalog[[*KEY, "sample", "labels", "control"]], on=KEY)
        table = model_table(found)
        order = {name: number for number, name in enumerate(table["model"])}
        found.sort(key=lambda model: order[model.name])
        pairs = pair_table(found, folds, evaluation["draws"], evaluation["seed"])
        classes = class_table(found)
        tests = {Path(path).parent.name: read_groups(path) for path in several(inputs, "tests")}
        tests = group_test_table({name: tests[name] for name in table["model"]}, table)
        words = vocabulary(evaluation["vocabulary"])
        truth, known = indicator(folds.assign(control=folds["control"].astype(bool)), words, evaluation["controls"])
        labels = label_table(truth[known], words)
        tables.write_tsv(outputs["models"], table, MODEL_COLUMNS)
        tables.write_tsv(outputs["pairs"], pairs, PAIR_COLUMNS)
        tables.write_tsv(outputs["classes"], classes, CLASS_COLUMNS)
        tables.write_tsv(outputs["tests"], tests, TEST_COLUMNS)
        tables.write_tsv(outputs["labels"], labels, LABEL_COLUMNS)
        draw_scores(table, settings, outputs["scores"])
        draw_precision_recall(table, settings, outputs["precision_recall"])
        draw_classes_of_models(classes, list(table["model"]), settings, outputs["classes_figure"])
        draw_training_counts(classes, list(table["model"]), settings, outputs["training_counts"])
        draw_speed(table, settings, outputs["speed"])
        draw_input_sizes(table, settings, outputs["input_sizes"])
        draw_labels(labels, words.name, settings, outputs["labels_figure"])
        report.counts = {"in": len(found), "kept": len(found)}


def read_models(inputs: Mapping[str, Any], models: Mapping[str, Any]) -> list[Evaluated]:
    """Read what is known of every model, in the order of the inputs."""
    embed = defaultdict(list)
    for path in several(inputs, "embed"):
        each = read_json(path)
        embed[each["item"].rsplit("/", 1)[0]].append(each)
    train = {each["item"]: each for each in map(read_json, several(inputs, "train"))}
    lists = ("scores", "groups", "scored", "predictions", "breakdown", "leaks")
    found = []
    for scores, groups, scored, predictions, breakdown, leaks in zip(
        *(several(inputs, name) for name in lists), strict=True
    ):
        name = Path(scores).parent.name
        fields, words = read_fields(scored)
        described = tables.read_tables([predictions], KEY)
        found.append(
            Evaluated(
                name=name,
                settings=models[name],
                scores=read_json(scores),
                groups=read_groups(groups),
                fields=fields,
                words=words,
                breakdown=read_json(breakdown),
                alarms=read_json(leaks)["alarms"],
                n_described=len(described.drop_duplicates()),
                n_units=len(described),
                embed=embed[name],
                train=train.get(name, {}),
            )
        )
    return found


def read_groups(path: str) -> pd.DataFrame:
    """Read groups.tsv or tests.tsv; `class` is null in the rows of means, `value` "" for all fields."""
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"value": str, "class": str})
    return table.assign(value=table["value"].fillna(""))


def read_json(path: str | Path) -> dict[str, Any]:
    """Read one JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def several(inputs: Mapping[str, Any], name: str) -> Sequence[str]:
    """Paths of an input that has any number of them; Snakemake gives a single one as a text."""
    found = inputs.get(name, [])
    return [found] if isinstance(found, str) else list(found)
