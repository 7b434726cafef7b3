"""Inception-v3 (Szegedy et al. 2016, "Rethinking the Inception architecture"), one of the networks of Ouyang et al.
2019.

Layers have the names of the weights that are published for this network, so that those can be loaded. The auxiliary
classifier of the paper, which is used in training only, is left out.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

CHANNELS = 2048
"""Channels of the last maps."""

DROPOUT = 0.5
"""Before the last layer, in training only."""

EPSILON = 1e-3
"""Added to the variance in batch norms, as the published weights were trained with."""


class Step(NamedTuple):
    """One convolution of a path, with batch norm and ReLU.

    Attributes:
        name: of the layer.
        units: its channels.
        kernel: height and width.
        stride: a stride of 2 is without padding, one of 1 keeps the size.
    """

    name: str
    units: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Path = tuple[Step, ...]


class Convolution(nn.Module):
    """Convolution, batch norm and ReLU: (N, inputs, H, W) to (N, units, h, w)."""

    def __init__(
        self, inputs: int, units: int, kernel: tuple[int, int], stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, units, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(units, eps=EPSILON)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """The maps after it."""
        return functional.relu(self.bn(self.conv(maps)), inplace=True)


class Mixed(nn.Module):
    """Paths side by side over the same maps, put together: one module of the network.

    Args:
        inputs: channels of the maps.
        paths: each ends with one convolution, or with two that share what comes before (`fork`).
        fork: number of the last steps of a path that stand side by side, by the name of its first step.
        pool: units of the 1 x 1 convolution over averages of 3 x 3; None for a maximum of 3 x 3 with a stride of 2.
    """

    def __init__(self, inputs: int, paths: tuple[Path, ...], fork: Mapping[str, int], pool: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.paths: list[tuple[list[str], list[str]]] = []
        for path in paths:
            split = len(path) - fork.get(path[0].name, 1)
            channels = inputs
            for number, step in enumerate(path):
                padding = (0, 0) if step.stride > 1 else (step.kernel[0] // 2, step.kernel[1] // 2)
                self.layers[step.name] = Convolution(channels, step.units, step.kernel, step.stride, padding)
                channels = step.units if number < split else channels
            names = [step.name for step in path]
            self.paths.append((names[:split], names[split:]))
        if pool is not None:
            self.layers["branch_pool"] = Convolution(inputs, pool, (1, 1))
        last = [self.layers[name].conv.out_channels for _, ends in self.paths for name in ends]
        self.channels = sum(last) + (inputs if pool is None else pool)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (N, channels, h, w) of maps (N, inputs, H, W)."""
        found = []
        for shared, ends in self.paths:
            along = maps
            for name in shared:
                along = self.layers[name](along)
            found += [self.layers[name](along) for name in ends]
        if "branch_pool" in self.layers:
            found.append(self.layers["branch_pool"](functional.avg_pool2d(maps, 3, 1, 1)))
        else:
            found.append(functional.max_pool2d(maps, 3, 2))
        return torch.cat(found, dim=1)


def _square(name: str, units: int, size: int, stride: int = 1) -> Step:
    return Step(name, units, (size, size), stride)


def _fine(inputs: int, pool: int) -> Mixed:
    """Figure 5: 5 x 5 as two of 3 x 3."""
    paths = (
        (Step("branch1x1", 64),),
        (Step("branch5x5_1", 48), _square("branch5x5_2", 64, 5)),
        (Step("branch3x3dbl_1", 64), _square("branch3x3dbl_2", 96, 3), _square("branch3x3dbl_3", 96, 3)),
    )
    return Mixed(inputs, paths, {}, pool)


def _to_middle(inputs: int) -> Mixed:
    """Figure 10, at 35 x 35: half the size, without a bottleneck of what is known."""
    paths = (
        (_square("branch3x3", 384, 3, 2),),
        (Step("branch3x3dbl_1", 64), _square("branch3x3dbl_2", 96, 3), _square("branch3x3dbl_3", 96, 3, 2)),
    )
    return Mixed(inputs, paths, {}, None)


def _middle(inputs: int, units: int) -> Mixed:
    """Figure 6: 7 x 7 as 1 x 7 and 7 x 1."""
    flat, tall = (1, 7), (7, 1)
    double = [
        Step(f"branch7x7dbl_{number}", units, kernel)
        for number, kernel in enumerate(((1, 1), tall, flat, tall), start=1)
    ]
    paths = (
        (Step("branch1x1", 192),),
        (Step("branch7x7_1", units), Step("branch7x7_2", units, flat), Step("branch7x7_3", 192, tall)),
        (*double, Step("branch7x7dbl_5", 192, flat)),
    )
    return Mixed(inputs, paths, {}, 192)


