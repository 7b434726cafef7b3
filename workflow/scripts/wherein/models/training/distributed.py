"""Several processes that train one network, one for each GPU, on one machine or more: how they meet and exchange."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: they may have to write a checkpoint, or to read ahead."""


class Place(NamedTuple):
    """Which of the processes this one is.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: where it computes.
        control: group of processes that exchange small messages without asking a GPU; None for one process.
    """

    rank: int
    world: int
    device: torch.device
    control: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0


def share() -> tuple[int, int]:
    """Number of this process and how many there are, as who started it says: (0, 1) where nobody does.

    Of each batch a process has the units number rank, rank + world, rank + 2 world and so on.
    """
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def processes(device: torch.device) -> Iterator[Place]:
    """Meet the other processes, where there are several.

    Args:
        device: as chosen for one process; `cuda` becomes the GPU of this process.

    Yields:
        The place of this process.

    Raises:
        RuntimeError: there are more processes than GPUs on this machine.
    """
    rank, world = share()
    if world == 1:
        yield Place(0, 1, device)
        return
    if device.type == "cuda":
        local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= found:
            raise RuntimeError(
                f"process {local} of this machine has no GPU: torch finds {found}; set training.processes to that, or "
                "ask for more GPUs"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield Place(rank, world, device, dist.new_group(backend="gloo", timeout=PATIENCE))
    finally:
        dist.destroy_process_group()


def summed(place: Place, *numbers: float) -> tuple[float, ...]:
    """Sums over the processes, of numbers that each of them tells."""
    if place.world == 1:
        return numbers
    told = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(told, group=place.control)
    return tuple(told.tolist())


def gathered(place: Place, rows: Tensor) -> Tensor:
    """Rows (n, ...) of all processes, on the processor: in their order within a batch if all are of one batch each."""
    if place.world == 1:
        return rows.cpu()
    parts: list[Tensor | None] = [None] * place.world
    dist.all_gather_object(parts, rows.cpu(), group=place.control)
    return torch.cat([part for part in parts if part is not None])


def same_buffers(place: Place, module: nn.Module) -> None:
    """Give all processes the first one's buffers (statistics of normalization), in place."""
    if place.world > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)
