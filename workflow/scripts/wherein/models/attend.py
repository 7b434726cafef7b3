"""The rule attend: where a trained network looks when it tells a location, and whether the protein lies there.

Ouyang et al. 2019 (Fig. 3 and methods, class activation maps) look at single maps. Here maps are drawn of fields that a
seed chooses among those that the network told rightly, missed, or took for what they are not, and each is held against
the protein's image and, in simulated fields, against the place where the protein was drawn.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from skimage.filters import threshold_otsu
from torch import nn

from wherein import tables
from wherein.atomic import atomic_path
from wherein.crops.resample import resample
from wherein.labels import Vocabulary
from wherein.metrics.pointing import POINTING_COLUMNS, pointing, pointing_table
from wherein.models import images
from wherein.models.attention import OWN, attention_maps, draws_maps, over_images
from wherein.models.compartments import Compartments, Drawn
from wherein.models.device import choose_device, describe, peak_gpu_mb
from wherein.models.feeds import Pixels, TilePlan
from wherein.models.networks.registry import NETWORKS
from wherein.models.scored import KEY
from wherein.models.statistics import Fields, read_fields
from wherein.models.trained import load_trained
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

RIGHT, MISSED, FALSE = "right", "missed", "false"
"""What became of the class that a map is of: published and predicted, published alone, predicted alone."""

MAP_COLUMNS = [
    *("unit_id", *KEY, "gene_group", "class", "kind", "probability", "signal", "signal_even"),
    *("compartment", "compartment_even", "compartment_cells", "picture"),
]

BRIGHT = 99.8
"""Percentile above which the protein's intensities count as equal when its signal is told from the rest: a few specks
would else be all of it."""

TILES = 8
"""Tiles of a field that go through the network together: gradients take several times the memory of a prediction."""


class Size(NamedTuple):
    """What is drawn and measured.

    Attributes:
        fields: maps of each class and kind that are measured, at most.
        pictures: of these, that are kept to be looked at.
        picture_px: longer side of a kept picture.
    """

    fields: int
    pictures: int
    picture_px: int


def attend(
    model: str,
    weights: str,
    scored: str,
    predictions: str,
    fields: str,
    stores: Sequence[str],
    truth: Sequence[str],
    sources: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: str,
    threads: int,
    maps: str,
    shares: str,
    pictures: str,
    summary: str,
) -> None:
    """Draw and measure attention maps of one trained network.

    Args:
        model: the model's name.
        weights: the trained network.
        scored: results/evaluation/{model}/fields.parquet.
        predictions: results/evaluation/{model}/predictions.parquet.
        fields: fields.parquet of the catalog.
        stores: of fields on the network's grid, or of crops.
        truth: folders of simulated truth, for the shards that have one.
        sources: the section `sources` of the configuration.
        settings: `fields`, `pictures`, `picture_px`, `layer` (`maps` for those that the network draws itself; None for
            these where it draws some, else for the layer of its entry in the registry), `draws`, `seed`.
        device: `auto`, `cuda` or `cpu`.
        threads: of the processor.
        maps: attention.tsv to write, one row a map.
        shares: pointing.tsv to write.
        pictures: attention.npz to write.
        summary: the job's summary.

    Raises:
        ValueError: the network has no such layer, or it gives no maps; or a store lacks a unit.
    """
    torch.set_num_threads(threads)
    with stage_summary(summary, "attend", model, ("numpy", "torch", "monai")) as report:
        network, about = load_trained(weights)
        place = choose_device(device)
        found, words = read_fields(scored)
        size = Size(*(settings[name] for name in Size._fields))
        # a network that tells reagents apart has no map of a location
        classes = [] if "reagents" in about else [name for name in words.classes if name in about["classes"]]
        chosen = choose(found, classes, words, size, settings)
        layer = settings["layer"] or (OWN if draws_maps(network) else NETWORKS[about["kind"]].layer)
        own = layer == OWN and draws_maps(network)
        chosen, units = located(chosen, about, predictions, fields, stores)
        where = Compartments(truth, sources, words)
        rows, kept = measured(network.to(place), units, chosen, about, layer, where, words, size, place)
        table = pd.DataFrame(rows, columns=[*MAP_COLUMNS, "cluster"])
        tables.write_tsv(maps, table[MAP_COLUMNS], MAP_COLUMNS)
        tables.write_tsv(shares, pointing_table(table, settings["draws"], settings["seed"]), POINTING_COLUMNS)
        told = {"model": model, "layer": layer, "own_maps": own, "level": about["level"]}
        told["roles"] = about["inputs"]
        write_pictures(pictures, kept, told)
        report.counts = {"in": len(table), "kept": len(table)}
        report.extra |= {"device": describe(place), "peak_gpu_mb": peak_gpu_mb(place), "layer": layer}
        report.notes += notes_on(table, about)


def choose(
    fields: Fields, classes: Sequence[str], words: Vocabulary, size: Size, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Fields whose maps are drawn: of each class and kind as many as are asked for, by the seed, genes taking turns.

    Args:
        fields: the scored fields.
        classes: that the network predicts.
        words: the vocabulary.
        size: `fields` is the most of each class and kind.
        settings: `seed`.

    Returns:
        One row a map: field_id, version, gene_group, cluster, class, kind, number (in its class and kind, from 0).
    """
    parts = [pd.DataFrame(columns=[*KEY, "gene_group", "cluster", "class", "kind", "number"])]
    for name in classes:
        k = words.classes.index(name)
        has, said = fields.truth[:, k], fields.predicted[:, k]
        for number, (kind, rows) in enumerate(((RIGHT, has & said), (MISSED, has & ~said), (FALSE, said & ~has))):
            order = np.random.default_rng([settings["seed"], k, number]).permutation(np.flatnonzero(rows))
            own = fields.units.iloc[order][[*KEY, "gene_group", "cluster"]]
            own = own.assign(turn=own.groupby("cluster").cumcount()).sort_values("turn", kind="stable")
            own = own.head(size.fields).drop(columns="turn").reset_index(drop=True)
            parts.append(own.assign(**{"class": name, "kind": kind, "number": range(len(own))}))
    return pd.concat(parts, ignore_index=True)


