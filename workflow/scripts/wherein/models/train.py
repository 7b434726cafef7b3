"""The stage train: one network, from its training table to weights and card.

What a training needs to go on after it was stopped lies under `state/{digest}`, of the settings and the table: another
configuration never goes on from it. It is removed when the training is done.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from wherein import tables
from wherein.atomic import atomic_path
from wherein.crops.store import CropStore
from wherein.digest import digest, sha256_of
from wherein.models import images
from wherein.models.card import card_text
from wherein.models.device import choose_device, describe
from wherein.models.feeds import Draw, Pixels, TileFeed, TilePlan, TrainingFeed, class_members
from wherein.models.learned import predicts
from wherein.models.networks.build import build, load, parameters
from wherein.models.networks.registry import NETWORKS
from wherein.models.trained import save_trained
from wherein.models.training import imbalance
from wherein.models.training.distributed import Place, processes, share
from wherein.models.training.history import write_history
from wherein.models.training.trainer import Fitted, fit
from wherein.models.training_table import TRAIN, VALIDATION
from wherein.summary import Summary, stage_summary

LOG = logging.getLogger(__name__)

KEPT_BYTES = 2**30
"""Decoded fields that a training on a processor keeps: decoding took a fifth of an epoch of GapNet-PL at 256 pixels."""


class Rows(NamedTuple):
    """Rows of a training table of one part.

    Attributes:
        table: the rows.
        labels: (N, K) bool.
        units: their pixels.
    """

    table: pd.DataFrame
    labels: np.ndarray
    units: images.Units


def train_model(
    model: str,
    table: str,
    stores: Sequence[str],
    teacher: Sequence[str],
    settings: Mapping[str, Any],
    device: str,
    threads: int,
    checkpoint_minutes: float,
    state: str,
    weights: str,
    history: str,
    card: str,
    summary: str,
    start: str | None = None,
) -> None:
    """Train one network, or go on with a training that was stopped.

    Where several processes train together (`wherein.models.training.together`), each calls this with the same
    arguments, and the first of them writes.

    Args:
        model: the model's name.
        table: its training table.
        stores: stores of fields or of crops.
        teacher: predictions to learn from beside the labels; empty for none.
        settings: `wherein.models.learned.training_settings`.
        device: `auto`, `cuda` or `cpu`.
        threads: of the processor.
        checkpoint_minutes: minutes between two states that are saved; no part of `settings`, since a training goes on
            from a state whatever they are.
        state: folder of what trainings go on from.
        weights: the network to write.
        history: CSV of the epochs to write.
        card: Markdown to write.
        summary: the job's summary.
        start: weights to start from; None for random ones.

    Raises:
        ValueError: the start is of another network, or lacks a role; or there is nothing to learn.
        RuntimeError: `cuda` is asked for and there is none, or the loss is no longer a number.
        SystemExit: told to stop; the state is saved.
    """
    torch.set_num_threads(threads)
    with ExitStack() as opened:
        told = stage_summary(summary, "train", model, ("numpy", "torch", "monai"))
        report = opened.enter_context(told) if share()[0] == 0 else Summary()
        place = opened.enter_context(processes(choose_device(device)))
        about, parts = prepare(model, table, stores, settings)
        known = tables.read_metadata(table)
        kept = Path(state) / digest(
            [dict(settings), *map(sha256_of, [table, *([start] if start else []), *files_of(settings)])]
        )
        network = build(
            settings["kind"],
            len(about["inputs"]),
            len(about["classes"]),
            about["seed"],
            about["side_px"],
            **settings["options"],
        )
        if start:
            load(network, start, about)
        training = _training_feed(opened, parts[TRAIN], teacher, settings, about, place, threads)
        validation = _tile_feed(opened, parts[VALIDATION], settings, about, place) if predicts(settings) else None
        fitted = fit(
            network,
            training,
            validation,
            settings["training"] | {"checkpoint_minutes": checkpoint_minutes},
            kept,
            place,
            class_weights=_class_weights(parts[TRAIN].labels, settings["training"]),
        )
        if not place.first:
            return
        report.extra["processes"] = place.world
        save_trained(weights, fitted.network, about | {"parameters": parameters(fitted.network)})
        write_history(history, fitted.rows)
        facts = _facts(about, fitted, settings, known, describe(place.device))
        with atomic_path(card) as partial:
            partial.write_text(card_text(facts, _class_rows(parts, about["classes"])))
        _report(report, fitted, parts, facts, place.device)
    shutil.rmtree(kept, ignore_errors=True)
    with suppress(OSError):  # the state of a training under other settings may lie beside it
        kept.parent.rmdir()


def files_of(settings: Mapping[str, Any]) -> list[str]:
    """Files that a training reads because its settings name them: a policy of augmentation."""
    policy = settings["training"]["augmentation"].get("policy") or {}
    return [policy["file"]] if policy.get("file") else []


def prepare(
    model: str, table: str, stores: Sequence[str], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Rows]]:
    """What is known of a network before it is trained, and the rows to train and to validate it on.

    Args:
        model: the model's name.
        table: its training table.
        stores: stores of fields or of crops.
        settings: `wherein.models.learned.training_settings`.

    Returns:
        about: `wherein.models.trained.KEYS`.
        parts: rows by part.
    """
    known = tables.read_metadata(table)
    rows = tables.read_tables([table])
    side = settings["tile_px"]
    if settings["level"] == "cell":
        side = _side_of_cells(stores, settings)
    about = {
        "model": model,
        **{key: settings[key] for key in ("kind", "level", "inputs", "options", "grid", "pixel_size_um",
                                          "normalization", "blank_neighbours", "seed")},
        "classes": known["classes"],
        "vocabulary": known["vocabulary"],
        "side_px": side,
    }  # fmt: skip
    if not predicts(settings):
        about |= {"reagents": sorted(rows.loc[rows["part"] == TRAIN, "reagent"].dropna().unique().tolist())}
        if len(about["reagents"]) < 2:
            raise ValueError(
                f"model {model!r} tells reagents apart (loss arcface or cross_entropy), and its training rows have "
                f"{len(about['reagents'])}; it needs two or more: give the table of fields a column reagent, or take "
                "another loss"
            )
    parts = {}
    for part in (TRAIN, VALIDATION):
        own = rows[rows["part"] == part].reset_index(drop=True)
        if not predicts(settings):
            own = own[own["reagent"].notna()].reset_index(drop=True)
        units = (
            images.cell_units(stores, about["inputs"], own, settings["pixel_size_um"], side)
            if settings["level"] == "cell"
            else images.field_units(stores, about["inputs"], own["unit_id"].tolist())
        )
        parts[part] = Rows(own, own[about["classes"]].to_numpy(bool), units)
    return about, parts


def _side_of_cells(stores: Sequence[str], settings: Mapping[str, Any]) -> int:
    """Pixels that a network sees of a crop: `tile_px`, or as many as the largest crop has, to the network's step."""
    opened = [store for store in map(CropStore, stores) if len(store)]
    largest = max((store.view(settings["pixel_size_um"]).window_px for store in opened), default=settings["tile_px"])
    network = NETWORKS[settings["kind"]]
    side = min(settings["tile_px"], largest)
    return max(side - side % network.multiple_of_px, network.smallest_px)


