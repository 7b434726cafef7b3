"""Where networks run, and how much of its memory they took."""

import logging

import torch

LOG = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """The device that configuration asks for.

    Args:
        name: `auto` (a GPU if there is one), `cuda` or `cpu`.

    Raises:
        RuntimeError: `cuda` is asked for and there is none.
        ValueError: the name is none of the three.
    """
    if name not in ("auto", "cuda", "cpu"):
        raise ValueError(f"device {name!r}: allowed are auto, cuda, cpu")
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise RuntimeError(
            "device: cuda is configured, but torch finds no CUDA GPU here: ask the scheduler for one (resources: gpu), "
            "install a CUDA build of torch, or set device to auto or cpu"
        )
    device = torch.device("cuda" if found and name != "cpu" else "cpu")
    LOG.info("running on %s (device: %s)", describe(device), name)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return device


def describe(device: torch.device) -> str:
    """The device in words: `cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def peak_gpu_mb(device: torch.device) -> float | None:
    """Most GPU memory in MiB that tensors took since the device was chosen; None on a processor."""
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
