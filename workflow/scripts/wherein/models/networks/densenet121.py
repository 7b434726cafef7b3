"""DenseNet-121 (Huang et al. 2017), as Rumetshofer et al. 2019 trained it."""

import re
from collections.abc import Mapping

import torch
from monai.networks.nets.densenet import DenseNet121
from torch import nn

DROPOUT = 0.2
"""After each dense layer, in training only (released code of Rumetshofer et al. 2019)."""

EMBEDDING = 1024
"""Channels after the last dense block."""

LAYER_OF_OTHERS = re.compile(r"(denselayer\d+)\.(norm|relu|conv)\.?([12])\.")
"""Names that weights from elsewhere give a dense layer's parts: `denselayer1.norm1` or `denselayer1.norm.1`."""


class DenseNet(nn.Module):
    """DenseNet-121; the vector is the mean of the last maps.

    Takes (N, roles, H, W) float32 of 32 x 32 or more; gives the vector (N, 1024) and the logits (N, classes).

    Args:
        roles: channels of the images.
        classes: locations.
        dropout: share dropped after each dense layer in training.
    """

    inputs = ("body.features.conv0",)
    outputs = ("body.class_layers.out",)

    def __init__(self, roles: int, classes: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.body = DenseNet121(2, roles, classes, dropout_prob=dropout)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 1024) and logits (N, classes) of images (N, roles, H, W)."""
        head = self.body.class_layers
        vector = head.flatten(head.pool(head.relu(self.body.features(images))))
        return vector, head.out(vector)

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of this network by its own names, from those that others give them."""
        return {own_name(name): values for name, values in state.items()}


def own_name(name: str) -> str:
    """The name that a weight of DenseNet-121 has here, from the one it has elsewhere."""
    name = LAYER_OF_OTHERS.sub(r"\1.layers.\2\3.", name)
    name = re.sub(r"^classifier\.", "class_layers.out.", name)
    return f"body.{name}" if name.startswith(("features.", "class_layers.")) else name


def build(roles: int, classes: int, size_px: int, dropout: float = DROPOUT) -> DenseNet:
    """DenseNet-121 with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any from 32 on, so this changes nothing.
        dropout: share dropped after each dense layer in training.
    """
    return DenseNet(roles, classes, dropout)
