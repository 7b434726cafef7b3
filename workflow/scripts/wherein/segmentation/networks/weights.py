"""Weights of a segmenter: one npz file with both networks, and what they are, without pickled code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wherein.atomic import atomic_path
from wherein.segmentation.networks.architectures import ARCHITECTURES
from wherein.segmentation.networks.inputs import INPUTS

CARD = "card"
"""Array of the file that holds what the networks are, as JSON."""

PARTS = tuple(INPUTS)
"""Networks of a segmenter."""


class WeightsMismatchError(ValueError):
    """A file holds no weights of these networks; the message says what it has and what it must have."""


def save_weights(path: str | Path, networks: dict[str, nn.Module], card: dict[str, Any], half: bool = True) -> None:
    """Write the networks of a segmenter.

    Args:
        path: npz file to write.
        networks: by part, `nucleus` and `cell`.
        card: JSON-able; `architecture` and `grid_um` are needed to read the file.
        half: store float16, which halves the file and changes probabilities by less than a thousandth or so.
    """
    arrays = {CARD: np.frombuffer(json.dumps(card, sort_keys=True).encode(), np.uint8)}
    for part, network in networks.items():
        for name, values in network.state_dict().items():
            array = values.detach().cpu().numpy()
            arrays[f"{part}/{name}"] = array.astype(np.float16) if half and array.dtype == np.float32 else array
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_card(path: str | Path) -> dict[str, Any]:
    """What a segmenter's networks are: `architecture`, `grid_um`, and how they were trained.

    Raises:
        WeightsMismatchError: the file is no segmenter.
    """
    try:
        with np.load(path) as arrays:
            card = json.loads(arrays[CARD].tobytes())
    except (KeyError, ValueError, OSError) as error:
        raise WeightsMismatchError(
            f"{path} holds no weights of a segmenter ({error}): give a file that the rule train_segmenter wrote, or "
            "resources/segmenters/unet-sim.npz"
        ) from error
    if card.get("architecture") not in ARCHITECTURES:
        raise WeightsMismatchError(
            f"{path}: architecture {card.get('architecture')!r}; allowed are {', '.join(ARCHITECTURES)}"
        )
    return card


def load_weights(path: str | Path) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Read the networks of a segmenter.

    Args:
        path: npz file that `save_weights` wrote.

    Returns:
        networks: by part, in evaluation mode, on the processor.
        card: what they are.

    Raises:
        WeightsMismatchError: the file is no segmenter, or lacks a part of one.
    """
    card = read_card(path)
    networks = {part: ARCHITECTURES[card["architecture"]](len(INPUTS[part])) for part in PARTS}
    with np.load(path) as arrays:
        for part, network in networks.items():
            wanted = network.state_dict()
            for name, values in wanted.items():
                key = f"{part}/{name}"
                found = arrays[key].shape if key in arrays else None
                if found != tuple(values.shape):
                    raise WeightsMismatchError(
                        f"{path}: {key} has the shape {found}; a network {card['architecture']} needs "
                        f"{tuple(values.shape)}"
                    )
                wanted[name] = torch.from_numpy(arrays[key]).to(values.dtype)
            network.load_state_dict(wanted)
            network.eval()
    return networks, card
