"""The page that compares all models, and the page of each: what the templates are given."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from wherein.models.annotated import BOTH_WRONG, MODEL_WRONG, PEOPLE_WRONG
from wherein.models.learned import SINGLE_TARGET
from wherein.models.scored import KEY
from wherein.models.statistics import Fields, read_fields
from wherein.models.weights import read_weights
from wherein.readers import UnreadableImage
from wherein.views.attention import are_own, draw_attention
from wherein.views.comparison import read_groups
from wherein.views.composites import composite, contrast, reduced
from wherein.views.examples import FieldImages
from wherein.views.model_card import short_card
from wherein.views.pages import UNKNOWN_HERE
from wherein.views.site_tables import ModelTables, paths_of
from wherein.views.training_figures import KINDS as TRAINED_KINDS
from wherein.views.training_figures import read_pointing

log = logging.getLogger(__name__)

PICTURE_PX = 560
"""Longer side of a picture of the gallery."""

KINDS = {
    BOTH_WRONG: "the model and all people are wrong",
    PEOPLE_WRONG: "all people are wrong, the model is right",
    MODEL_WRONG: "the model is wrong, all people are right",
    "": "the model is wrong, and sure of it",
}
"""What a field of the gallery is there for, in the order in which they are shown."""

COMPARISON_FIGURES = (
    ("models_scores", "Mean F1 of every model with its interval"),
    ("models_precision_recall", "Mean precision against mean recall of all models"),
    ("models_classes", "F1 of each location by each model"),
    ("models_training_counts", "F1 against the number of training fields"),
    ("models_speed", "F1 against speed and parameters"),
    ("models_input_sizes", "F1 against the size of the images"),
    ("labels", "Locations of a field, frequency of each, and which stand together"),
)

MODEL_FIGURES = (
    ("groups", "F1 by number of locations and cell line, and against training fields"),
    ("curves", "Precision over recall of each location"),
    ("confusion", "What fields with one location are taken for"),
    ("leaks", "What the vectors know of samples, antibodies and plates"),
)

TRAINED_FIGURES = (("history", "Losses, validation score and learning rate of each epoch"),)
"""Those of networks that were trained here."""


def comparison(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of all models shows.

    Args:
        inputs: `models_table`, `models_pairs`, `models_tests`, `leaks`.

    Returns:
        `rows` (one a model), `vocabularies` (for each, `names` and a matrix of `pairs`), `changes` (what a model
        corrects and breaks of another), `tests` (one location against several, of each model and over all),
        `n_tests` (that q is corrected for), `alarms` (model, sentences), `figures`.
    """
    rows = records(pd.read_csv(inputs["models_table"], sep="\t"))
    pairs = pd.read_csv(inputs["models_pairs"], sep="\t")
    order = [row["model"] for row in rows]
    found = {(row["model"], row["other"]): row for row in records(pairs)}
    vocabularies = []
    for name in dict.fromkeys(row["vocabulary"] for row in rows):
        names = [row["model"] for row in rows if row["vocabulary"] == name]
        if len(names) > 1:
            cells = [[found.get((model, other)) for other in names] for model in names]
            vocabularies.append({"name": name, "names": names, "cells": cells})
    place = {name: number for number, name in enumerate(order)}
    # the better of two is told against the worse
    changes = [row for row in found.values() if place[row["model"]] < place[row["other"]]]
    tests = pd.read_csv(inputs["models_tests"], sep="\t", dtype={"value": str})
    alarms = {Path(path).parent.name: read_json(path)["alarms"] for path in paths_of(dict(inputs), "leaks")}
    return {
        "rows": rows,
        "vocabularies": vocabularies,
        "changes": changes,
        "tests": records(tests[tests["group"] == "locations"]),
        "n_tests": int(tests["q"].notna().sum()),
        "alarms": [{"model": name, "text": text} for name in order for text in alarms.get(name, [])],
        "figures": COMPARISON_FIGURES,
    }


