"""Running the networks of a segmenter over fields of any size: tiles, batches, and less of both if memory runs out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from wherein.segmentation.networks.architectures import ARCHITECTURES
from wherein.segmentation.networks.device import precision
from wherein.segmentation.networks.inputs import INPUTS, finite, on_grid, resampled
from wherein.segmentation.networks.postprocess import BACKGROUND, Maps
from wherein.segmentation.networks.weights import load_weights
from wherein.segmentation.nuclei import rounding_noise, stands_out

log = logging.getLogger(__name__)

OVERLAP_PX = 64
"""Pixels that neighbouring tiles have in common, over which their chances are blended."""

SMALLEST_TILE_PX = 128
"""A tile is not halved below this when memory runs out."""

T = TypeVar("T")


@lru_cache(maxsize=2)
def loaded(path: Path, device: str) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """The networks of a weights file on a device, and their card; kept for the next batch."""
    networks, card = load_weights(path)
    return {part: network.to(device, memory_format=torch.channels_last) for part, network in networks.items()}, card


def predict_fields(
    fields: Sequence[Mapping[str, np.ndarray]],
    pixel_size_um: float,
    weights: Path,
    device: str,
    options: dict[str, Any],
    contrast: float,
) -> list[Maps]:
    """What the networks say of some fields.

    A network always sees something: the channels that it is fed are stretched to one scale, uneven light and noise as
    well. So what it takes for nuclei has to be brighter than the rest of the field by more than the noise can make it;
    else the field's nucleus channel is taken for one that shows nothing.

    Args:
        fields: (H, W) of any real type by role, one mapping a field.
        pixel_size_um: micrometres a pixel of all of them.
        weights: npz of a segmenter.
        device: `cpu` or `cuda`.
        options: `segment.unet` of the configuration.
        contrast: `segment.nuclei.contrast` of the configuration.

    Returns:
        Maps, one a field, in their order.
    """
    networks, card = loaded(Path(weights), device)
    grids = [on_grid(images, pixel_size_um, card["grid_um"]) for images in fields]
    nucleus_place = INPUTS["cell"].index("nucleus")
    nuclei = _part_chances(networks["nucleus"], "nucleus", card, grids, device, options)
    for images, grid, chances in zip(fields, grids, nuclei, strict=True):
        if not _shows_nuclei(images.get("nucleus"), chances[BACKGROUND] < 1 - options["foreground"], contrast):
            chances[:] = 0
            chances[BACKGROUND] = 1
            grid[nucleus_place] = 0
    cells = _part_chances(networks["cell"], "cell", card, grids, device, options)
    return [
        Maps(
            nucleus=nuclei[number].astype(np.float16),
            cell=cells[number].astype(np.float16),
            signal=(grid[nucleus_place] ** 2).astype(np.float16),
            shape=next(iter(images.values())).shape,  # type: ignore[arg-type]
            step_um=card["grid_um"],
        )
        for number, (images, grid) in enumerate(zip(fields, grids, strict=True))
    ]


def _shows_nuclei(image: np.ndarray | None, mask: np.ndarray, contrast: float) -> bool:
    """Whether what was found on a nucleus channel (H, W) stands out from noise: a mask (h, w) on the networks' grid."""
    if image is None:
        return False
    return stands_out(finite(resampled(image, mask.shape)), mask, contrast, rounding_noise(image.dtype))


def _part_chances(
    network: nn.Module,
    part: str,
    card: dict[str, Any],
    grids: list[np.ndarray],
    device: str,
    options: dict[str, Any],
) -> list[np.ndarray]:
    """Chances (3, h, w) float32 of one network for every field."""
    places = [INPUTS["cell"].index(name) for name in INPUTS[part]]
    multiple = ARCHITECTURES[card["architecture"]].multiple

    def attempt(batch: int, tile: int) -> list[np.ndarray]:
        return [tiled(network, grid[places], device, batch, tile, multiple, options["precision"]) for grid in grids]

    return shrinking(attempt, options["batch"], options["tile_px"], SMALLEST_TILE_PX)


