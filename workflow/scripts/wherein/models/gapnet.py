"""GapNet-PL (Rumetshofer et al. 2019): global average pooling over three depths of a SELU network, for 13 locations.

The published network was trained in TensorFlow, whose SAME padding puts the odd pixel at the end; torch's own padding
puts it at the start, which shifts every map by a pixel and changes the predictions. So padding is written out here.
"""

from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from wherein.models.networks.initialization import lecun_normal

INPUTS = ("nucleus", "protein", "microtubules", "er")
"""Roles in the order of the published weights, each with mean 0 and standard deviation 1 over its field."""

VOCABULARY = "gapnet13"
"""Vocabulary of the 13 outputs."""

CONVOLUTIONS = (
    (4, 32, 2),
    (32, 64, 2),
    (64, 64, 1),
    (64, 64, 1),
    (64, 64, 1),
    (64, 128, 1),
    (128, 128, 1),
    (128, 128, 1),
)
"""Input channels, output channels and stride of the 3 x 3 convolutions (Rumetshofer et al. 2019, figure 3, and the
released code)."""

POOLED = (1, 5)
"""Convolutions (counted from 1) after which the map is halved by its maximum."""

TAPPED = (1, 5, 8)
"""Convolutions whose maps, after pooling where there is one, are averaged into the embedding's input."""

DENSE = ((224, 256), (256, 256), (256, 13))
"""Inputs and outputs of the fully connected layers; 224 = 32 + 64 + 128."""

DROPOUT = 0.3
"""Alpha dropout between the fully connected layers, in training only (Rumetshofer et al. 2019, figure 3, and the
released code)."""

EMBEDDING = 256
"""Length of the vector before the last layer."""

ARRAYS = {
    **{f"convolutions.{k}": (f"ConvLayer-{k + 1}", "conv", (3, 2, 0, 1)) for k in range(len(CONVOLUTIONS))},
    **{f"dense.{k}": (f"FC-{k + 1}", "dense", (1, 0)) for k in range(len(DENSE))},
}
"""Where published weights keep each layer: its name, its kind, and their axes in the order that torch has them."""


def same_padding(size: int, stride: int, kernel: int = 3) -> tuple[int, int]:
    """Pixels that SAME padding adds before and after one axis: half each, the odd one after.

    Args:
        size: length of the axis in pixels.
        stride: step of the kernel.
        kernel: width of the kernel.
    """
    total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class GapNet(nn.Module):
    """GapNet-PL, with 626,221 parameters for four roles and 13 classes.

    Takes (N, roles, H, W) float32 of any size from 8 x 8 on; gives the embedding (N, 256) and the logits (N, classes).

    Args:
        roles: channels of the images.
        classes: locations.
        dropout: share of alpha dropout between the fully connected layers, in training only.
    """

    inputs = ("convolutions.0",)
    outputs = ("dense.2",)

    def __init__(self, roles: int = len(INPUTS), classes: int = DENSE[-1][1], dropout: float = DROPOUT) -> None:
        super().__init__()
        self.dropout = dropout
        (_, first, step), *others = CONVOLUTIONS
        self.convolutions = nn.ModuleList(
            # a step of one pads one pixel on each side, which the convolution does itself without a copy
            nn.Conv2d(a, b, 3, stride, padding=0 if stride > 1 else 1)
            for a, b, stride in [(roles, first, step), *others]
        )
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in [*DENSE[:-1], (DENSE[-1][0], classes)])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedding (N, 256) and logits (N, classes) of images (N, roles, H, W)."""
        maps, taps = images, []
        for number, layer in enumerate(self.convolutions, start=1):
            stride = layer.stride[0]
            if stride > 1:
                top, bottom = same_padding(maps.shape[2], stride)
                left, right = same_padding(maps.shape[3], stride)
                maps = functional.pad(maps, (left, right, top, bottom))
            maps = functional.selu(layer(maps))
            if number in POOLED:
                # SAME pooling keeps the last row or column of an odd map
                maps = functional.max_pool2d(maps, 2, ceil_mode=True)
            if number in TAPPED:
                taps.append(maps.mean(dim=(2, 3)))
        vector = torch.cat(taps, dim=1)
        for layer in self.dense[:-1]:
            vector = functional.selu(layer(functional.alpha_dropout(vector, self.dropout, self.training)))
        return vector, self.dense[-1](vector)

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from those that the published file gives them."""
        names = {
            f"{array}/{key}": (f"{layer}.{part}", order)
            for layer, (array, kind, axes) in ARRAYS.items()
            for part, key, order in (("weight", f"W_{kind}", axes), ("bias", f"b_{kind}", (0,)))
        }
        own = {}
        for name, values in state.items():
            if name in names:
                found, order = names[name]
                own[found] = values.permute(order)
            elif "/" not in name:  # the published file counts its training steps too
                own[name] = values
        return own


def untrained(seed: int) -> GapNet:
    """The network with random weights as SELU asks for: normal with variance 1 / inputs (LeCun), zero biases."""
    network = GapNet()
    lecun_normal([*network.convolutions, *network.dense], torch.Generator().manual_seed(seed))
    return network.eval()


def published(path: str | Path) -> GapNet:
    """The network with published weights.

    Args:
        path: npz with `ConvLayer-k/W_conv` (height, width, input, output), `ConvLayer-k/b_conv`, `FC-k/W_dense`
            (input, output), `FC-k/b_dense`, k from 1.

    Raises:
        ValueError: an array is missing or has another shape.
    """
    network = GapNet()
    with np.load(path) as arrays:
        for layer, (name, kind, axes) in ARRAYS.items():
            _load(network.get_submodule(layer), arrays, name, kind, axes)
    return network.eval()


def _load(layer: nn.Module, arrays: Mapping[str, np.ndarray], name: str, kind: str, axes: tuple[int, ...]) -> None:
    for parameter, key, order in ((layer.weight, f"W_{kind}", axes), (layer.bias, f"b_{kind}", (0,))):
        if f"{name}/{key}" not in arrays:
            raise ValueError(f"the weights have no array {name}/{key}: this is no file of GapNet-PL")
        values = np.transpose(arrays[f"{name}/{key}"], order)
        if values.shape != tuple(parameter.shape):
            raise ValueError(f"weights {name}/{key}: found shape {values.shape}, allowed is {tuple(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


@torch.inference_mode()
def run(network: GapNet, images: Iterable[np.ndarray], device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over batches.

    Args:
        network: with its weights, in evaluation mode.
        images: batches (N, roles, H, W) float32; the sizes of batches may differ.
        device: where to run.

    Returns:
        embeddings: (sum of N, 256) float32.
        probabilities: (sum of N, classes) float32, the sigmoid of the logits.
    """
    network = network.to(device=device, memory_format=torch.channels_last)
    classes = network.dense[-1].out_features
    vectors, probabilities = [np.zeros((0, EMBEDDING), np.float32)], [np.zeros((0, classes), np.float32)]
    for batch in images:
        given = torch.from_numpy(batch).to(device=device, memory_format=torch.channels_last)
        vector, logits = network(given)
        vectors.append(vector.cpu().numpy())
        probabilities.append(torch.sigmoid(logits).cpu().numpy())
    return np.concatenate(vectors), np.concatenate(probabilities)
