"""ResNet-50 (He et al. 2016) with an embedding layer for metric learning, as the winner of Ouyang et al. 2019 had."""

from collections.abc import Mapping

import torch
from monai.networks.nets.resnet import ResNet
from torch import nn

DEPTHS = [3, 4, 6, 3]
"""Blocks of the four stages (He et al. 2016, table 1)."""

WIDTHS = [64, 128, 256, 512]
"""Channels within the blocks of each stage; a stage has four times as many (the same table)."""

CHANNELS = 2048
"""Channels of the last maps."""

EMBEDDING = 512
"""Length of the vector (released code of team 1, metric learning)."""


class ResNet50(nn.Module):
    """ResNet-50 whose vector is a fully connected layer of the mean of the last maps, with batch normalization.

    The vector is what an angular loss compares; the logits are a plain last layer on it, for the plain half of the
    winner's loss and for locations. In training a batch holds two images or more.

    Takes (N, roles, H, W) float32 of 32 x 32 or more; gives the vector (N, embedding) and the logits (N, classes).

    Args:
        roles: channels of the images.
        classes: locations, or antibodies.
        embedding: length of the vector.
    """

    inputs = ("body.conv1",)
    outputs = ("out",)
    head = ("neck.", "out.")

    def __init__(self, roles: int, classes: int, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.body = ResNet(
            "bottleneck",
            DEPTHS,
            WIDTHS,
            spatial_dims=2,
            n_input_channels=roles,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        self.neck = nn.Sequential(nn.Linear(CHANNELS, embedding), nn.BatchNorm1d(embedding))
        self.out = nn.Linear(embedding, classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, embedding) and logits (N, classes) of images (N, roles, H, W)."""
        vector = self.neck(self.body(images))
        return vector, self.out(vector)

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from the published ones of ResNet-50, less its last layer."""
        body = ("conv1.", "bn1.", "layer")
        return {
            f"body.{name}" if name.startswith(body) else name: values
            for name, values in state.items()
            if not name.startswith("fc.")
        }


def build(roles: int, classes: int, size_px: int, embedding: int = EMBEDDING) -> ResNet50:
    """ResNet-50 with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations, or antibodies.
        size_px: height and width of the images; it takes any from 32 on, so this changes nothing.
        embedding: length of the vector.
    """
    return ResNet50(roles, classes, embedding)
