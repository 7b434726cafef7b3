"""The running mean of a network's weights over the steps of a training (Polyak averaging)."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class RunningMean:
    """A copy of a network whose weights are the running mean over the steps; statistics of normalization are copied.

    Torch's own AveragedModel asks the device for its counter at every step, for which a GPU's queue has to run empty.

    Args:
        network: on its device.
        decay: most of the mean that a step keeps.

    Attributes:
        network: with the mean weights, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        kept = kept_share(self._updates, self._decay)
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - kept)
        buffers = list(self.network.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(network.buffers()))
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Mean weights, and how many steps they are of."""
        return {"network": self.network.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as after the state was taken."""
        self.network.load_state_dict(state["network"])
        self._updates = state["updates"]


def kept_share(updates: int, decay: float) -> float:
    """What a step keeps of the mean after `updates` earlier ones: nothing at first, later `decay`.

    A young mean forgets faster, so that the random start does not stay in it.
    """
    return min(decay, updates / (9 + updates))
