"""All models of a run side by side: scores with intervals, what each costs, and which is better than which."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.analysis.correction import adjusted
from wherein.analysis.leaks import has_partner
from wherein.labels import Vocabulary
from wherein.metrics import bootstrap, classification
from wherein.metrics.multilabel import cardinality, combinations
from wherein.metrics.paired import changed, kolmogorov_smirnov, wilcoxon_better
from wherein.models.scored import KEY
from wherein.models.statistics import Fields

SCORES = ("f1", "precision", "recall", "auc", "average_precision")

MODEL_COLUMNS = [
    *("model", "kind", "level", "trained", "vocabulary", "n_fields", "n_genes", "n_classes", "baseline_f1"),
    *(f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")),
    *("f1_one", "f1_several", "tuned_accuracy", "alarms"),
    *(
        "parameters",
        "input_px",
        "tile_px",
        "family",
        "epochs",
        "seconds_per_epoch",
        "images_per_second",
        "data_wait_share",
    ),
    *("training_mb", "training_gpu_mb", "fields_per_second", "peak_mb", "peak_gpu_mb", "device"),
]

PAIR_COLUMNS = [
    *("model", "other", "vocabulary", "n_fields", "n_classes", "f1", "f1_other", "p"),
    *("difference", "difference_low", "difference_high"),
    *("corrected", "corrected_with_partner", "broken", "broken_with_partner"),
]

TEST_COLUMNS = [
    *("model", "of", "group", "value", "other", "n", "n_other", "f1", "f1_other", "distance", "p", "q"),
]

SIZE_KEYS = ("field_px", "pixel_size_um", "tile_px", "batch")
"""Keys of a network that say how large and how coarse its images are, and how many it takes at once."""

LABEL_COLUMNS = ["what", "value", "n_classes", "n", "share"]

CLASS_COLUMNS = ["model", "class", "group", "value", "n", "n_train", "f1", "f1_low", "f1_high"]


class Evaluated(NamedTuple):
    """What is known of one model.

    Attributes:
        name: of the model.
        settings: its configuration.
        scores: scores.json.
        groups: groups.tsv.
        fields: its scored fields.
        words: its vocabulary.
        breakdown: breakdown.json.
        alarms: of its leak and batch probes.
        n_described: current fields that it describes.
        n_units: current units that it describes.
        embed: summaries of its embed jobs.
        train: summary of its training; empty for a model that is not trained here.
    """

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, Any]
    groups: pd.DataFrame
    fields: Fields
    words: Vocabulary
    breakdown: Mapping[str, Any]
    alarms: Sequence[str]
    n_described: int
    n_units: int
    embed: Sequence[Mapping[str, Any]]
    train: Mapping[str, Any]


def model_table(models: Iterable[Evaluated]) -> pd.DataFrame:
    """One row a model, MODEL_COLUMNS; scores are of fields, which all models have in common. Best F1 first."""
    models = list(models)
    rows = [{**model_row(model), "family": family} for model, family in zip(models, families(models), strict=True)]
    table = pd.DataFrame(rows).reindex(columns=MODEL_COLUMNS)
    return table.sort_values(["f1", "model"], ascending=[False, True], ignore_index=True)


def model_row(model: Evaluated) -> dict[str, Any]:
    """The row of one model."""
    found = model.scores["fields"]
    row: dict[str, Any] = {
        "model": model.name,
        "kind": model.settings["kind"],
        "level": model.settings["level"],
        "trained": how_trained(model),
        "vocabulary": model.words.name,
        **{name: found[name] for name in ("n_fields", "n_genes", "n_classes")},
        "baseline_f1": found["baseline_macro_f1"],
        "alarms": len(model.alarms),
        "tuned_accuracy": (model.breakdown["tuned"] or {}).get("tuned_accuracy"),
        "input_px": model.settings.get("field_px"),
        "tile_px": model.settings["tile_px"] if model.train else None,
    }
    for name in SCORES:
        row[name] = found[f"macro_{name}"]
        row[f"{name}_low"], row[f"{name}_high"] = found["intervals"][f"macro_{name}"] or (None, None)
    means = model.groups[model.groups["class"].isna()]
    for value in ("one", "several"):
        own = means[(means["group"] == "locations") & (means["value"] == value)]
        row[f"f1_{value}"] = own["f1"].iloc[0] if len(own) else None
    return {**row, **cost_of(model)}


def families(models: Sequence[Evaluated]) -> list[str | None]:
    """Networks trained here that differ in the size of their images alone, as the input sizes that Rumetshofer et al.
    2019 compare (Fig. 8).

    Returns:
        For each model the name of the first one of its family; None for one that has no other.
    """
    rest = []
    for model in models:
        training = model.settings.get("training")
        own = {key: value for key, value in model.settings.items() if key not in (*SIZE_KEYS, "training")}
        alike = {key: value for key, value in (training or {}).items() if key not in ("batch", "checkpoint_minutes")}
        rest.append((own, alike) if training else None)
    return [
        next(models[other].name for other, found in enumerate(rest) if found == own)
        if own is not None and rest.count(own) > 1
        else None
        for own in rest
    ]


def group_test_table(tests: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """Two-sample Kolmogorov-Smirnov tests between groups of fields, of all models; and over the models themselves.

    Args:
        tests: tests.tsv of each model.
        table: model_table.

    Returns:
        TEST_COLUMNS. `of` says what is counted: the `fields` of a model, or the `models` (one row, without a model,
        where there are several): their mean F1 of fields with one location against that of fields with several, as
        Ouyang et al. 2019 (methods) test teams. `q`: Benjamini-Hochberg over all rows of fields.
    """
    parts = [own.assign(model=name, of="fields") for name, own in tests.items() if len(own)]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TEST_COLUMNS)
    found = found.reindex(columns=TEST_COLUMNS)
    found["q"] = adjusted(found["p"])
    both = table.dropna(subset=["f1_one", "f1_several"])
    if len(both) < 2:
        return found
    one, several = (both[name].to_numpy(float) for name in ("f1_one", "f1_several"))
    distance, p = kolmogorov_smirnov(one, several)
    row = {"of": "models", "group": "locations", "value": "one", "other": "several", "n": len(one),
           "n_other": len(several), "f1": one.mean(), "f1_other": several.mean(), "distance": distance,
           "p": p}  # fmt: skip
    return pd.concat([found, pd.DataFrame([row])], ignore_index=True)[TEST_COLUMNS]


def how_trained(model: Evaluated) -> str:
    """Where a model's locations come from, in a word or two."""
    if model.train:
        return "here"
    if model.settings["kind"] == "ensemble":
        return "ensemble"
    return "classifier" if model.scores["classifier"] else "elsewhere"


