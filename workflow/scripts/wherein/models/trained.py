"""Networks that were trained here, as files: weights and all that is needed to feed them."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wherein.atomic import atomic_path
from wherein.models.networks.build import build

KEYS = ("model", "kind", "level", "inputs", "options", "classes", "vocabulary", "side_px", "grid", "pixel_size_um",
        "normalization", "blank_neighbours", "seed")  # fmt: skip
"""What a file says of its network, beside the weights: how it is built, and how images are made for it."""


def save_trained(path: str | Path, network: nn.Module, about: dict[str, Any]) -> None:
    """Write a trained network.

    Args:
        path: weights.pt.
        network: on any device.
        about: KEYS and more, JSON-able.
    """
    if missing := [key for key in KEYS if key not in about]:
        raise ValueError(f"{path}: what is known of the network lacks {', '.join(missing)}")
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as partial:
        torch.save({"network": state, "about": json.dumps(about)}, partial)


def load_trained(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a trained network.

    Args:
        path: weights.pt.

    Returns:
        The network in evaluation mode on the processor, and what is known of it.

    Raises:
        ValueError: the file is none of a network that was trained here.
    """
    kept = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(kept, dict) or not {"network", "about"} <= kept.keys():
        raise ValueError(f"{path} is no network that was trained here: make it again with the rule `train`")
    about = json.loads(kept["about"])
    network = build(
        about["kind"], len(about["inputs"]), len(about["classes"]), about["seed"], about["side_px"], **about["options"]
    )
    network.load_state_dict(kept["network"])
    return network.eval(), about
