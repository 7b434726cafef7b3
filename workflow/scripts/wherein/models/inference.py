"""Vectors and probabilities of a shard's units by a network that was trained here."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from wherein import tables
from wherein.digest import sha256_of
from wherein.models import images
from wherein.models.augmentation import dihedral
from wherein.models.device import choose_device, describe, peak_gpu_mb
from wherein.models.feeds import Pixels, TilePlan
from wherein.models.networks.build import parameters
from wherein.models.trained import load_trained
from wherein.reasons import KEPT, PASSED
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

KEY = ["field_id", "version"]

FLIPS, DIHEDRAL = (0, 2, 4, 6), tuple(range(8))
"""Elements of `wherein.models.augmentation.dihedral`: flips along either axis and both (a half turn); with quarter
turns."""

MIDDLE = 0.75
"""Side of the middle of an image that is enlarged for the crops of test time: between the 1,024 and 1,536 pixels of
the crops of the winner of Ouyang et al. 2019 (released code)."""

TEST_TIME: dict[str, tuple[tuple[int, ...], bool]] = {
    "none": ((0,), False),
    "flips": (FLIPS, False),
    "dihedral": (DIHEDRAL, False),
    "flips_crops": (FLIPS, True),
    "dihedral_crops": (DIHEDRAL, True),
}
"""Flips and turns of each image, and whether its enlarged middle is taken, too."""


def embed_network(
    shard: str,
    model: str,
    fields: str,
    cells: str,
    qc: str,
    store: str,
    weights: str,
    settings: Mapping[str, Any],
    device: str,
    threads: int,
    embeddings: str,
    predictions: str,
    summary: str,
) -> None:
    """Describe every kept cell, or every passed field, of one shard by a trained network.

    Args:
        shard: the shard's name.
        model: the model's name.
        fields: fields.parquet.
        cells: the shard's ledger.
        qc: the shard's qc table.
        store: the shard's store of fields on the model's grid, or of crops.
        weights: the trained network.
        settings: `tiles`, `test_time`, `precision`, `batch`.
        device: `auto`, `cuda` or `cpu`.
        threads: of the processor.
        embeddings: table of vectors to write.
        predictions: table of probabilities to write.
        summary: the job's summary.

    Raises:
        RuntimeError: `cuda` is asked for and there is none.
        ValueError: the store has no pixels of a unit, or lacks a role.
    """
    torch.set_num_threads(threads)
    with stage_summary(summary, "embed", f"{model}/{shard}", ("numpy", "torch", "monai")) as report:
        network, about = load_trained(weights)
        place = choose_device(device)
        rows = cell_rows(cells, fields, shard) if about["level"] == "cell" else field_rows(qc)
        units = (
            images.cell_units([store], about["inputs"], rows, about["pixel_size_um"], about["side_px"])
            if about["level"] == "cell"
            else images.field_units([store], about["inputs"], rows["unit_id"].tolist())
        )
        bf16 = computes_bf16(place, settings["precision"])
        vectors, probabilities = infer(network, units, about, settings, place, bf16, min(threads - 1, 8))
        knows = "reagents" not in about
        metadata = {
            "model": model,
            "kind": about["kind"],
            "level": about["level"],
            "dimensions": [f"{about['kind']}_{number:04d}" for number in range(vectors.shape[1])],
            "roles": about["inputs"],
            "vocabulary": about["vocabulary"] if knows else None,
            "normalization": about["normalization"],
            "weights": weights,
            "weights_sha256": sha256_of(weights),
            "test_time": settings["test_time"],
            "tiles": settings["tiles"],
            "precision": "bf16" if bf16 else "fp32",
            "parameters": parameters(network),
            "trained_here": True,
        }
        classes = about["classes"] if knows else []
        keys = rows[["unit_id", *KEY]]
        tables.write_vectors(embeddings, keys, vectors, metadata)
        told = pd.DataFrame(probabilities[:, : len(classes)], columns=classes)
        tables.write_predictions(predictions, keys, told, {**metadata, "classes": classes})
        report.counts = {"in": len(rows), "kept": len(rows)}
        report.extra |= {"device": describe(place), "peak_gpu_mb": peak_gpu_mb(place)}
        report.extra["model"] = {key: value for key, value in metadata.items() if key != "dimensions"}


def field_rows(qc: str) -> pd.DataFrame:
    """Passed fields of a shard: unit_id, field_id, version."""
    judged = tables.read_tables([qc], [*KEY, "status"])
    passed = judged[judged["status"] == PASSED].reset_index(drop=True)
    return passed.assign(unit_id=passed["field_id"] + "@" + passed["version"])[["unit_id", *KEY]]


def cell_rows(cells: str, fields: str, shard: str) -> pd.DataFrame:
    """Kept cells of a shard: unit_id, field_id, version, full_scale."""
    ledger = tables.read_tables([cells], ["cell_id", *KEY, "status"])
    kept = ledger[ledger["status"] == KEPT].rename(columns={"cell_id": "unit_id"})
    known = tables.fields_of_shard(fields, shard)[[*KEY, "full_scale"]]
    return kept.merge(known, on=KEY, how="left", validate="many_to_one")[["unit_id", *KEY, "full_scale"]]


def computes_bf16(device: torch.device, name: str) -> bool:
    """Whether a network predicts in bfloat16.

    Args:
        device: where.
        name: `fp32`, `bf16`, or `auto`: bfloat16 where the GPU or the processor has instructions for it. Without them
            it is emulated, which is slower than fp32.
    """
    if name != "auto":
        return name == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@torch.inference_mode()
def infer(
    network: nn.Module,
    units: images.Units,
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: torch.device,
    bf16: bool,
    workers: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and probabilities of units.

    Args:
        network: in evaluation mode.
        units: and where their pixels are.
        about: what is known of the network (`wherein.models.trained.KEYS`).
        settings: `tiles`, `test_time`, `batch`.
        device: where to run.
        bf16: whether to compute in bfloat16; sums over tiles and changes are in float32.
        workers: processes that decode on a GPU's behalf; 0 for this one.

    Returns:
        vectors: (N, D) float32.
        probabilities: (N, K) float32.
    """
    network = network.to(device=device, memory_format=torch.channels_last)
    source = images.UnitSource(
        units, about["inputs"], about["side_px"], about["level"], about["pixel_size_um"], about["blank_neighbours"]
    )
    plan = TilePlan(units, about["side_px"], settings["batch"])
    workers = workers if device.type == "cuda" else 0
    vectors: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    with Pixels(units, source, plan, about["normalization"], device, workers, about["level"] == "cell") as pixels:
        for number, _, batch in pixels.batches(0, 0):
            own = plan.units(number)
            vector, chance = changed(network, batch, settings["test_time"], bf16)
            vector, chance = (values.reshape(len(own), -1, values.shape[1]) for values in (vector, chance))
            chance = chance.amax(dim=1) if settings["tiles"] == "max" else chance.mean(dim=1)
            if vectors is None or probabilities is None:
                vectors = np.zeros((len(units), vector.shape[2]), np.float32)
                probabilities = np.zeros((len(units), chance.shape[1]), np.float32)
            vectors[own], probabilities[own] = vector.mean(dim=1).cpu().numpy(), chance.cpu().numpy()
    if vectors is None or probabilities is None:
        # options may change the length of a vector: one blank image tells
        blank = torch.zeros(1, len(about["inputs"]), about["side_px"], about["side_px"], device=device)
        vector, chance = answer(network, blank, bf16)
        return np.zeros((0, vector.shape[1]), np.float32), np.zeros((0, chance.shape[1]), np.float32)
    return vectors, probabilities


