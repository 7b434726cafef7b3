"""The single model that won the competition of Ouyang et al. 2019: DenseNet-121 for fields of 1024 pixels."""

from collections.abc import Mapping

import torch
from monai.networks.nets.densenet import DenseNet121
from torch import nn
from torch.nn import functional

from wherein.models.networks.densenet121 import EMBEDDING as CHANNELS
from wherein.models.networks.densenet121 import own_name
from wherein.models.networks.heads import DROPOUT, HIDDEN, TwoLayerHead


class LargeDenseNet(nn.Module):
    """DenseNet-121 whose maps are halved once more at the start, with averages and maxima of the last maps.

    Takes (N, roles, H, W) float32 of 64 x 64 or more; gives the vector (N, 1024) and the logits (N, classes).

    Args:
        roles: channels of the images.
        classes: locations.
        dropout: share dropped before each layer of the head in training.
    """

    inputs = ("body.features.conv0",)
    outputs = ("two_layers.out",)
    head = ("two_layers.",)

    def __init__(self, roles: int, classes: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.body = DenseNet121(2, roles, classes)
        # the head takes the place of the last layer
        del self.body.class_layers
        self.two_layers = TwoLayerHead(2 * CHANNELS, classes, HIDDEN, dropout)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 1024) and logits (N, classes) of images (N, roles, H, W)."""
        maps = images
        for name, layer in self.body.features.named_children():
            maps = layer(maps)
            if name == "pool0":
                maps = functional.max_pool2d(maps, 2)
        maps = functional.relu(maps)
        return self.two_layers(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names; the last layer of a plain DenseNet-121 has no place here."""
        named = {own_name(name): values for name, values in state.items()}
        return {name: values for name, values in named.items() if not name.startswith("body.class_layers.")}


def build(roles: int, classes: int, size_px: int, dropout: float = DROPOUT) -> LargeDenseNet:
    """The network with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any from 64 on, so this changes nothing.
        dropout: share dropped before each layer of the head in training.
    """
    return LargeDenseNet(roles, classes, dropout)
