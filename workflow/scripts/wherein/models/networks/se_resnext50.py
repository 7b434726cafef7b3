"""SE-ResNeXt-50 (Hu et al. 2018), the backbone of team 3 in Le et al. 2022."""

import re
from collections.abc import Mapping

import torch
from monai.networks.nets.senet import SEResNext50
from torch import nn

NAMES = (
    (re.compile(r"^(layer\d\.\d+)\.conv(\d)\.(\w+)$"), r"\1.conv\2.conv.\3"),
    (re.compile(r"^(layer\d\.\d+)\.bn(\d)\.(\w+)$"), r"\1.conv\2.adn.N.\3"),
    (re.compile(r"^(layer\d\.\d+)\.se_module\.fc1\.(\w+)$"), r"\1.se_layer.fc.0.\2"),
    (re.compile(r"^(layer\d\.\d+)\.se_module\.fc2\.(\w+)$"), r"\1.se_layer.fc.2.\2"),
    (re.compile(r"^(layer\d\.\d+)\.downsample\.0\.(\w+)$"), r"\1.project.conv.\2"),
    (re.compile(r"^(layer\d\.\d+)\.downsample\.1\.(\w+)$"), r"\1.project.adn.N.\2"),
)
"""Names of published weights, and those that MONAI gives the same layers."""


class SEResNeXt50(nn.Module):
    """SE-ResNeXt-50 (32 groups of 4); the vector is the mean of the last maps.

    Takes (N, roles, H, W) float32 of 32 x 32 or more; gives the vector (N, 2048) and the logits (N, classes).

    Args:
        roles: channels of the images.
        classes: locations.
    """

    inputs = ("body.layer0.conv1",)
    outputs = ("body.last_linear",)

    def __init__(self, roles: int, classes: int) -> None:
        super().__init__()
        self.body = SEResNext50(spatial_dims=2, in_channels=roles, num_classes=classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 2048) and logits (N, classes) of images (N, roles, H, W)."""
        vector = self.body.features(images).mean(dim=(2, 3))
        return vector, self.body.last_linear(vector)

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from the published ones, whose squeezes are 1 x 1 convolutions."""
        own = self.state_dict()
        named = {}
        for name, values in state.items():
            key = name if name.startswith("body.") else f"body.{_own_name(name)}"
            squeezed = ".se_layer." in key and key in own and values.dim() > own[key].dim()
            named[key] = values.flatten(1) if squeezed else values
        return named


def _own_name(name: str) -> str:
    for pattern, replacement in NAMES:
        name = pattern.sub(replacement, name)
    return name


def build(roles: int, classes: int, size_px: int) -> SEResNeXt50:
    """SE-ResNeXt-50 with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any from 32 on, so this changes nothing.
    """
    return SEResNeXt50(roles, classes)