def changed(network: nn.Module, batch: Tensor, test_time: str, bf16: bool) -> tuple[Tensor, Tensor]:
    """Means of vectors and probabilities over the changes of test time.

    Args:
        network: in evaluation mode.
        batch: (N, C, H, W) float32, square.
        test_time: key of TEST_TIME.
        bf16: whether to compute in bfloat16.

    Returns:
        (N, D) and (N, K) float32.
    """
    elements, crops = TEST_TIME[test_time]
    views = [batch, *([middle(batch)] if crops else [])]
    found = []
    for view in views:
        for element in elements:
            given = dihedral(view, torch.full((len(view),), element)) if element else view
            found.append(answer(network, given, bf16))
    return tuple(torch.stack(values).mean(dim=0) for values in zip(*found, strict=True))


def answer(network: nn.Module, batch: Tensor, bf16: bool) -> tuple[Tensor, Tensor]:
    """Vectors and probabilities of one batch, float32."""
    with autocast(batch.device, bf16):
        vector, logits = network(batch.contiguous(memory_format=torch.channels_last))[:2]
    return vector.float(), torch.sigmoid(logits.float())


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    """A block that computes in bfloat16, or as it would without."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def middle(batch: Tensor) -> Tensor:
    """The middle of each image, enlarged to the whole: (N, C, H, W) to the same."""
    side = batch.shape[-1]
    inner = max(round(side * MIDDLE), 1)
    start = (side - inner) // 2
    part = batch[:, :, start : start + inner, start : start + inner]
    return functional.interpolate(part, size=(side, side), mode="bilinear", align_corners=False, antialias=False)