def model_pages(
    inputs: Mapping[str, Any],
    models: Sequence[ModelTables],
    summaries: Sequence[Mapping[str, Any]],
    images: FieldImages,
    folder: Path,
    settings: dict[str, Any],
) -> list[dict[str, Any]]:
    """What the page of each model shows; the pictures of its gallery are drawn.

    Args:
        inputs: for each model `breakdown`, `leaks`, `neighbours`, `judges`, `annotated`, `scored`, `groups`; `cards`
            of those that were trained here or put together of such, `maps` and `shares` of those that were trained;
            `weights`, resources/weights.tsv.
        models: the models, in the order of the inputs.
        summaries: of all jobs.
        images: where the pixels come from.
        folder: of the pages.
        settings: the section `report` of the configuration.

    Returns:
        For each model `name`, `page` and what the template names.
    """
    rest = dict(inputs)
    names = ("breakdown", "leaks", "neighbours", "judges", "annotated", "scored", "groups", "cards", "maps", "shares")
    paths = {name: {Path(path).parent.name: path for path in paths_of(rest, name)} for name in names}
    known = {name: row for path in paths_of(rest, "weights") for name, row in read_weights(path).items()}
    described = [each for each in summaries if each["stage"] == "embed" and "model" in each]
    told = []
    (folder / "gallery").mkdir()
    for model in models:
        own = {name: found.get(model.name) for name, found in paths.items()}
        fields, words = read_fields(own["scored"])
        # all as text: a version may look like a number
        annotated = records(pd.read_csv(own["annotated"], sep="\t", keep_default_na=False, dtype=str))
        embedded = [each["model"] for each in described if each["item"].rsplit("/", 1)[0] == model.name]
        card = Path(own["cards"]).read_text(encoding="utf-8") if own["cards"] else None
        chosen = gallery(fields, words.classes, annotated, settings["gallery_fields"])
        told.append(
            {
                "name": model.name,
                "page": page_of(model.name),
                "settings": model.settings,
                "scores": model.scores["fields"],
                "of_units": model.scores,
                "classes": records(model.classes[(model.classes["level"] == "field") & (model.classes["n"] > 0)]),
                "groups": records(read_groups(own["groups"])),
                "breakdown": read_json(own["breakdown"]),
                "leaks": read_json(own["leaks"]),
                "learns_reagents": learns_reagents(model.settings),
                "judges": records(pd.read_csv(own["judges"], sep="\t")),
                "gallery": draw_gallery(chosen, images, folder / "gallery", model.name, settings),
                "card": card or short_card(model.name, model.settings, model.scores, embedded, known),
                "figures": (*MODEL_FIGURES, *(TRAINED_FIGURES if own["cards"] and own["maps"] else ())),
                "attention": attention(own, folder / "gallery", model.name, settings),
                "sample_share": sample_share(own["neighbours"]) if learns_reagents(model.settings) else None,
            }
        )
    return told


def attention(
    own: Mapping[str, str | None], folder: Path, model: str, settings: dict[str, Any]
) -> dict[str, Any] | None:
    """What a page tells of where a network looks; the maps are drawn.

    Args:
        own: `maps` (attention.npz) and `shares` (pointing.tsv); None for a model without maps.
        folder: where pictures go.
        model: name of the model.
        settings: the section `report` of the configuration.

    Returns:
        `means` (rows of pointing.tsv over all classes, `kind` in words), `maps` (`draw_attention`), `own_maps` (whether
        they are the network's own), `kinds`; None for a model without maps.
    """
    if not own["maps"] or not own["shares"]:
        return None
    table = read_pointing(own["shares"])
    means = records(table[table["class"] == ""])
    return {
        "means": [{**row, "kind": TRAINED_KINDS[row["kind"]]} for row in means],
        "maps": draw_attention(own["maps"], folder, model, settings),
        "own_maps": are_own(own["maps"]),
        "kinds": TRAINED_KINDS,
    }


def learns_reagents(settings: Mapping[str, Any]) -> bool:
    """Whether a model was trained to tell reagents apart, and so may know preparations rather than locations."""
    losses = (settings.get("training") or {}).get("loss") or {}
    return any(losses.get(name) for name in SINGLE_TARGET)


