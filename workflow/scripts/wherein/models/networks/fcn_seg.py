"""FCN-Seg (Liimatainen et al. 2018): maps of where each location is, drawn from one path of layers per channel."""

import logging
import re
from collections.abc import Mapping

import torch
from torch import nn

from wherein.models.networks.initialization import he_normal, layers_of, lecun_normal

LOG = logging.getLogger(__name__)

WIDTHS = (16, 32, 64)
"""Units of the three convolutions of a path, each followed by a maximum over 2 x 2. Rumetshofer et al. 2019 (section 3)
say that their number increases, not what it is."""

COMBINED = 128
"""Units of the convolution over the sum of all paths; the paper does not say either."""

POOLINGS = ("max", "mean")
"""How a map becomes one probability: of the place where the class is most likely (it is there when its map passes the
threshold somewhere, as the paper puts it), or the mean over all places."""

LIMIT = 1e-6
"""Mean probabilities nearer to 0 or 1 than this have the logit of this."""


class FCNSeg(nn.Module):
    """The network; thresholds of its classes are meant to be chosen on the training set (section 3).

    Takes (N, roles, H, W) float32 of 8 x 8 or more; gives the vector (N, 128), the mean over the places, and the logits
    (N, classes). Maps are an eighth of the image.

    Args:
        roles: channels of the images, each with a path of its own.
        classes: locations.
        pooling: one of POOLINGS.
    """

    outputs = ("classify",)
    role_paths = ("paths",)

    def __init__(self, roles: int, classes: int, pooling: str = POOLINGS[0]) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"network fcn-seg: pooling {pooling!r}; allowed are {', '.join(POOLINGS)}")
        self.pooling = pooling
        self.paths = nn.ModuleList(_path() for _ in range(roles))
        self.combine = nn.Sequential(nn.Conv2d(WIDTHS[-1], COMBINED, 3, padding=1), nn.ReLU(inplace=True))
        self.classify = nn.Conv2d(COMBINED, classes, 1)
        he_normal(layers_of(self))
        lecun_normal([self.classify])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 128) and logits (N, classes) of images (N, roles, H, W)."""
        combined = self.combined(images)
        vector = combined.mean(dim=(2, 3))
        drawn = self.classify(combined)
        if self.pooling == "max":
            return vector, drawn.amax(dim=(2, 3))
        return vector, torch.logit(torch.sigmoid(drawn.float()).mean(dim=(2, 3)), LIMIT)

    def combined(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (N, 256, H / 8, W / 8) over all channels."""
        added = sum(path(images[:, number : number + 1]) for number, path in enumerate(self.paths))
        return self.combine(added)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Probability of each class at each place, (N, classes, H / 8, W / 8)."""
        return torch.sigmoid(self.classify(self.combined(images)))

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights for as many paths as this network has: those of a file are repeated in their order, or left out."""
        numbers = [int(match[1]) for name in state if (match := re.match(r"paths\.(\d+)\.", name))]
        had = max(numbers, default=-1) + 1
        named = {name: values for name, values in state.items() if not name.startswith("paths.")}
        for number in range(len(self.paths)) if had else ():
            prefix = f"paths.{number % had}."
            named |= {
                f"paths.{number}.{name.removeprefix(prefix)}": values
                for name, values in state.items()
                if name.startswith(prefix)
            }
        if had and had != len(self.paths):
            LOG.info("paths of %d channels serve for %d", had, len(self.paths))
        return named


def _path() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, units in zip((1, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(inputs, units, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def build(roles: int, classes: int, size_px: int, pooling: str = POOLINGS[0]) -> FCNSeg:
    """FCN-Seg with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any from 8 on, so this changes nothing.
        pooling: how a map becomes one probability, `max` or `mean`.

    Raises:
        ValueError: there is no such pooling.
    """
    return FCNSeg(roles, classes, pooling)
