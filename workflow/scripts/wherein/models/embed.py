"""The stage embed: one vector, and the model's own predictions, for every kept cell or passed field of a shard."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein import tables
from wherein.channels import in_order
from wherein.crops.store import CropStore
from wherein.digest import sha256_of
from wherein.labels import vocabulary
from wherein.models import classic
from wherein.models.patches import resample, standardize, statistics
from wherein.readers import read_field
from wherein.reading.tiling import tiles
from wherein.reasons import KEPT, PASSED
from wherein.summary import Summary, stage_summary

LOG = logging.getLogger(__name__)

CELLS_AT_ONCE = 32
"""Crops that are held in memory for `classic`."""

BATCH_PIXELS = 2**20
"""Most pixels of one batch of a network: one patch of 1024, whose maps take about 0.3 GB; more are no faster."""

KEY = ["field_id", "version"]


class Embedded(NamedTuple):
    """What a model says of the units of a shard.

    Attributes:
        units: columns unit_id, field_id, version; one row a unit.
        vectors: (N, D) float32.
        predictions: (N, K) float32 probabilities, or None for a model that predicts nothing itself.
        metadata: what the tables say of themselves, JSON-able.
    """

    units: pd.DataFrame
    vectors: np.ndarray
    predictions: np.ndarray | None
    metadata: dict[str, Any]


class Shard(NamedTuple):
    """Where the pixels of a shard's units are.

    Attributes:
        units: columns unit_id, field_id, version and, for cells, crop_index; in the order of the output.
        crops: path of the crop store.
        fields: rows of fields.parquet of this shard, by (field_id, version).
        files: rows of the download table of each field version, by (field_id, version).
        roles: roles that the source has, in the order of storage.
    """

    units: pd.DataFrame
    crops: str
    fields: dict[tuple[str, str], Any]
    files: dict[tuple[str, str], pd.DataFrame]
    roles: list[str]


def embed_shard(
    shard: str,
    model: str,
    fields: str,
    files: str,
    qc: str,
    cells: str,
    crops: str,
    weights: str | list[str] | None,
    settings: Mapping[str, Any],
    device: str,
    embeddings: str,
    predictions: str,
    summary: str,
) -> None:
    """Describe every kept cell, or every passed field, of one shard by one model.

    Args:
        shard: the shard's name.
        model: the model's name.
        fields: fields.parquet.
        files: the shard's download table.
        qc: the shard's qc table.
        cells: the shard's ledger.
        crops: the shard's crop store.
        weights: npz of published weights; None for a model without.
        settings: the model's configuration.
        device: `auto`, `cuda` or `cpu`.
        embeddings: table of vectors to write.
        predictions: table of the model's own predictions to write.
        summary: the job's summary.

    Raises:
        RuntimeError: `cuda` is asked for and there is none.
        ValueError: the model's kind is unknown.
    """
    with stage_summary(summary, "embed", f"{model}/{shard}", ("numpy", "torch", "mahotas")) as report:
        pixels = _open(shard, fields, files, qc, cells, crops, settings["level"])
        path = weights[0] if isinstance(weights, list) else weights
        if settings["kind"] == "classic":
            found = embed_classic(pixels, settings)
        elif settings["kind"] == "gapnet-pl":
            found = embed_gapnet(pixels, settings, path, device, report)
        else:
            raise ValueError(f"model {model!r}: unknown kind {settings['kind']!r}; there are classic, gapnet-pl")
        metadata = {"model": model, "kind": settings["kind"], "level": settings["level"], **found.metadata}
        tables.write_vectors(embeddings, found.units, found.vectors, metadata)
        classes = list(vocabulary(metadata["vocabulary"]).classes) if found.predictions is not None else []
        values = found.predictions if found.predictions is not None else np.zeros((len(found.units), 0), np.float32)
        tables.write_predictions(
            predictions, found.units, pd.DataFrame(values, columns=classes), {**metadata, "classes": classes}
        )
        report.counts = {"in": len(pixels.units), "kept": len(found.units)}
        report.extra["model"] = {key: value for key, value in metadata.items() if key != "dimensions"}
        unknown = int(np.isnan(found.vectors).any(axis=1).sum())
        if unknown:
            report.notes.append(
                f"{unknown} of {len(found.units)} units have a feature that could not be measured (NaN)"
            )


def _open(shard: str, fields: str, files: str, qc: str, cells: str, crops: str, level: str) -> Shard:
    rows = tables.fields_of_shard(fields, shard)
    paths = tables.read_tables([files])
    # masks that came with crops made elsewhere have no role
    roles = in_order(paths["role"].dropna()) if len(paths) else []
    if level == "cell":
        ledger = tables.read_tables([cells], ["cell_id", *KEY, "status", "crop_index"])
        kept = ledger[ledger["status"] == KEPT]
        units = kept.rename(columns={"cell_id": "unit_id"})[["unit_id", *KEY, "crop_index"]]
    else:
        judged = tables.read_tables([qc], [*KEY, "status"])
        passed = judged[judged["status"] == PASSED]
        units = passed[KEY].assign(unit_id=passed["field_id"] + "@" + passed["version"])[["unit_id", *KEY]]
    return Shard(
        units=units.reset_index(drop=True),
        crops=crops,
        fields={(row.field_id, row.version): row for row in rows.itertuples()},
        files=dict(iter(paths.groupby(KEY, sort=False))),
        roles=roles,
    )


def embed_classic(pixels: Shard, settings: Mapping[str, Any]) -> Embedded:
    """The classic features of every unit; see wherein.models.classic.

    Args:
        pixels: the shard.
        settings: `level`, `texture_scales_px`, `texture_levels`, `texture_pixel_um`.
    """
    scales = settings["texture_scales_px"]
    names = classic.feature_names(pixels.roles, scales)
    texture = (scales, settings["texture_levels"], settings["texture_pixel_um"])
    vectors: list[np.ndarray] = []
    if settings["level"] == "cell" and len(pixels.units):
        store = CropStore(pixels.crops)
        for part in _batches(pixels.units["crop_index"].to_numpy(np.int64), CELLS_AT_ONCE):
            masks = store.masks(part)[:, 0] == 1
            for image, mask in zip(store.images(part), masks, strict=True):
                vectors.append(classic.cell_features(image, mask, store.roles, store.pixel_size_um, *texture))
    elif settings["level"] == "field":
        for key, image in _fields(pixels, pixels.roles):
            whole = np.ones(image.shape[1:], bool)
            size = pixels.fields[key].pixel_size_um
            vectors.append(classic.cell_features(image, whole, pixels.roles, size, *texture))
    table = np.stack(vectors) if vectors else np.zeros((0, len(names)), np.float32)
    units = pixels.units[["unit_id", *KEY]]
    metadata = {"dimensions": names, "roles": pixels.roles, "weights": None, "weights_sha256": None}
    return Embedded(units, table, None, {**metadata, "normalization": "none"})


def embed_gapnet(
    pixels: Shard, settings: Mapping[str, Any], weights: str | None, device: str, report: Summary
) -> Embedded:
    """GapNet-PL's 256-dimensional vector and, with published weights, its 13 probabilities of every unit.

    A field is cut into patches that cover it; its vector and its probabilities are the means over them (Rumetshofer et
    al. 2019, methods). A cell is its crop. Either is brought to mean 0 and standard deviation 1 by the mean and
    deviation of the cell's whole field, since that is what the network was trained on; a crop's own would hide how
    bright the cell is.

    Of crops that were made elsewhere the field is not known: mean and deviation are those of all its crops together.

    Args:
        pixels: the shard.
        settings: `level`, `weights`, `seed`, `roles`, `batch`, `tile_px`, `pixel_size_um`, `blank_neighbours`.
        weights: npz of published weights; None for `untrained`.
        device: `auto`, `cuda` or `cpu`.
        report: gets the device and its peak memory.
    """
    # here, so that `classic` runs without loading torch
    from wherein.models import gapnet
    from wherein.models.device import choose_device, describe, peak_gpu_mb

    where = choose_device(device)
    network = gapnet.published(weights) if weights else gapnet.untrained(settings["seed"])
    swapped = settings["roles"] or {}
    inputs = [swapped.get(name, name) for name in gapnet.INPUTS]
    if settings["level"] == "cell":
        stream = _cell_batches(pixels, inputs, settings)
        vectors, probabilities = gapnet.run(network, stream, where)
    else:
        counts: list[int] = []
        stream = _patch_batches(pixels, inputs, settings, counts)
        vectors, probabilities = (_means(values, counts) for values in gapnet.run(network, stream, where))
    report.extra |= {"device": describe(where), "peak_gpu_mb": peak_gpu_mb(where)}
    if not weights:
        report.notes.append(
            "the weights are random (untrained): the network's own predictions say nothing, none are kept"
        )
    return Embedded(
        units=pixels.units[["unit_id", *KEY]],
        vectors=vectors,
        predictions=probabilities if weights else None,
        metadata={
            "dimensions": [f"penultimate_{number:03d}" for number in range(gapnet.EMBEDDING)],
            "roles": inputs,
            "vocabulary": gapnet.VOCABULARY if weights else None,
            "normalization": "z-score by the field's mean and standard deviation",
            "weights": settings["weights"] if weights else "untrained",
            "weights_sha256": sha256_of(weights) if weights else None,
            "seed": None if weights else settings["seed"],
            "parameters": sum(values.numel() for values in network.parameters()),
        },
    )


def _means(values: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Means of successive runs of rows."""
    if not counts:
        return values
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
    return (sums / np.array(counts)[:, None]).astype(np.float32)