def sample_share(path: str) -> float | None:
    """Share of fields whose nearest field is of the same sample, by a split of fields; None where none has a partner.

    Args:
        path: neighbours.tsv.
    """
    table = pd.read_csv(path, sep="\t")
    row = table[(table["split"] == "field_fold") & (table["attribute"] == "sample")]
    return None if row["share"].isna().all() else float(row["share"].iloc[0])


def page_of(model: str) -> str:
    """Name of the page of a model."""
    return f"model-{model}.html"


def gallery(
    fields: Fields, classes: Sequence[str], annotated: Sequence[Mapping[str, Any]], most: int
) -> list[dict[str, Any]]:
    """Fields to look at: those that people or the model got wrong, then those that the model is surest of, wrongly.

    Args:
        fields: the scored fields.
        classes: names of the classes.
        annotated: rows of annotated.tsv.
        most: fields to show.

    Returns:
        field_id, version, kind (in words), published, predicted (in words), probability, answers (of people; empty).
    """
    shown = [
        {**{name: row[name] for name in KEY}, "kind": KINDS[kind], "published": row["published"],
         "predicted": row["model"], "probability": None, "answers": row["answers"].split(";")}
        for kind in (BOTH_WRONG, PEOPLE_WRONG, MODEL_WRONG)
        for row in annotated
        if row["kind"] == kind
    ]  # fmt: skip
    taken = {(row["field_id"], row["version"]) for row in shown}
    # how much surer the model is of the surest wrong class than of the surest right one
    wrong = np.where(fields.truth, -np.inf, fields.probabilities)
    right = np.where(fields.truth, fields.probabilities, -np.inf).max(axis=1, initial=-np.inf)
    excess = wrong.max(axis=1, initial=-np.inf) - right
    for row in np.argsort(-excess, kind="stable"):
        key = (fields.units["field_id"][row], fields.units["version"][row])
        if len(shown) >= most or not excess[row] > 0:
            break
        if key not in taken:
            best = int(wrong[row].argmax())
            shown.append(
                {"field_id": key[0], "version": key[1], "kind": KINDS[""],
                 "published": ", ".join(name for name, has in zip(classes, fields.truth[row], strict=True) if has),
                 "predicted": classes[best], "probability": float(wrong[row, best]), "answers": []}
            )  # fmt: skip
    return shown[:most]


def draw_gallery(
    chosen: Sequence[Mapping[str, Any]], images: FieldImages, folder: Path, model: str, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Draw fields at their own contrast, one WebP file each; one that cannot be read is left out.

    Args:
        chosen: as `gallery` gives them.
        images: where the pixels come from.
        folder: where the files go.
        model: name of the model.
        settings: the section `report` of the configuration.

    Returns:
        The same with `file`, `height`, `width`.
    """
    drawn = []
    for row in chosen:
        try:
            small, _ = reduced(images.read(row["field_id"], row["version"]), PICTURE_PX)
        except UnreadableImage as error:
            log.info("no picture of %s@%s: %s", row["field_id"], row["version"], error)
            continue
        picture = composite(small, contrast(small, settings["low_percentile"], settings["high_percentile"]))
        name = f"{model}-{len(drawn):03d}.webp"
        Image.fromarray(picture).save(folder / name, format="WEBP", quality=settings["image_quality"], method=2)
        drawn.append({**row, "file": name, "height": picture.shape[0], "width": picture.shape[1]})
    return drawn


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as templates take them, null for what is not known."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def read_json(path: str) -> dict[str, Any]:
    """Read one JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def span(low: float | None, high: float | None) -> str:
    """An interval as people read it; a dash where there is none."""
    return UNKNOWN_HERE if low is None or pd.isna(low) else f"{low:.2f} to {high:.2f}"


def chance(p: float | None) -> str:
    """A probability of a test as people read it."""
    if p is None or pd.isna(p):
        return UNKNOWN_HERE
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"
