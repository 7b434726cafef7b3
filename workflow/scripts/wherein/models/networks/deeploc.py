"""DeepLoc (Kraus et al. 2017) as Rumetshofer et al. 2019 adapted it to fields."""

import torch
from torch import nn
from torch.nn import functional

from wherein.models.networks.initialization import he_normal, layers_of, lecun_normal

BLOCKS = ((32, 32), (64, 64), (96, 96, 96, 96))
"""Units of the 3 x 3 convolutions; the map is halved by its maximum after each block (Rumetshofer et al. 2019, table
5, adapted units)."""

DENSE = (128, 128)
"""Units of the fully connected layers (the same table)."""

SHRUNK = 2 ** len(BLOCKS)


class DeepLoc(nn.Module):
    """DeepLoc, with 201,715,277 parameters for four roles, 13 classes and images of 1024 pixels.

    Rumetshofer et al. 2019 (section 3) put SELU in the place of ReLU with batch normalization, but table 6 counts
    201,716,967 parameters: those of the network with batch normalization after each of its 845 units.

    Takes (N, roles, H, W) float32 of 16 x 16 or more; gives the vector (N, 128) and the logits (N, classes). Its
    first fully connected layer sees a grid of fixed size: images of another size than it was built for are averaged to
    that.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images.
        batch_norm: ReLU with batch normalization (Kraus et al. 2017) in the place of SELU.
    """

    inputs = ("convolutions.0",)

    def __init__(self, roles: int, classes: int, size_px: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.grid = size_px // SHRUNK
        layers: list[nn.Module] = []
        channels = roles
        for block in BLOCKS:
            for units in block:
                layers.append(nn.Conv2d(channels, units, 3, padding=1))
                layers += _activation(units, batch_norm, nn.BatchNorm2d)
                channels = units
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        dense: list[nn.Module] = []
        lengths = (channels * self.grid**2, *DENSE)
        for inputs, units in zip(lengths, DENSE, strict=False):
            dense += [nn.Linear(inputs, units), *_activation(units, batch_norm, nn.BatchNorm1d)]
        self.dense = nn.Sequential(*dense)
        last = nn.Linear(DENSE[-1], classes)
        self.out = nn.Sequential(last, nn.BatchNorm1d(classes)) if batch_norm else nn.Sequential(last)
        self.outputs = tuple(f"out.{number}" for number in range(len(self.out)))
        (he_normal if batch_norm else lecun_normal)(layers_of(self))
        lecun_normal([last])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 128) and logits (N, classes) of images (N, roles, H, W)."""
        maps = self.convolutions(images)
        if maps.shape[2:] != (self.grid, self.grid):
            maps = functional.adaptive_avg_pool2d(maps, self.grid)
        vector = self.dense(maps.flatten(1))
        return vector, self.out(vector)


def _activation(units: int, batch_norm: bool, norm: type[nn.Module]) -> list[nn.Module]:
    return [norm(units), nn.ReLU(inplace=True)] if batch_norm else [nn.SELU(inplace=True)]


def build(roles: int, classes: int, size_px: int, batch_norm: bool = False) -> DeepLoc:
    """DeepLoc with weights drawn for its activation.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images, which set the grid that its first fully connected layer sees.
        batch_norm: ReLU with batch normalization in the place of SELU.
    """
    return DeepLoc(roles, classes, size_px, batch_norm)
