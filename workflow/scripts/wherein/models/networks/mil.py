"""Convolutional multiple-instance learning (Kraus et al. 2016), as Rumetshofer et al. 2019 trained it."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from wherein.models.networks.initialization import he_normal, layers_of, xavier_uniform

WIDTHS = (32, 64, 64, 128, 128)
"""Units of the 3 x 3 convolutions; the map is halved after all but the first (released code of Rumetshofer et al.
2019)."""

INSTANCE = 1000
"""Units of the 1 x 1 convolution that describes each instance (the same)."""

SLOPE = 5.0
"""Slope of noisy-and (Rumetshofer et al. 2019, section 3: "we use a = 5")."""

DROPOUT = (0.2, 0.5)
"""Before each of the 1 x 1 convolutions, in training only (the same code)."""

HEADS = ("dense", "noisy-and")
"""What the logits may come from."""

SHRUNK = 32
"""Pixels of the image to one of the map."""

LIMIT = 1e-6
"""Probabilities nearer to 0 or 1 than this have the logit of this."""


class NoisyAnd(nn.Module):
    """Pooling after which a class is there when the mean over all instances passes a learned share.

    (sigmoid(a (mean - b)) - sigmoid(-a b)) / (sigmoid(a (1 - b)) - sigmoid(-a b)), Kraus et al. 2016, section 2.3.

    Args:
        classes: locations, each with a share b of its own.
        slope: a.
    """

    def __init__(self, classes: int, slope: float = SLOPE) -> None:
        super().__init__()
        self.slope = slope
        self.share = nn.Parameter(torch.full((classes,), 0.5))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, K) of the probabilities of instances (N, K, h, w)."""
        share = self.share.clamp(0, 1)
        mean = maps.mean(dim=(2, 3))
        low = torch.sigmoid(-self.slope * share)
        return (torch.sigmoid(self.slope * (mean - share)) - low) / (torch.sigmoid(self.slope * (1 - share)) - low)


class ConvolutionalMIL(nn.Module):
    """The network, with 593,143 parameters for four roles, 13 classes and images of 1024 pixels.

    That count is of a network whose logits come from a fully connected layer over the whole 32 x 32 map of instances,
    with noisy-and as a second output that is trained along; noisy-and alone has 420,074 and takes any size.

    Takes (N, roles, H, W) float32 of 32 x 32 or more; gives the vector (N, 1000), the mean over instances, and the
    logits (N, classes). The fully connected layer sees a grid of fixed size: maps of images of another size than it was
    built for are averaged to that.

    Attributes:
        auxiliary: after a pass in training mode, further logits (N, classes) that the loss is to be added of, so that
            noisy-and learns; empty otherwise.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images.
        head: one of HEADS.
        dropout: shares dropped before each of the 1 x 1 convolutions, in training only.
    """

    inputs = ("features.1",)
    outputs = ("instances", "noisy_and", "dense")
    class_blocks = ("dense",)

    def __init__(
        self, roles: int, classes: int, size_px: int, head: str = HEADS[0], dropout: Sequence[float] = DROPOUT
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"network mil: head {head!r}; allowed are {', '.join(HEADS)}")
        layers: list[nn.Module] = [nn.AvgPool2d(3, 2, 1, count_include_pad=False)]
        channels = roles
        for number, width in enumerate(WIDTHS):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(3, 2, 1)] if number else []
            channels = width
        layers += [nn.Dropout(dropout[0]), nn.Conv2d(channels, INSTANCE, 1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout[1])
        self.instances = nn.Conv2d(INSTANCE, classes, 1)
        self.noisy_and = NoisyAnd(classes)
        self.grid = max(size_px // SHRUNK, 1)
        self.dense = nn.Linear(classes * self.grid**2, classes) if head == "dense" else None
        self.auxiliary: tuple[torch.Tensor, ...] = ()
        xavier_uniform(layers_of(self))
        # the released code has Xavier everywhere, with which signals fade on the way and training begins on a plateau
        he_normal(layers_of(self.features))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 1000) and logits (N, classes) of images (N, roles, H, W)."""
        described = self.features(images)
        maps = torch.sigmoid(self.instances(self.dropout(described)))
        pooled = torch.logit(self.noisy_and(maps.float()), LIMIT)
        vector = described.mean(dim=(2, 3))
        if self.dense is None:
            return vector, pooled
        self.auxiliary = (pooled,) if self.training else ()
        if maps.shape[2:] != (self.grid, self.grid):
            maps = functional.adaptive_avg_pool2d(maps, self.grid)
        return vector, self.dense(maps.flatten(1))

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Probability of each class at each instance, (N, classes, h, w)."""
        return torch.sigmoid(self.instances(self.dropout(self.features(images))))


def build(
    roles: int, classes: int, size_px: int, head: str = HEADS[0], dropout: Sequence[float] = DROPOUT
) -> ConvolutionalMIL:
    """The network with random weights (He et al. 2015; its last layers Glorot and Bengio 2010).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images, which set the grid that the fully connected layer sees.
        head: what the logits come from: a fully connected layer over the map (`dense`), or `noisy-and`.
        dropout: shares dropped before each of the two 1 x 1 convolutions in training.

    Raises:
        ValueError: there is no such head.
    """
    return ConvolutionalMIL(roles, classes, size_px, head, dropout)