def _to_coarse(inputs: int) -> Mixed:
    """Half the size once more, at 17 x 17."""
    paths = (
        (Step("branch3x3_1", 192), _square("branch3x3_2", 320, 3, 2)),
        (
            Step("branch7x7x3_1", 192),
            Step("branch7x7x3_2", 192, (1, 7)),
            Step("branch7x7x3_3", 192, (7, 1)),
            _square("branch7x7x3_4", 192, 3, 2),
        ),
    )
    return Mixed(inputs, paths, {}, None)


def _coarse(inputs: int) -> Mixed:
    """Figure 7: 3 x 3 as 1 x 3 beside 3 x 1."""
    flat, tall = (1, 3), (3, 1)
    paths = (
        (Step("branch1x1", 320),),
        (Step("branch3x3_1", 384), Step("branch3x3_2a", 384, flat), Step("branch3x3_2b", 384, tall)),
        (
            Step("branch3x3dbl_1", 448),
            _square("branch3x3dbl_2", 384, 3),
            Step("branch3x3dbl_3a", 384, flat),
            Step("branch3x3dbl_3b", 384, tall),
        ),
    )
    return Mixed(inputs, paths, {"branch3x3_1": 2, "branch3x3dbl_1": 2}, 192)


class Body(nn.Module):
    """All but the last layer (table 1): (N, roles, H, W) of 75 x 75 or more to (N, 2048, h, w).

    Args:
        roles: channels of the images.
    """

    def __init__(self, roles: int) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(roles, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = Convolution(32, 64, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Convolution(80, 192, (3, 3))
        self.Mixed_5b = _fine(192, 32)
        self.Mixed_5c = _fine(self.Mixed_5b.channels, 64)
        self.Mixed_5d = _fine(self.Mixed_5c.channels, 64)
        self.Mixed_6a = _to_middle(self.Mixed_5d.channels)
        self.Mixed_6b = _middle(self.Mixed_6a.channels, 128)
        self.Mixed_6c = _middle(self.Mixed_6b.channels, 160)
        self.Mixed_6d = _middle(self.Mixed_6c.channels, 160)
        self.Mixed_6e = _middle(self.Mixed_6d.channels, 192)
        self.Mixed_7a = _to_coarse(self.Mixed_6e.channels)
        self.Mixed_7b = _coarse(self.Mixed_7a.channels)
        self.Mixed_7c = _coarse(self.Mixed_7b.channels)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The last maps."""
        maps = images
        for name, layer in self.named_children():
            if name in ("Conv2d_3b_1x1", "Mixed_5b"):
                maps = functional.max_pool2d(maps, 3, 2)
            maps = layer(maps)
        return maps


class InceptionV3(nn.Module):
    """Inception-v3, with 23,834,568 parameters for three channels and 1000 classes.

    Takes (N, roles, H, W) float32 of 75 x 75 or more; gives the vector (N, 2048), the mean of the last maps, and the
    logits (N, classes).

    Args:
        roles: channels of the images.
        classes: locations.
        dropout: share dropped before the last layer in training.
    """

    inputs = ("body.Conv2d_1a_3x3.conv",)
    outputs = ("fc",)

    def __init__(self, roles: int, classes: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.body = Body(roles)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(CHANNELS, classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 2048) and logits (N, classes) of images (N, roles, H, W)."""
        vector = self.body(images).mean(dim=(2, 3))
        return vector, self.fc(self.dropout(vector))

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from the published ones, less the auxiliary classifier."""
        return {own_name(name): values for name, values in state.items() if not name.startswith("AuxLogits.")}


def own_name(name: str) -> str:
    """The name that a weight of Inception-v3 has here, from the published one."""
    if not name.startswith(("Conv2d_", "Mixed_")):
        return name
    return "body." + re.sub(r"^(Mixed_\d\w)\.", r"\1.layers.", name)


def build(roles: int, classes: int, size_px: int, dropout: float = DROPOUT) -> InceptionV3:
    """Inception-v3 with random weights (He et al. 2015).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any from 75 on, so this changes nothing.
        dropout: share dropped before the last layer in training.
    """
    return InceptionV3(roles, classes, dropout)