def _training_feed(
    opened: ExitStack,
    rows: Rows,
    teacher: Sequence[str],
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
    place: Place,
    threads: int,
) -> TrainingFeed:
    training, share = settings["training"], (place.rank, place.world)
    repeats = members = None
    if training["sampling"] == "oversample":
        repeats = imbalance.oversampling_factors(rows.labels, training["oversample_limit"])
    elif training["sampling"] == "balanced":
        members = class_members(rows.labels)
    plan = Draw(rows.units, about["side_px"], training["batch"], training["seed"], repeats, members, share)
    # a processor that trains has no core to spare for decoding
    workers = min(threads - 1, 8) if place.device.type == "cuda" else 0
    pixels = opened.enter_context(_pixels(rows.units, plan, about, place.device, workers))
    targets, count = _targets(rows, teacher, about)
    return TrainingFeed(pixels, targets, count, training["augmentation"], training["seed"], share)


def _tile_feed(
    opened: ExitStack, rows: Rows, settings: Mapping[str, Any], about: Mapping[str, Any], place: Place
) -> TileFeed:
    plan = TilePlan(rows.units, about["side_px"], settings["training"]["batch"], (place.rank, place.world))
    pixels = opened.enter_context(_pixels(rows.units, plan, about, place.device, 0))
    return TileFeed(pixels, rows.labels.astype(np.float32))


