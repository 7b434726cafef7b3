"""Batches on their way to the device where a network is."""

import numpy as np
import torch
from torch import Tensor

from wherein.reading.batches import Batch


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Copy a batch, as stored, to a device; what comes next (masking, normalization, augmentation) happens there.

    To a GPU the copy goes through pinned memory and runs beside what the GPU is doing: the tensors are good for work
    that is queued after it, and the batch's own memory may be reused at once.

    Args:
        batch: pairs and bags of crops become one row of crops each: (n, k, C, H, W) to (n * k, C, H, W).
        device: where to.

    Returns:
        images: (N, C, H, W) in the source's type.
        masks: (N, 2, H, W) uint8, or None.
        distance: (N, 1, H, W) float32, or None.
    """
    masks, distance = (None if array is None else _copied(array, device) for array in (batch.masks, batch.distance))
    return _copied(batch.images, device), masks, distance


def _copied(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array.reshape(-1, *array.shape[-3:]))
    return tensor.clone() if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
