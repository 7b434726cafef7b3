"""M-CNN (Godinez et al. 2017): seven scales of the image, each with three convolutions, put together on one grid."""

import torch
from torch import nn
from torch.nn import functional

from wherein.models.networks.initialization import he_normal, layers_of, lecun_normal

KERNELS = {1: 16, 2: 16, 4: 16, 8: 32, 16: 32, 32: 32, 64: 64}
"""Kernels of the three 5 x 5 convolutions of each scale (Rumetshofer et al. 2019, figure 7)."""

COMBINED = 1024
"""Kernels of the 1 x 1 convolution over all scales (the same figure)."""

HIDDEN = 512
"""Units of the fully connected layer (the same figure)."""

COARSEST = max(KERNELS)


class MultiScaleCNN(nn.Module):
    """M-CNN, with 34,193,853 parameters for four roles, 13 classes and images of 1024 pixels.

    Takes (N, roles, H, W) float32 of 128 x 128 or more; gives the vector (N, 512) and the logits (N, classes). Its
    fully connected layer sees a grid of fixed size: images of another size than it was built for are pooled to that.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images.
    """

    inputs = tuple(f"scales.{scale}.0" for scale in KERNELS)
    outputs = ("out",)

    def __init__(self, roles: int, classes: int, size_px: int) -> None:
        super().__init__()
        self.grid = max(round(size_px / COARSEST), 2)
        self.scales = nn.ModuleDict({str(scale): _convolutions(roles, width) for scale, width in KERNELS.items()})
        self.combined = nn.Conv2d(sum(KERNELS.values()), COMBINED, 1)
        self.hidden = nn.Linear(COMBINED * (self.grid // 2) ** 2, HIDDEN)
        self.out = nn.Linear(HIDDEN, classes)
        he_normal(layers_of(self))
        lecun_normal([self.out])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 512) and logits (N, classes) of images (N, roles, H, W)."""
        found, scaled, last = [], images, 1
        for scale, convolutions in self.scales.items():
            step = int(scale) // last
            # the maximum of maxima is the maximum over all, so each scale begins from the one before
            scaled = functional.max_pool2d(scaled, step, ceil_mode=True) if step > 1 else scaled
            found.append(pooled(convolutions(scaled), self.grid))
            last = int(scale)
        maps = functional.relu(self.combined(torch.cat(found, dim=1)))
        vector = functional.relu(self.hidden(functional.max_pool2d(maps, 2).flatten(1)))
        return vector, self.out(vector)


def pooled(maps: torch.Tensor, grid: int) -> torch.Tensor:
    """Maxima of maps (N, C, h, w) on a grid (N, C, grid, grid), whatever their size."""
    height, width = maps.shape[2:]
    if height % grid or width % grid:
        return functional.adaptive_max_pool2d(maps, grid)
    return functional.max_pool2d(maps, (height // grid, width // grid))


def _convolutions(roles: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (roles, width, width):
        layers += [nn.Conv2d(inputs, width, 5, padding=2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def build(roles: int, classes: int, size_px: int) -> MultiScaleCNN:
    """M-CNN with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images, which set the grid that its fully connected layer sees.
    """
    return MultiScaleCNN(roles, classes, size_px)
