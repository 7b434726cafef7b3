"""Inception-v3 that looks at a field at several scales, as teams 4 and 10 of Ouyang et al. 2019 did.

The paper says that these teams' models "work on multi-scale", and no more. Here one body sees the field as it is and
coarser, and what it finds at each scale is put together.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from wherein.models.networks.heads import DROPOUT, HIDDEN, TwoLayerHead
from wherein.models.networks.inception_v3 import CHANNELS, Body, own_name

SCALES = (1, 2)
"""How many pixels of the image, along each axis, are averaged into one at each scale."""


class MultiScaleInception(nn.Module):
    """One Inception-v3 body over several scales, with the head of the competition's winner.

    All scales have the same weights, but each has running statistics of batch normalization of its own: those of a
    mixture are true of none, and in evaluation the network would answer as if it had learned nothing.

    Takes (N, roles, H, W) float32 of 75 x 75 or more times the largest scale; gives the vector (N, 1024) and the logits
    (N, classes).

    Args:
        roles: channels of the images.
        classes: locations.
        scales: whole numbers, see SCALES.
        dropout: share dropped before each layer of the head in training.
    """

    outputs = ("two_layers.out",)
    head = ("two_layers.",)

    def __init__(self, roles: int, classes: int, scales: Sequence[int] = SCALES, dropout: float = DROPOUT) -> None:
        super().__init__()
        if not scales or any(scale < 1 or scale != int(scale) for scale in scales):
            raise ValueError(f"network multi-scale: scales {list(scales)}; allowed are whole numbers from 1 on")
        self.scales = tuple(int(scale) for scale in scales)
        self.body = Body(roles)
        self.further = nn.ModuleList(_sharing(self.body) for _ in self.scales[1:])
        self.bodies = ("body", *(f"further.{number}" for number in range(len(self.further))))
        self.inputs = tuple(f"{body}.Conv2d_1a_3x3.conv" for body in self.bodies)
        self.two_layers = TwoLayerHead(CHANNELS * len(self.scales), classes, HIDDEN, dropout)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 1024) and logits (N, classes) of images (N, roles, H, W)."""
        found = []
        for scale, body in zip(self.scales, (self.body, *self.further), strict=True):
            scaled = functional.avg_pool2d(images, scale) if scale > 1 else images
            found.append(body(scaled).mean(dim=(2, 3)))
        return self.two_layers(torch.cat(found, dim=1))

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from the published ones of Inception-v3, less its last layers."""
        named = {own_name(name): values for name, values in state.items() if not name.startswith(("AuxLogits.", "fc."))}
        for name, values in list(named.items()):
            if name.startswith("body."):
                for further in self.bodies[1:]:
                    named.setdefault(further + name.removeprefix("body"), values)
        return named


def _sharing(body: nn.Module) -> nn.Module:
    """A body with the same weights, and buffers of its own."""
    other = copy.deepcopy(body)
    for own, shared in zip(other.modules(), body.modules(), strict=True):
        own._parameters.update(shared._parameters)
    return other


def build(
    roles: int, classes: int, size_px: int, scales: Sequence[int] = SCALES, dropout: float = DROPOUT
) -> MultiScaleInception:
    """The network with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any, so this changes nothing.
        scales: how many pixels along each axis are averaged into one at each scale.
        dropout: share dropped before each layer of the head in training.

    Raises:
        ValueError: a scale is no whole number from 1 on.
    """
    return MultiScaleInception(roles, classes, scales, dropout)
