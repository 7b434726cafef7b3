"""The state of a training in one file: a killed training goes on from it as if nothing had been."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wherein.atomic import atomic_path
from wherein.digest import digest
from wherein.models.learned import UNRELATED


class WrongStateError(ValueError):
    """The state on disk is of another training, or cannot be read; the message says what to do."""


def training_digest(settings: Mapping[str, Any], module: nn.Module, batches: int) -> str:
    """What a state belongs to: settings, shape of the network, batches of an epoch."""
    own = {key: value for key, value in settings.items() if key not in UNRELATED}
    shapes = [(name, list(value.shape)) for name, value in module.state_dict().items()]
    return digest([own, shapes, batches])


def save_checkpoint(path: str | Path, state: Mapping[str, Any], belongs: str) -> None:
    """Write a state; what stood there before stays until the new one is whole on disk.

    Args:
        path: the file.
        state: tensors, numbers, text, lists and dictionaries.
        belongs: digest of the training.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        torch.save({"belongs": belongs, **state}, file)
        # a name may else reach the disk before the content, and a machine that goes down leaves a torn file
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: str | Path, belongs: str) -> dict[str, Any] | None:
    """Read a state.

    Args:
        path: the file.
        belongs: digest of the training that wants to go on.

    Returns:
        What was saved, tensors on the processor; None where there is no file.

    Raises:
        WrongStateError: the state is of another training, or damaged.
    """
    if not Path(path).is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WrongStateError(
            f"{path} is no state of a training ({error}): remove it to train from the start"
        ) from error
    if state.pop("belongs", None) != belongs:
        raise WrongStateError(
            f"{path} is the state of a training with other settings, another network or other data: remove it to train "
            "from the start, or put back what was changed"
        )
    return state