def cost_of(model: Evaluated) -> dict[str, Any]:
    """What a model costs to train and to use, by the summaries of its jobs; None for what they do not tell.

    Fields a second count all of a job's time, reading and writing included, over the jobs one after the other.
    """
    seconds = sum(each["seconds"] for each in model.embed)
    units = sum(each["counts"].get("kept", 0) for each in model.embed)
    jobs = [*model.embed, *([model.train] if model.train else [])]
    gpu = [each["peak_gpu_mb"] for each in jobs if each.get("peak_gpu_mb")]
    devices = sorted({str(each["device"]) for each in jobs if each.get("device")})
    told = next((each["model"]["parameters"] for each in model.embed if "parameters" in each.get("model", {})), None)
    share = model.n_described / model.n_units if model.n_units else 0
    return {
        "parameters": model.train.get("parameters", told),
        **{name: model.train.get(name) for name in ("epochs", "seconds_per_epoch", "images_per_second")},
        "data_wait_share": model.train.get("data_wait_share"),
        "training_mb": model.train.get("peak_mb"),
        "training_gpu_mb": model.train.get("peak_gpu_mb"),
        "fields_per_second": units * share / seconds if seconds and share else None,
        "peak_mb": max((each["peak_mb"] for each in jobs), default=None),
        "peak_gpu_mb": max(gpu, default=None),
        "device": ", ".join(devices) or "cpu",
    }


def class_table(models: Iterable[Evaluated]) -> pd.DataFrame:
    """F1 of every class of every model, over all fields and by cell line, with training counts: CLASS_COLUMNS."""
    parts = [
        model.groups[model.groups["class"].notna() & model.groups["group"].isin(["all", "cell_line"])].assign(
            model=model.name
        )
        for model in models
    ]
    return pd.concat(parts, ignore_index=True)[CLASS_COLUMNS] if parts else pd.DataFrame(columns=CLASS_COLUMNS)


