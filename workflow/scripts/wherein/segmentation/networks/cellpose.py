"""The method `cellpose`: models of cellpose 3 (cyto3, nuclei, a user's own) and 4 (cpsam) behind one interface.

Weights are files that the user has. Cellpose fetches a model that it does not find, so a path is checked before
cellpose sees it, and its folder of models is set to that of the weights.
"""

import importlib
import inspect
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from wherein.segmentation.cells import bodies_of, grown
from wherein.segmentation.grid import in_sequence, shrink, working_shape
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.networks.inputs import scaled
from wherein.segmentation.networks.postprocess import on_field
from wherein.segmentation.networks.predict import shrinking
from wherein.segmentation.networks.weights import WeightsMismatchError
from wherein.segmentation.nuclei import find_objects
from wherein.segmentation.pairing import paired_by_overlap

LEARNED_PX = 30
"""Diameter of the objects that the models have learned, in pixels (Stringer et al. 2021; 17 for the nuclei of version
3). A coarser grid would lose detail."""

TILE_PX = {3: 224, 4: 256}
"""Side of the tiles that the networks of each version were trained with."""

SMALLEST_TILE_PX = {3: 112, 4: 256}
"""Side of a tile that is not halved any more; the transformer of version 4 takes one size only."""


class Prediction(NamedTuple):
    """What the models say of one field.

    Attributes:
        nucleus: (h, w) int32 labels, or (H, W) ones where no model found them; None without a nucleus channel.
        cell: (h, w) int32 labels; None without a model for cells.
        nucleus_chance: (h, w) float16, how sure the model is of nuclei; None without one.
        cell_chance: (h, w) float16, the same of cells.
        images: (H, W) by role, what cells are grown over where there is no model for them; else empty.
        shape: (H, W) of the field.
    """

    nucleus: np.ndarray | None
    cell: np.ndarray | None
    nucleus_chance: np.ndarray | None
    cell_chance: np.ndarray | None
    images: dict[str, np.ndarray]
    shape: tuple[int, int]


