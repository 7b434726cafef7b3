"""Running out of memory: telling it from other errors, and how much was taken."""

import re
from pathlib import Path

import torch

from wherein.models.device import peak_gpu_mb

WORDS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED", re.I
)
"""What torch says where it has no class of its own for it: on a processor, and from cuDNN and cuBLAS."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and WORDS.search(str(error)) is not None
    )


def peak_mb(device: torch.device) -> float:
    """Most memory in MiB: of the GPU's tensors since the device was chosen, or of this process where there is none."""
    on_gpu = peak_gpu_mb(device)
    if on_gpu is not None:
        return on_gpu
    # getrusage would count what the process that started this one had held
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else float("nan")