def shrinking(attempt: Callable[[int, int], T], batch: int, tile_px: int, smallest_px: int) -> T:
    """Try with less, first of the batch and then of the tile, as long as the GPU runs out of memory.

    Args:
        attempt: takes the number of tiles in a batch and the side of a tile in pixels.
        batch: to begin with.
        tile_px: to begin with.
        smallest_px: side of a tile that is not halved any more.

    Returns:
        What `attempt` gives.

    Raises:
        torch.cuda.OutOfMemoryError: even one smallest tile is too much.
    """
    while True:
        try:
            return attempt(batch, tile_px)
        except torch.cuda.OutOfMemoryError:
            if batch == 1 and tile_px // 2 < smallest_px:
                raise
            batch, tile_px = (batch // 2, tile_px) if batch > 1 else (1, tile_px // 2)
            log.warning("out of GPU memory: going on with %d tiles of %d px in a batch", batch, tile_px)
            torch.cuda.empty_cache()


@torch.inference_mode()
def tiled(
    network: nn.Module, images: np.ndarray, device: str, batch: int, tile_px: int, multiple: int, digits: str
) -> np.ndarray:
    """Run a network over one field, in tiles where it is larger than one.

    Args:
        network: takes (N, C, h, w), gives logits (N, 3, h, w).
        images: (C, h, w) float32.
        device: where the network is.
        batch: most tiles at a time.
        tile_px: side of a tile; rounded up to a multiple of `multiple`.
        multiple: what the sides of a tile must be multiples of.
        digits: `auto`, `fp32` or `bf16`.

    Returns:
        (3, h, w) float32 chances, which add up to 1.
    """
    _, high, wide = images.shape
    sides = [min(-(-length // multiple), -(-tile_px // multiple)) * multiple for length in (high, wide)]
    starts = [tile_starts(length, side) for length, side in zip((high, wide), sides, strict=True)]
    places = [(y, x) for y in starts[0] for x in starts[1]]
    # the field's edge is repeated beyond it, so that a cell goes on there as it does
    padded = np.pad(images, [(0, 0), (0, max(0, sides[0] - high)), (0, max(0, sides[1] - wide))], mode="edge")
    total = np.zeros((3, *padded.shape[1:]), np.float32)
    weight = np.zeros(padded.shape[1:], np.float32)
    slope = _slope(sides[0])[:, None] * _slope(sides[1])[None]
    for first in range(0, len(places), batch):
        chosen = places[first : first + batch]
        tiles = np.stack([padded[:, y : y + sides[0], x : x + sides[1]] for y, x in chosen])
        seen = torch.from_numpy(tiles).to(device, memory_format=torch.channels_last)
        with precision(torch.device(device), digits):
            logits = network(seen)
        chances = torch.softmax(logits.float(), dim=1).cpu().numpy()
        for (y, x), chance in zip(chosen, chances, strict=True):
            total[:, y : y + sides[0], x : x + sides[1]] += chance * slope
            weight[y : y + sides[0], x : x + sides[1]] += slope
    return (total / weight)[:, :high, :wide]


def tile_starts(length: int, side: int) -> list[int]:
    """First pixels of tiles of `side` that cover `length` evenly, with at least OVERLAP_PX in common where they can."""
    if side >= length:
        return [0]
    number = -(-(length - side) // max(1, side - min(OVERLAP_PX, side // 2))) + 1
    return [round(i * (length - side) / (number - 1)) for i in range(number)]


def _slope(side: int) -> np.ndarray:
    """(side,) weight of a tile's pixels: falls towards its ends over OVERLAP_PX, and is above 0 everywhere."""
    from_end = np.minimum(np.arange(side) + 1, side - np.arange(side))
    return np.minimum(from_end / OVERLAP_PX, 1).astype(np.float32)