def _batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _fields(pixels: Shard, roles: Sequence[str]) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """(field_id, version) and image (C, H, W) of the fields that have units, in the units' order."""
    for field_id, version in pixels.units[KEY].drop_duplicates().itertuples(index=False):
        planes = read_field(pixels.files[field_id, version], in_order(roles))
        yield (field_id, version), np.stack([planes[role] for role in roles])


def _patch_batches(
    pixels: Shard, inputs: Sequence[str], settings: Mapping[str, Any], counts: list[int]
) -> Iterator[np.ndarray]:
    """Patches of all fields, (N, C, h, w) of one field a batch; `counts` gets the number of patches of each field."""
    for key, image in _fields(pixels, inputs):
        mean, deviation = statistics(image)
        image = resample(image.astype(np.float32), pixels.fields[key].pixel_size_um, settings["pixel_size_um"])
        image = standardize(image, mean, deviation)
        found = tiles(*image.shape[1:], settings["tile_px"])
        counts.append(len(found))
        size = image[(slice(None), *found[0])][0].size
        for part in _batches(np.arange(len(found)), max(min(settings["batch"], BATCH_PIXELS // size), 1)):
            yield np.stack([image[(slice(None), *found[index])] for index in part])


def statistics_of_crops(store: CropStore, rows: np.ndarray, order: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of some channels over crops, without what was put around smaller ones.

    Args:
        store: of crops made elsewhere.
        rows: crops.
        order: channels.

    Returns:
        mean, deviation: (C,) float64, as `wherein.models.patches.statistics` gives them of a field.
    """
    extents = store.attributes["extents"]
    side = store.window_px
    count, total, squares = 0, np.zeros(len(order)), np.zeros(len(order))
    for part in _batches(rows, CELLS_AT_ONCE):
        for row, image in zip(part, store.images(part)[:, order].astype(np.float64), strict=True):
            height, width = extents[row] if extents else (side, side)
            top, left = (side - height) // 2, (side - width) // 2
            inside = image[:, top : top + height, left : left + width]
            count += height * width
            total += inside.sum((1, 2))
            squares += (inside**2).sum((1, 2))
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def _cell_batches(pixels: Shard, inputs: Sequence[str], settings: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """Crops of all cells, (N, C, h, w), those of one field together."""
    if not len(pixels.units):
        return
    store = CropStore(pixels.crops)
    order = [store.roles.index(role) for role in inputs]
    cells = dict(iter(pixels.units.groupby(KEY, sort=False)["crop_index"]))
    if store.attributes.get("imported"):
        known = ((key, statistics_of_crops(store, rows.to_numpy(np.int64), order)) for key, rows in cells.items())
    else:
        known = ((key, statistics(image)) for key, image in _fields(pixels, inputs))
    for key, (mean, deviation) in known:
        for part in _batches(cells[key].to_numpy(np.int64), max(settings["batch"], 1)):
            crops = store.images(part)[:, order].astype(np.float32)
            if settings["blank_neighbours"]:
                crops[np.broadcast_to(store.masks(part)[:, :1] == 2, crops.shape)] = 0
            crops = [resample(crop, store.pixel_size_um, settings["pixel_size_um"]) for crop in crops]
            size = max(BATCH_PIXELS // crops[0][0].size, 1)
            for few in _batches(np.arange(len(crops)), size):
                yield standardize(np.stack([crops[index] for index in few]), mean, deviation)
