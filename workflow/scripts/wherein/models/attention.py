"""Where a network looks: its own maps of each class where it draws some, else Grad-CAM.

Ouyang et al. 2019 (methods, class activation maps) draw Grad-CAM at one layer of each network, resized and laid over
the image; the registry of networks has that layer for each.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

OWN = "maps"
"""In the place of a layer: the maps that a network draws itself, by its method of this name (docs/networks.md)."""


def draws_maps(network: nn.Module) -> bool:
    """Whether a network draws maps itself; a layer that is called so is none."""
    return inspect.ismethod(getattr(network, OWN, None))


def attention_maps(network: nn.Module, images: torch.Tensor, classes: Sequence[int], layer: str) -> torch.Tensor:
    """Maps of classes: the network's own for OWN, else Grad-CAM at a layer.

    Args:
        network: gives vector and logits (N, K); it is run as in inference, and left as it was.
        images: (N, C, H, W) float32 on the network's device.
        classes: K' positions of classes among the logits.
        layer: OWN, or the dotted name of a module that gives maps.

    Returns:
        (N, K', h, w) float32, zero or more, on the images' device; own maps are probabilities.

    Raises:
        ValueError: there is no such layer, or it gives no maps, or the logits do not depend on it.
    """
    if layer != OWN or not draws_maps(network):
        return grad_cam(network, images, classes, layer)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return getattr(network, OWN)(images)[:, list(classes)].float()
    finally:
        network.train(training)


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
        resized = [part if part.shape[2:] == finest else over_images(part, *finest) for part in sums]
        return functional.relu(torch.stack(resized).sum(dim=0))[:, 0]


def over_images(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Maps at the images' size.

    Args:
        maps: (N, K, h, w) float32, zero or more.
        height: of the images in pixels.
        width: of the images in pixels.

    Returns:
        (N, K, height, width) float32, bilinear, on the maps' own scale: that of several tiles of an image is one.
    """
    return functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
