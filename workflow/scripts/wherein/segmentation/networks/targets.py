"""What the networks learn to tell, and by which loss."""

import cv2
import numpy as np
import torch
from torch.nn import functional

from wherein.segmentation.grid import disk
from wherein.segmentation.networks.architectures import CLASSES

BACKGROUND, BORDER, BODY = range(len(CLASSES))


def classes_of(labels: np.ndarray, border_px: float) -> np.ndarray:
    """Background, border or body of each pixel.

    The border is where two objects are near each other: a pixel with pixels of two of them within `border_px`. An
    outline towards the ground is no border.

    Args:
        labels: (h, w) of integers.
        border_px: reach in pixels.

    Returns:
        (h, w) uint8, places in CLASSES.
    """
    # float32 holds whole numbers up to 16 million
    plane = labels.astype(np.float32)
    none = np.float32(2**24)
    highest = cv2.dilate(plane, disk(border_px))
    lowest = cv2.erode(np.where(plane > 0, plane, none).astype(np.float32), disk(border_px))
    target = np.where(labels > 0, BODY, BACKGROUND).astype(np.uint8)
    target[(highest > lowest) & (lowest < none)] = BORDER
    return target


def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the softmax, plus Dice, both averaged over the three classes.

    Args:
        logits: (N, 3, h, w).
        target: (N, h, w) int64, places in CLASSES.

    Returns:
        A number; each class's Dice is taken over the whole batch, since a patch may lack one.
    """
    # probabilities near 0 and 1 need more digits than half precision has
    chance = torch.softmax(logits.float(), dim=1)
    true = functional.one_hot(target, len(CLASSES)).permute(0, 3, 1, 2).to(chance.dtype)
    entropy = functional.binary_cross_entropy(chance.clamp(1e-6, 1 - 1e-6), true)
    both, either = (chance * true).sum(dim=(0, 2, 3)), (chance + true).sum(dim=(0, 2, 3))
    dice = 1 - ((2 * both + 1) / (either + 1)).mean()
    return entropy + dice