def outline(
    images: Mapping[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """Outline the nuclei and cells of one field.

    Args:
        images: (H, W) by role.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: the device; the weights' paths stand in the settings, since there may be two.

    Returns:
        Outlines, and how sure the models are of each object.
    """
    return finish(predict_batch([images], pixel_size_um, settings, context)[0], pixel_size_um, settings)


def predict_batch(
    fields: Sequence[Mapping[str, np.ndarray]], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> list[Prediction]:
    """Run the models over some fields; arguments as those of `outline`.

    Raises:
        ValueError: no model is named.
        FileNotFoundError: a model's file is not there.
        WeightsMismatchError: a file is no model of the installed version of cellpose.
    """
    options = settings["cellpose"]
    paths = {part: options[f"{part}_weights"] for part in ("nucleus", "cell")}
    if not any(paths.values()):
        raise ValueError(
            "segment.method cellpose needs a model: write the path of its file under segment.cellpose.nucleus_weights, "
            "segment.cellpose.cell_weights, or both"
        )
    models = {part: loaded(Path(path), context.device) for part, path in paths.items() if path}
    return [_predicted(dict(images), models, pixel_size_um, settings) for images in fields]


def finish(prediction: Prediction, pixel_size_um: float, settings: dict[str, Any]) -> Outlines:
    """Bring what the models say of one field to its pixels, and give nuclei and cells the same numbers."""
    nucleus, cell = prediction.nucleus, prediction.cell
    if cell is None and nucleus is not None:
        found = grown(in_sequence(on_field(nucleus, prediction.shape)), prediction.images, pixel_size_um, settings)
        pair = found.nucleus, found.cell
    else:
        blank = np.zeros(prediction.shape, np.uint32)
        pair = paired_by_overlap(
            *(blank if labels is None else on_field(labels, prediction.shape) for labels in (nucleus, cell))
        )
    chances = (prediction.nucleus_chance, prediction.cell_chance)
    return Outlines(*pair, quality_of(pair, chances))


def quality_of(pair: tuple[np.ndarray, np.ndarray], chances: tuple[np.ndarray | None, np.ndarray | None]) -> np.ndarray:
    """Mean chance over each object's pixels, of its nucleus or its cell, whichever is less: (n,) float32."""
    count = int(max(labels.max(initial=0) for labels in pair))
    lowest = np.ones(count + 1)
    for labels, chance in zip(pair, chances, strict=True):
        if chance is None:
            continue
        # the mean needs no more pixels than the model had
        rows, columns = (
            np.minimum((np.arange(n) + 0.5) * side // n, side - 1).astype(np.intp)
            for n, side in zip(chance.shape, labels.shape, strict=True)
        )
        coarse = labels[np.ix_(rows, columns)].ravel().astype(np.int64)
        size = np.bincount(coarse, minlength=count + 1)
        total = np.bincount(coarse, chance.ravel().astype(np.float64), minlength=count + 1)
        lowest = np.minimum(lowest, np.where(size > 0, total / np.maximum(size, 1), 1))
    return lowest[1:].astype(np.float32)


class Model(NamedTuple):
    """A model that is loaded.

    Attributes:
        network: a CellposeModel.
        version: 3 or 4.
        known: names of the arguments of its `eval`.
    """

    network: Any
    version: int
    known: frozenset[str]


@lru_cache(maxsize=2)
def loaded(path: Path, device: str) -> Model:
    """Load a model from its file; kept for the next field.

    Args:
        path: the model's file.
        device: `cpu` or `cuda`.

    Raises:
        FileNotFoundError: there is no such file; cellpose would fetch one in its place.
        WeightsMismatchError: the file is no model of the installed version of cellpose.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no cellpose model at {path}: get the file on a machine with internet (cellpose keeps those it "
            "fetched in the folder .cellpose/models of the home folder) and write its path under segment.cellpose"
        )
    # read when cellpose is imported: whatever it looks for, it finds no other folder
    os.environ["CELLPOSE_LOCAL_MODELS_PATH"] = str(path.resolve().parent)
    module = importlib.import_module("cellpose.models")
    version = version_of(module)
    place = torch.device(device)
    try:
        network = module.CellposeModel(gpu=place.type != "cpu", pretrained_model=str(path.resolve()), device=place)
    except Exception as error:
        raise WeightsMismatchError(
            f"{path} is no model of cellpose {version}, which is installed ({type(error).__name__}: {error}); models "
            "of version 3 (cyto3, nuclei) and of version 4 (cpsam) do not fit each other"
        ) from error
    return Model(network, version, frozenset(inspect.signature(network.eval).parameters))


def version_of(module: ModuleType) -> int:
    """3 or 4: which interface `cellpose.models` has. The digits of the network can be chosen since 4."""
    return 4 if "use_bfloat16" in inspect.signature(module.CellposeModel.__init__).parameters else 3


def _predicted(
    images: dict[str, np.ndarray], models: dict[str, Model], pixel_size_um: float, settings: dict[str, Any]
) -> Prediction:
    options = settings["cellpose"]
    shape = next(iter(images.values())).shape
    found: dict[str, tuple[np.ndarray | None, np.ndarray | None]] = {"nucleus": (None, None), "cell": (None, None)}
    if "nucleus" in images and "nucleus" not in models:
        found["nucleus"] = (
            find_objects(images["nucleus"], pixel_size_um, settings["grid_um"], settings["nuclei"]).astype(np.int32),
            None,
        )
    for part, model in models.items():
        if part == "nucleus" and "nucleus" not in images:
            continue
        step = min(settings["grid_um"], options[f"{part}_um"] / LEARNED_PX)
        grid = working_shape(shape, pixel_size_um, step)
        # the grid's own step: a field that is coarser already stays as it is
        step = pixel_size_um * shape[0] / grid[0]
        found[part] = evaluated(model, seen_by(part, images, grid, step), part, step, options)
    return Prediction(
        nucleus=found["nucleus"][0],
        cell=found["cell"][0],
        nucleus_chance=found["nucleus"][1],
        cell_chance=found["cell"][1],
        images={} if "cell" in models else images,
        shape=shape,  # type: ignore[arg-type]
    )


def seen_by(part: str, images: Mapping[str, np.ndarray], grid: tuple[int, int], step_um: float) -> np.ndarray:
    """What a model is shown: the nucleus alone, or the cell's body and beside it the nucleus where there is one.

    Args:
        part: `nucleus` or `cell`.
        images: (H, W) by role.
        grid: (h, w) to work on.
        step_um: micrometres a pixel of it.

    Returns:
        (h, w) or (h, w, 3) float32, the third channel zero.
    """
    nucleus = scaled(shrink(images["nucleus"], grid), step_um) if "nucleus" in images else None
    bodies, _ = bodies_of(dict(images))
    if nucleus is not None and (part == "nucleus" or not bodies):
        return nucleus
    body = np.mean([scaled(shrink(image, grid), step_um) for image in bodies], axis=0, dtype=np.float32)
    return body if nucleus is None else np.stack([body, nucleus, np.zeros_like(body)], axis=-1)


def evaluated(
    model: Model, image: np.ndarray, part: str, step_um: float, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Run one model over one field.

    Args:
        model: the model.
        image: (h, w) or (h, w, 3) float32.
        part: `nucleus` or `cell`.
        step_um: micrometres a pixel.
        options: `segment.cellpose` of the configuration.

    Returns:
        labels: (h, w) int32.
        chance: (h, w) float16, the sigmoid of the map of cells.
    """
    arguments: dict[str, Any] = {
        "diameter": options[f"{part}_um"] / step_um,
        "flow_threshold": options["flow_threshold"],
        "cellprob_threshold": options["cellprob_threshold"],
        "min_size": max(1, round(options[f"min_{part}_um2"] / step_um**2)),
        # a nucleus that fills its field is one, whatever its share of it
        "max_size_fraction": 1.0,
        "channel_axis": -1 if image.ndim == 3 else None,
    }
    if model.version == 3:
        # grey, or the first channel with nuclei in the second; version 4 takes channels as they come
        arguments["channels"] = [1, 2] if image.ndim == 3 else [0, 0]
    arguments = {name: value for name, value in arguments.items() if name in model.known}

    def attempt(batch: int, tile: int) -> tuple[np.ndarray, np.ndarray]:
        labels, flows = model.network.eval(image, batch_size=batch, bsize=tile, **arguments)[:2]
        return np.asarray(labels), np.asarray(flows[2], np.float32)

    tile = options["tile_px"] or TILE_PX[model.version]
    labels, logit = shrinking(attempt, options["batch"], tile, SMALLEST_TILE_PX[model.version])
    chance = 1 / (1 + np.exp(-np.clip(logit.reshape(image.shape[:2]), -30, 30)))
    return labels.reshape(image.shape[:2]).astype(np.int32), chance.astype(np.float16)