def located(
    chosen: pd.DataFrame, about: Mapping[str, Any], predictions: str, fields: str, stores: Sequence[str]
) -> tuple[pd.DataFrame, images.Units]:
    """The units that maps are drawn of: the fields, or of each field the cell in which the class is most probable.

    Args:
        chosen: as `choose` gives them.
        about: what is known of the network.
        predictions: results/evaluation/{model}/predictions.parquet.
        fields: fields.parquet of the catalog.
        stores: where the pixels are.

    Returns:
        `chosen` with `unit_id`, `probability` and `unit` (number among the units), and the units.
    """
    told = tables.read_tables([predictions])
    by_field = dict(iter(told.groupby(KEY, sort=False)))
    names, chances = [], []
    for row in chosen.to_dict("records"):
        own = by_field[row["field_id"], row["version"]][["unit_id", row["class"]]].dropna()
        best = own.loc[own[row["class"]].idxmax()]
        names.append(best["unit_id"])
        chances.append(float(best[row["class"]]))
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    chosen = chosen.assign(unit_id=names, probability=chances, unit=[order[name] for name in names])
    if about["level"] == "field":
        return chosen, images.field_units(stores, about["inputs"], list(order))
    cells = told.set_index("unit_id").loc[list(order), KEY].reset_index()
    scale = tables.read_tables([fields], [*KEY, "full_scale"]).drop_duplicates(KEY)
    cells = cells.merge(scale, on=KEY, how="left", validate="many_to_one")
    return chosen, images.cell_units(stores, about["inputs"], cells, about["pixel_size_um"], about["side_px"])


