"""The two networks' shapes: a small U-Net, and a U-Net with a dual-path encoder as Le et al. 2022 have it.

Every network takes (N, C, h, w) float32, h and w multiples of its `multiple`, and gives the logits (N, 3, h, w) of
background, border and body.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

CLASSES = ("background", "border", "body")
"""Outputs, in order: ground, the seam where two objects touch, and the rest of an object (Le et al. 2022,
the HPA cell segmentation)."""

SMALL_WIDTHS = (24, 48, 96, 128)
"""Channels of the small network's levels, the first at half the input's resolution."""

DPN92 = {"stem": 64, "depths": (3, 4, 20, 3), "group_width": 96, "groups": 32, "dense": (16, 32, 24, 128)}
"""DPN-92 (Chen et al. 2017, "Dual path networks", table 1): channels of the stem, blocks of the four stages, channels
of the grouped convolution in the first stage (doubled in each further one), groups, and the channels that each block
of a stage adds to the dense path. The residual path has 256 channels in the first stage, doubled in each further
one."""

RESIDUAL = 256
"""Channels of the residual path in the first stage of the dual-path encoder."""

DECODER = 64
"""Channels of the finest levels of the dual-path network's decoder; its coarser ones have twice and four times as
many."""


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch normalization and ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def doubled(maps: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) to (N, C, 2h, 2w), each pixel repeated."""
    return functional.interpolate(maps, scale_factor=2.0, mode="nearest")


class SmallUNet(nn.Module):
    """A U-Net that works at half the input's resolution: four pixels are one with four times the channels.

    That takes a quarter of the time of the same network at full resolution, and no detail is lost on the way in or
    out.

    Args:
        inputs: channels of the images.
        widths: channels of the levels, finest first.
    """

    multiple = 16

    def __init__(self, inputs: int, widths: Sequence[int] = SMALL_WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(convolutions(a, b) for a, b in zip((4 * inputs, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(convolutions(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 4 * len(CLASSES), 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 3, h, w) of images (N, C, h, w)."""
        maps = functional.pixel_unshuffle(images, 2)
        kept = []
        for level, block in enumerate(self.down):
            maps = block(functional.max_pool2d(maps, 2) if level else maps)
            kept.append(maps)
        for block, fine in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            maps = block(torch.cat([fine, doubled(maps)], dim=1))
        return functional.pixel_shuffle(self.head(maps), 2)


class DualPathBlock(nn.Module):
    """One block of a dual path network: its output is added to the residual path and appended to the dense path.

    Normalization and ReLU come before each convolution (Chen et al. 2017, section 4).

    Args:
        inputs: channels of both paths together before the block.
        group_width: channels of the grouped 3 x 3 convolution.
        residual: channels of the residual path.
        dense: channels appended to the dense path.
        groups: groups of the 3 x 3 convolution.
        stride: step of the 3 x 3 convolution.
        projected: whether the block begins a stage: both paths then start anew from a 1 x 1 convolution.
    """

    def __init__(
        self, inputs: int, group_width: int, residual: int, dense: int, groups: int, stride: int, projected: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.project = _activated(inputs, residual + 2 * dense, 1, stride) if projected else None
        self.body = nn.Sequential(
            _activated(inputs, group_width, 1),
            _activated(group_width, group_width, 3, stride, groups),
            _activated(group_width, residual + dense, 1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Both paths, residual channels first: (N, residual + dense path, h, w)."""
        shortcut = maps if self.project is None else self.project(maps)
        out = self.body(maps)
        added = shortcut[:, : self.residual] + out[:, : self.residual]
        return torch.cat([added, shortcut[:, self.residual :], out[:, self.residual :]], dim=1)


def _activated(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Batch normalization, ReLU, convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=False),
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
    )


class DualPathUNet(nn.Module):
    """A U-Net whose encoder is a dual path network, DPN-92 by default, with a decoder of plain convolutions.

    Args:
        inputs: channels of the images.
        stem: channels of the first convolution.
        depths: blocks of each stage.
        group_width: channels of the grouped convolution in the first stage, a multiple of `groups`.
        groups: groups of that convolution.
        dense: channels that each block of a stage appends.
        residual: channels of the residual path in the first stage.
        decoder: channels of the finest levels of the decoder.
    """

    multiple = 32

    def __init__(
        self,
        inputs: int,
        stem: int = DPN92["stem"],  # type: ignore[assignment]
        depths: Sequence[int] = DPN92["depths"],  # type: ignore[assignment]
        group_width: int = DPN92["group_width"],  # type: ignore[assignment]
        groups: int = DPN92["groups"],  # type: ignore[assignment]
        dense: Sequence[int] = DPN92["dense"],  # type: ignore[assignment]
        residual: int = RESIDUAL,
        decoder: int = DECODER,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList()
        widths, channels = [stem], stem
        for stage, (depth, added) in enumerate(zip(depths, dense, strict=True)):
            blocks = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                width = residual * 2**stage
                blocks.append(
                    DualPathBlock(channels, group_width * 2**stage, width, added, groups, stride, projected=not number)
                )
                # a stage's first block starts the dense path with twice its share, and adds one
                channels = width + 3 * added if not number else channels + added
            self.stages.append(nn.Sequential(*blocks))
            widths.append(channels)
        self.last = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        outs = [decoder * 2 ** max(0, level - 1) for level in range(len(widths))]
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.up.append(convolutions(channels + widths[level], outs[level]))
            channels = outs[level]
        self.head = nn.Sequential(convolutions(channels, decoder // 2), nn.Conv2d(decoder // 2, len(CLASSES), 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 3, h, w) of images (N, C, h, w)."""
        maps = self.stem(images)
        kept = [maps]
        maps = functional.max_pool2d(maps, 3, 2, 1)
        for stage in self.stages:
            maps = stage(maps)
            kept.append(maps)
        maps = self.last(maps)
        for block, fine in zip(self.up, reversed(kept[:-1]), strict=True):
            maps = block(torch.cat([doubled(maps), fine], dim=1))
        return self.head(doubled(maps))


ARCHITECTURES = {"small": SmallUNet, "dpn": DualPathUNet}
"""Networks by the name that the configuration has for them."""


def parameters(network: nn.Module) -> int:
    """Number of trained values of a network."""
    return sum(values.numel() for values in network.parameters())