def _pixels(
    units: images.Units, plan: Draw | TilePlan, about: Mapping[str, Any], device: torch.device, workers: int
) -> Pixels:
    source = images.UnitSource(
        units,
        about["inputs"],
        about["side_px"],
        about["level"],
        about["pixel_size_um"],
        about["blank_neighbours"],
        # each process that decodes would keep fields of its own
        keep_bytes=0 if workers else KEPT_BYTES,
    )
    return Pixels(units, source, plan, about["normalization"], device, workers, centred=about["level"] == "cell")


def _targets(rows: Rows, teacher: Sequence[str], about: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """What is learned of each unit, and the number of classes."""
    if "reagents" in about:
        place = {name: number for number, name in enumerate(about["reagents"])}
        return rows.table["reagent"].map(place).to_numpy(np.int64), len(place)
    labels = rows.labels.astype(np.float32)
    if not teacher:
        return labels, labels.shape[1]
    told = tables.read_tables(teacher).set_index("unit_id")[about["classes"]]
    soft = told.reindex(rows.table["unit_id"]).to_numpy(np.float32)
    return np.stack([labels, soft], axis=1), labels.shape[1]


def _class_weights(labels: np.ndarray, training: Mapping[str, Any]) -> np.ndarray | None:
    if training["class_weights"] == "none":
        return None
    return imbalance.class_weights(labels, training["class_weight_limit"])


def _class_rows(parts: Mapping[str, Rows], classes: Sequence[str]) -> pd.DataFrame:
    """Rows of each class: class, n_train, n_validation."""
    counts = {f"n_{part}": parts[part].labels.sum(axis=0) for part in (TRAIN, VALIDATION)}
    return pd.DataFrame({"class": list(classes), **counts})


def _facts(
    about: Mapping[str, Any], fitted: Fitted, settings: Mapping[str, Any], known: Mapping[str, Any], device: str
) -> dict[str, Any]:
    """What the card and the summary tell of a training."""
    return {
        **about,
        "training": settings["training"],
        "table": dict(known),
        "device": device,
        "parameters": parameters(fitted.network),
        "epochs": len(fitted.rows),
        **{
            key: getattr(fitted, key)
            for key in ("best_epoch", "best_score", "stopped_early", "seconds_per_epoch",
                        "images_per_second", "data_wait_share", "precision", "accumulate")
        },
    }  # fmt: skip


def _report(
    report: Summary, fitted: Fitted, parts: Mapping[str, Rows], facts: Mapping[str, Any], device: torch.device
) -> None:
    report.counts = {"in": sum(len(rows.table) for rows in parts.values()), "kept": len(parts[TRAIN].table)}
    report.counts["validation"] = len(parts[VALIDATION].table)
    report.extra |= {
        key: facts[key]
        for key in ("device", "parameters", "epochs", "best_epoch", "best_score", "stopped_early", "seconds_per_epoch",
                    "images_per_second", "data_wait_share", "precision", "seed")
    }  # fmt: skip
    # that of the whole training, also of what was trained before a stop; of the process every summary tells anyway
    report.extra["peak_gpu_mb"] = fitted.peak_mb if device.type == "cuda" else None
    if fitted.stopped_early:
        report.notes.append(f"stopped after {len(fitted.rows)} epochs: the validation score no longer rose")