def pair_table(models: Sequence[Evaluated], folds: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Every two models of one vocabulary on the fields that both were scored on.

    Args:
        models: at least two for any row.
        folds: `field_id`, `version`, `sample`, `field_fold` of all fields.
        draws: of genes, for the interval of the difference of macro F1.
        seed: of the draws.

    Returns:
        PAIR_COLUMNS. `p` is that `model` is no better than `other`: one-sided paired Wilcoxon test over the classes.
        What `model` corrects and breaks is compared with `other`: fields whose set of locations is exactly right.
        A partner is another field of the sample in another fold of the split of fields. The split of genes, by which
        models are scored, keeps a protein's sample on one side, so that by it none of its fields has one.
    """
    partner = has_partner(pd.factorize(folds["sample"])[0], folds["field_fold"].to_numpy(int))
    known = {key: bool(has) for key, has in zip(zip(*(folds[name] for name in KEY), strict=True), partner, strict=True)}
    rows = [
        pair_row(first, second, known, draws, seed)
        for first, second in permutations(models, 2)
        if first.words.name == second.words.name
    ]
    return pd.DataFrame([row for row in rows if row["n_fields"]]).reindex(columns=PAIR_COLUMNS)


def pair_row(
    first: Evaluated, second: Evaluated, partner: Mapping[tuple[str, str], bool], draws: int, seed: int
) -> dict[str, Any]:
    """The row of one pair."""
    a, b = shared(first.fields, second.fields)
    row: dict[str, Any] = {"model": first.name, "other": second.name, "vocabulary": first.words.name}
    row["n_fields"] = len(a.truth)
    if not len(a.truth):
        return row
    f1, f1_other = (classification.class_scores(part.truth, part.predicted)["f1"].to_numpy() for part in (a, b))
    row |= {"f1": float(np.nanmean(f1)), "f1_other": float(np.nanmean(f1_other))}
    row |= {"n_classes": int(np.isfinite(f1).sum()), "p": wilcoxon_better(f1, f1_other)}
    chosen = bootstrap.draw_clusters(a.units["cluster"].to_numpy(str), draws, seed)
    means = [bootstrap.macro(bootstrap.resampled_counts(part.truth, part.predicted, chosen)["f1"]) for part in (a, b)]
    row["difference"] = row["f1"] - row["f1_other"]
    low, high = bootstrap.interval(means[0] - means[1], row["difference"], lowest=-1.0)
    row |= {"difference_low": float(low), "difference_high": float(high)}
    right, right_other = ((part.predicted == part.truth).all(axis=1) for part in (a, b))
    has = np.array([partner.get(key, False) for key in zip(a.units["field_id"], a.units["version"], strict=True)])
    return {**row, **changed(right_other, right, has)._asdict()}


def shared(first: Fields, second: Fields) -> tuple[Fields, Fields]:
    """The fields that two models were both scored on, in the order of the first."""
    place = {key: row for row, key in enumerate(zip(second.units["field_id"], second.units["version"], strict=True))}
    keys = zip(first.units["field_id"], first.units["version"], strict=True)
    pairs = [(row, place[key]) for row, key in enumerate(keys) if key in place]
    rows, others = (np.array(part, int) for part in zip(*pairs, strict=True)) if pairs else (np.zeros(0, int),) * 2
    return taken(first, rows), taken(second, others)


def taken(fields: Fields, rows: np.ndarray) -> Fields:
    """Some rows of scored fields."""
    return Fields(fields.units.iloc[rows].reset_index(drop=True), *(part[rows] for part in fields[1:]))


def label_table(truth: np.ndarray, words: Vocabulary) -> pd.DataFrame:
    """What the labelled data look like: locations of a field, frequency of each, and which stand together.

    Args:
        truth: (N, K) bool, published classes of all fields that passed.
        words: the vocabulary.

    Returns:
        LABEL_COLUMNS; `what` is `cardinality`, `class` or `combination`.
    """
    number = cardinality(truth)
    counts = number.assign(what="cardinality", value=number["n_classes"].astype(str))
    n = truth.sum(axis=0)
    classes = pd.DataFrame({"what": "class", "value": words.classes, "n_classes": 1, "n": n})
    sets = combinations(truth, words.classes).rename(columns={"classes": "value"}).assign(what="combination")
    table = pd.concat([counts, classes, sets], ignore_index=True)
    return table.assign(share=table["n"] / max(len(truth), 1))[LABEL_COLUMNS]