def measured(
    network: nn.Module,
    units: images.Units,
    chosen: pd.DataFrame,
    about: Mapping[str, Any],
    layer: str,
    where: Compartments,
    words: Vocabulary,
    size: Size,
    device: torch.device,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Maps of all chosen fields, held against what they should lie on.

    Returns:
        Rows of MAP_COLUMNS and `cluster`, in the order of `chosen`; and the pictures: `row` (of attention.tsv),
        `image` (C, h, w) and `map` (h, w), uint8.
    """
    own = [part for _, part in chosen.groupby("unit", sort=True)]
    wanted = [[about["classes"].index(name) for name in part["class"]] for part in own]
    found: dict[int, dict[str, Any]] = {}
    kept = []
    for number, image, maps in unit_maps(network, units, about, layer, wanted, device):
        part = own[number]
        signal = bright(image[about["inputs"].index("protein")]) if "protein" in about["inputs"] else None
        drawn = None
        if about["level"] == "field":
            drawn = where.of(part["field_id"].iloc[0], part["version"].iloc[0], image.shape[1:])
        for place, row, heat in zip(part.index, part.to_dict("records"), maps, strict=True):
            picture = int(row["number"]) if row["number"] < size.pictures else None
            found[place] = {**row, **shares_of(heat, row["class"], signal, drawn), "picture": picture}
            if picture is not None:
                kept.append({"place": place, **reduced(image, heat, size.picture_px)})
    kept.sort(key=lambda each: each["place"])
    for number, each in enumerate(kept):
        row = found[each["place"]]
        row["picture"] = number
        each["about"] = {
            name: row[name]
            for name in ("unit_id", *KEY, "class", "kind", "probability", "signal", "signal_even", "compartment",
                         "compartment_even")
        }  # fmt: skip
    return [found[place] for place in sorted(found)], kept


def unit_maps(
    network: nn.Module,
    units: images.Units,
    about: Mapping[str, Any],
    layer: str,
    wanted: Sequence[Sequence[int]],
    device: torch.device,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Maps of units (`attention_maps`), tiles put together; where they overlap the map is the mean.

    Args:
        network: on the device.
        units: and where their pixels are.
        about: what is known of the network.
        layer: of the network, or OWN.
        wanted: for each unit the positions of classes among the logits.
        device: where to run.

    Yields:
        number of the unit, its image (C, H, W) in the source's intensities, float32, and maps (K, H, W) float32.
    """
    side, centred = about["side_px"], about["level"] == "cell"
    source = images.UnitSource(
        units, about["inputs"], side, about["level"], about["pixel_size_um"], about["blank_neighbours"]
    )
    plan = TilePlan(units, side, 1)
    with Pixels(units, source, plan, about["normalization"], device, 0, centred) as pixels:
        for _, rows, batch in pixels.batches(0, 0):
            number = int(rows[0, 0])
            found = [
                over_images(attention_maps(network, part, wanted[number], layer), side, side)
                for part in batch.split(TILES)
            ]
            raw = source.reader.layout.pixels(len(rows))
            source.reader.fill(source.parts(rows), raw)
            size = tuple(units.sizes[number].tolist())
            whole = (
                together(values, rows[:, 1:], size, centred)
                for values in (raw.images.astype(np.float32), torch.cat(found).cpu().numpy())
            )
            yield number, *whole


def together(values: np.ndarray, corners: np.ndarray, size: tuple[int, int], centred: bool) -> np.ndarray:
    """Tiles put together, the mean where they overlap.

    Args:
        values: (T, K, side, side) float32.
        corners: (T, 2) first row and column of each tile.
        size: height and width of the whole; what tiles have beyond it is left out.
        centred: whether a whole that is smaller than a tile stands in its middle.

    Returns:
        (K, height, width) float32.
    """
    side = values.shape[-1]
    total, count = np.zeros((values.shape[1], *size), np.float32), np.zeros(size, np.float32)
    for tile, (top, left) in zip(values, corners.tolist(), strict=True):
        have = [min(side, size[0] - top), min(side, size[1] - left)]
        first = [(side - length) // 2 if centred else 0 for length in have]
        inner = tile[:, first[0] : first[0] + have[0], first[1] : first[1] + have[1]]
        total[:, top : top + have[0], left : left + have[1]] += inner
        count[top : top + have[0], left : left + have[1]] += 1
    return total / count


def bright(image: np.ndarray) -> np.ndarray | None:
    """Where the protein's image is bright: above Otsu's threshold, BRIGHT taken for the brightest.

    Args:
        image: (H, W) of any real type.

    Returns:
        (H, W) bool; None where all pixels are equal.
    """
    values = np.minimum(image, np.percentile(image, BRIGHT))
    return values > threshold_otsu(values) if values.max() > values.min() else None


def shares_of(heat: np.ndarray, name: str, signal: np.ndarray | None, drawn: Drawn | None) -> dict[str, float]:
    """How much of a map lies on the signal and on the compartment, and what even maps have; NaN for what is not known.

    Args:
        heat: (H, W), zero or more.
        name: class of the map.
        signal: (H, W) bool.
        drawn: what is known of a simulated field.
    """
    compartment = drawn.compartments.get(name) if drawn is not None else None
    found = {}
    for target, mask in (("signal", signal), ("compartment", compartment)):
        told = (np.nan, np.nan) if mask is None else pointing(heat, mask)
        found[target], found[f"{target}_even"] = map(float, told)
    on_cells = np.nan
    if drawn is not None and compartment is not None and drawn.cells.any():
        on_cells = float((compartment & drawn.cells).sum() / drawn.cells.sum())
    return {**found, "compartment_cells": on_cells}


def reduced(image: np.ndarray, heat: np.ndarray, longest: int) -> dict[str, np.ndarray]:
    """A picture of a map: `image` (C, h, w) and `map` (h, w), uint8, made smaller where the longer side asks for it.

    Args:
        image: (C, H, W) float32; each channel becomes 0 at its 1st percentile and 255 at its 99.8th.
        heat: (H, W), zero or more; its largest value becomes 255.
        longest: pixels.
    """
    scale = min(1.0, longest / max(heat.shape))
    size = tuple(max(round(length * scale), 1) for length in heat.shape)
    low, high = np.percentile(image, (1, BRIGHT), axis=(1, 2))[..., None, None]
    shown = (image - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    warm = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    both = (resample(values.astype(np.float32), size, "area") for values in (shown, warm))
    return dict(zip(("image", "map"), (np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8) for values in both),
                    strict=True))  # fmt: skip


def write_pictures(path: str, kept: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> None:
    """Write attention.npz: `about` (JSON), and of each picture `image_{number}` and `map_{number}`.

    Args:
        path: file to write.
        kept: as `measured` gives them.
        told: of the model.
    """
    known = [{name: None if value != value else value for name, value in each["about"].items()} for each in kept]
    about = {**told, "pictures": known}
    arrays = {f"{name}_{number}": each[name] for number, each in enumerate(kept) for name in ("image", "map")}
    text = json.dumps(about)
    with atomic_path(path) as partial, Path(partial).open("wb") as file:
        np.savez_compressed(file, about=np.frombuffer(text.encode(), np.uint8), **arrays)


def notes_on(table: pd.DataFrame, about: Mapping[str, Any]) -> list[str]:
    """What a reader of the maps should know: that there are none, or that some are zero everywhere."""
    if "reagents" in about:
        return ["the network tells reagents apart: there is no map of a location"]
    empty = int(table["signal"].isna().sum() - table["signal_even"].isna().sum())
    return [f"{empty} maps are zero everywhere: nothing at the layer speaks for the class"] if empty else []
