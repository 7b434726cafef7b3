"""With how many digits a network computes."""

from contextlib import AbstractContextManager
from typing import Any

import torch


def precision(device: torch.device, name: str) -> AbstractContextManager[Any]:
    """A block that computes with 32 bits, or with bfloat16.

    Args:
        device: where.
        name: `fp32`, `bf16`, or `auto`: bfloat16 on a GPU that is made for it, else 32 bits, so that processors of any
            make give the same outlines.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16" or (name == "auto" and able))
