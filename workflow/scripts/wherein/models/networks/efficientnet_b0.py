"""EfficientNet-B0 (Tan and Le 2019), one of the popular backbones of Le et al. 2022."""

import re
from collections.abc import Mapping

import torch
from monai.networks.nets.efficientnet import EfficientNetBN
from torch import nn
from torch.nn import functional

MOMENTUM = 0.1
"""Share of a batch in the running statistics of batch normalization. The authors' 0.01 is for hundreds of thousands of
steps: after some hundreds, which is what a training on fields has, the statistics are still those of the random start,
and a network that has learned its batches by heart says nothing right in evaluation."""


class EfficientNetB0(nn.Module):
    """EfficientNet-B0; the vector is the mean of the last maps.

    Takes (N, roles, H, W) float32 of 32 x 32 or more; gives the vector (N, 1280) and the logits (N, classes). Maps are
    padded as the paper's are where height and width are multiples of 32.

    Args:
        roles: channels of the images.
        classes: locations.
        momentum: share of a batch in the running statistics of batch normalization.
    """

    inputs = ("body._conv_stem",)
    outputs = ("body._fc",)

    def __init__(self, roles: int, classes: int, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.body = EfficientNetBN(
            "efficientnet-b0",
            pretrained=False,
            spatial_dims=2,
            in_channels=roles,
            num_classes=classes,
            norm=("batch", {"eps": 1e-3, "momentum": momentum}),
        )
        self.stacks = [len(stack) for stack in self.body._blocks]
        # torch's own swish is the same function, fused
        for layer in self.body.modules():
            if hasattr(layer, "_swish"):
                layer._swish = nn.SiLU()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, 1280) and logits (N, classes) of images (N, roles, H, W)."""
        body = self.body
        maps = functional.silu(body._bn0(body._conv_stem(body._conv_stem_padding(images))))
        maps = body._conv_head(body._conv_head_padding(body._blocks(maps)))
        vector = functional.silu(body._bn1(maps)).mean(dim=(2, 3))
        return vector, body._fc(body._dropout(vector))

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from the published ones, whose blocks are in one row."""
        stack_of = [stack for stack, blocks in enumerate(self.stacks) for _ in range(blocks)]
        named = {}
        for name, values in state.items():
            block = re.match(r"_blocks\.(\d+)\.(?=_)", name)
            if block:
                name = f"_blocks.{stack_of[int(block[1])]}.{block[1]}.{name[block.end() :]}"
            named[f"body.{name}" if name.startswith("_") else name] = values
        return named


def build(roles: int, classes: int, size_px: int, momentum: float = MOMENTUM) -> EfficientNetB0:
    """EfficientNet-B0 with random weights (as its authors draw them).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images; it takes any from 32 on, so this changes nothing.
        momentum: share of a batch in the running statistics of batch normalization.
    """
    return EfficientNetB0(roles, classes, momentum)
