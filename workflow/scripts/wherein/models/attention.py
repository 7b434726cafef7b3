"""Where a network looks: Grad-CAM maps of each class, and how much of a map lies on what it should lie on.

Ouyang et al. 2019 (methods, class activation maps) draw them at one layer of each network, resized and laid over the
image; the registry of networks has that layer for each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Pointing(NamedTuple):
    """How well maps point at what is marked.

    Attributes:
        share: (...) share of each map's sum that lies on the mask; NaN where the map is zero everywhere.
        by_chance: (...) share of the pixels that the mask covers: what an even map would have.
    """

    share: np.ndarray
    by_chance: np.ndarray


def grad_cam(network: nn.Module, images: torch.Tensor, classes: Sequence[int], layer: str) -> torch.Tensor:
    """Grad-CAM of classes at a layer (Selvaraju et al. 2017, section 3).

    The gradient of a class's logit, averaged over each channel's map, weighs that map; the weighted sum less what is
    negative is the attention. Where the network sees the image at several scales, the sums are put together on the
    finest grid.

    Args:
        network: gives vector and logits (N, K); it is run as in inference, and left as it was.
        images: (N, C, H, W) float32 on the network's device.
        classes: K' positions of classes among the logits.
        layer: dotted name of a module of the network that gives maps (N, C', h, w).

    Returns:
        (N, K', h, w) float32, zero or more, on the images' device.

    Raises:
        ValueError: there is no such layer, or it gives no maps, or the logits do not depend on it.
    """
    named = dict(network.named_modules())
    if layer not in named:
        raise ValueError(_no_such_layer(named, layer))
    leaves: list[torch.Tensor] = []
    handle = named[layer].register_forward_hook(_cut(layer, leaves))
    training = network.training
    network.eval()
    try:
        with torch.enable_grad():
            logits = network(images)[1]
            if not leaves or not logits.requires_grad:
                raise ValueError(f"layer {layer!r}: the logits do not depend on what it gives")
            found = [
                _weighted(leaves, torch.autograd.grad(logits[:, k].sum(), leaves, retain_graph=True)) for k in classes
            ]
    finally:
        handle.remove()
        network.train(training)
    return torch.stack(found, dim=1) if found else images.new_zeros((len(images), 0, *leaves[0].shape[2:]))


def _cut(layer: str, leaves: list[torch.Tensor]) -> Callable[[nn.Module, Any, Any], torch.Tensor]:
    """A hook that lets gradients go back to what the layer gives and no further, which saves most of the work."""

    def hook(module: nn.Module, given: Any, output: Any) -> torch.Tensor:
        if not isinstance(output, torch.Tensor) or output.dim() != 4:
            raise ValueError(f"layer {layer!r}: it gives no maps (N, channels, height, width), choose one that does")
        leaves.append(output.detach().float().requires_grad_())
        # a copy, since the layer that follows may change its input in place
        return leaves[-1].to(output.dtype).clone()

    return hook


def _no_such_layer(named: Mapping[str, nn.Module], layer: str) -> str:
    known = layer
    while known and known not in named:
        known = known.rpartition(".")[0]
    inside = ", ".join(f"{known}.{name}".lstrip(".") for name, _ in named[known].named_children())
    return f"layer {layer!r}: the network has none of that name; {known or 'it'} has {inside or 'no layers in it'}"


def _weighted(leaves: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Attention (N, h, w) from what a layer gave at each scale, (N, C, h, w), and the gradients there."""
    with torch.no_grad():
        finest = max((tuple(maps.shape[2:]) for maps in leaves), key=lambda size: size[0] * size[1])
        # of all scales the mean is over as many places, or a coarse scale would count for more
        places = finest[0] * finest[1]
        sums = [
            (gradient.sum(dim=(2, 3), keepdim=True) / places * maps).sum(dim=1, keepdim=True)
            for maps, gradient in zip(leaves, gradients, strict=True)
        ]
        resized = [part if part.shape[2:] == finest else _resize(part, finest) for part in sums]
        return functional.relu(torch.stack(resized).sum(dim=0))[:, 0]


def over_images(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Maps at the images' size, from 0 to 1.

    Args:
        maps: (N, K, h, w) float32, zero or more.
        height: of the images in pixels.
        width: of the images in pixels.

    Returns:
        (N, K, height, width) float32, bilinear, each divided by its largest value; one that is zero stays zero.
    """
    resized = _resize(maps, (height, width))
    most = resized.amax(dim=(2, 3), keepdim=True)
    return resized / torch.where(most > 0, most, torch.ones_like(most))


def _resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def pointing(maps: np.ndarray, masks: np.ndarray) -> Pointing:
    """How much of each map lies on a mask: the protein's signal, or the compartment that a class names.

    Args:
        maps: (..., H, W), zero or more, of the masks' size.
        masks: (..., H, W) bool, of a shape that goes together with that of `maps`.

    Returns:
        The shares, in the shape of both without the last two axes.

    Raises:
        ValueError: a map has a value below zero, or height and width differ.
    """
    maps, masks = np.asarray(maps, np.float64), np.asarray(masks, bool)
    if maps.shape[-2:] != masks.shape[-2:]:
        raise ValueError(f"maps are {maps.shape[-2:]}, masks {masks.shape[-2:]}: bring maps to the masks' size first")
    if (maps < 0).any():
        raise ValueError("maps have values below zero: attention has none")
    total = maps.sum(axis=(-2, -1))
    on = (maps * masks).sum(axis=(-2, -1))
    total, on, by_chance = np.broadcast_arrays(total, on, masks.mean(axis=(-2, -1)))
    return Pointing(np.divide(on, total, out=np.full(on.shape, np.nan), where=total > 0), by_chance)


def overlay(image: np.ndarray, heat: np.ndarray, most: float = 0.7) -> np.ndarray:
    """A map over a grey image, from black over red and yellow to white where the network looks most.

    Args:
        image: (H, W) of any real type, drawn from its 1st to its 99.8th percentile.
        heat: (H, W) from 0 to 1.
        most: how much the map hides of the image where it is 1.

    Returns:
        (H, W, 3) uint8, red, green and blue.
    """
    low, high = np.percentile(image, (1, 99.8))
    grey = np.clip((np.asarray(image, np.float64) - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    heat = np.clip(np.asarray(heat, np.float64), 0, 1)
    colours = np.clip(heat[..., None] * 3 - np.arange(3), 0, 1)
    weight = (most * heat)[..., None]
    return np.rint(255 * (grey[..., None] * (1 - weight) + colours * weight)).astype(np.uint8)
